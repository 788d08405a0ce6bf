"""Commands as functions: fetch, init, doctor, train, evaluate, recall, simulate, demo and more."""

import lazy_loader as lazy

__getattr__, __dir__, _names = lazy.attach_stub(__name__, __file__)
__all__ = [name for name in _names if name != "open"]  # pyright: ignore[reportUnsupportedDunderAll]
"""`open` is left out: `from tamis.jobs import *` must not replace the builtin."""
