"""Metrics, intervals, the stage-loss report, and the report a person reads."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
