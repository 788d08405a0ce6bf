"""The cascade: queries, candidates, stage protocols, runner, fusion, trace; no concrete stage."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
