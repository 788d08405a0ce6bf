"""Experiments: assignment to arms, and statistics that do not fool their owner."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
