"""Filters: remove items that may not be shown. One file per filter, named as in `tamis.toml`."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
