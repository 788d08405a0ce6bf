"""Metrics, intervals, comparisons of models, and the reports of `tamis evaluate`.

The package is callable: `tamis.evaluate({"itemcf": ItemCF()}, split)` is
`tamis.evaluate.evaluate(…)`, so that the function is at hand after `import tamis`.
"""

import inspect
import sys
from typing import Any

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)


class _CallablePackage(type(sys.modules[__name__])):
    """A package that is called like its function `evaluate`."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self.evaluate(*arguments, **options)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.evaluate)


sys.modules[__name__].__class__ = _CallablePackage
