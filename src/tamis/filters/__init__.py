"""What may not be shown: one file per rule.

Every filter has `fit(data, context)` (reads what it needs of the tables, the events or the declared
behaviours), `excluded(queries)`, `keep(queries, candidates)`, `save(directory)` and
`load(directory, config)`; its short name in `tamis.toml` is its file's name."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
