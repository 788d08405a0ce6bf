"""Recall: one file per channel, found by its short name in `tamis.toml`."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
