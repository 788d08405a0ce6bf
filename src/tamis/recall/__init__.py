"""Recall channels, by family; a channel is declared in `tamis.toml` by its short name."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
