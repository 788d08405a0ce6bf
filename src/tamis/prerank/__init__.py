"""Pre-rankers: cheap models that reduce thousands of candidates to hundreds; a file per model."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
