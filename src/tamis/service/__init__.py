"""From a version on disk to a recommender: stage registry, assembly, requests and answers."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
