"""Model inputs made of events, users, items and context, by the same code offline and online."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
