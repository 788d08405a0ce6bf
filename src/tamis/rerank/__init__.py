"""Re-rank: diversity and rules over the ranked list. One file per rule, named as in tamis.toml."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
