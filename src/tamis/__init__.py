"""Tamis: recommendation cascades, from raw event logs to explained answers.

On a project's folder, one method per command::

    project = tamis.open("DIR")
    project.train()
    project.recommend("42")

On frames, without a project: declare features, fit a channel or a ranker, and compare several with
`tamis.evaluate`. Names are imported on first use, so `import tamis` loads no model library. Models
that exist for two stages differ by their package: `tamis.rank.FM`, `tamis.recall.FM`.
"""

import lazy_loader as lazy

from tamis._version import __version__ as __version__

__getattr__, __dir__, _names = lazy.attach_stub(__name__, __file__)
__all__ = [name for name in _names if name not in ("__version__", "open")]
"""`open` is left out: `from tamis import *` must not replace the builtin."""
