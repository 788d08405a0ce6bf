"""Diversity and rules over the ranked list: one file per rule.

Every re-ranker has `fit(data, context)` (reads the items' attributes), `order(queries, candidates,
n)` and `arrange(queries, candidates, n)`, the same with one number per candidate for the trace
(`rerank:NAME`), `save(directory)` and `load(directory, config)`; its short name in `tamis.toml` is
its file's name. Rules that must hold come last: a later rule may undo an earlier one."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
