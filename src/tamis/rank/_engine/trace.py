"""Records the tensor operators that a network runs, with sizes that depend on the inputs.

PyTorch's own exporter traces with symbolic shapes, which takes seconds. Here the network runs on
example tensors, once as given and once more for each dynamic size, which takes milliseconds. An
integer argument that is equal in all runs is a constant; one that changes is written as an
expression of the sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

Dimension = tuple[str, int]
"""An input's name and one of its dimensions."""


class UnsupportedOperatorError(Exception):
    """The network uses an operator that this package cannot translate."""


class DataDependentError(Exception):
    """The network chooses operators by the value of a tensor, so no graph can represent it."""


@dataclass(frozen=True)
class Ref:
    """A tensor of the trace, identified by its number."""

    number: int


@dataclass(frozen=True)
class Size:
    """`scale * (product of the symbols' sizes) + offset`."""

    scale: int
    symbols: tuple[int, ...]
    """Indices into `OperatorTrace.symbols`."""
    offset: int = 0


@dataclass(frozen=True)
class UnknownSize:
    """A size that changes with the inputs and is not of the form of `Size`."""


@dataclass(frozen=True)
class OperatorCall:
    """One call of an operator."""

    operator: Any
    """PyTorch's operator overload, for instance `aten.mean.dim`."""
    arguments: tuple[Any, ...]
    """Arguments in the order of the operator's schema, tensors as `Ref`."""
    outputs: tuple[int, ...]
    """Numbers of the output tensors."""

    @property
    def name(self) -> str:
        """Name of the operator without its overload, for instance `aten::mm`."""
        return self.operator._schema.name

    @property
    def inputs(self) -> list[int]:
        """Numbers of the input tensors."""
        return [leaf.number for leaf in leaves(self.arguments) if isinstance(leaf, Ref)]


@dataclass(frozen=True)
class OperatorTrace:
    """The operators that a network ran on its example inputs."""

    names: tuple[str, ...]
    """Names of the inputs, whose numbers are 0, 1, …"""
    symbols: tuple[tuple[Dimension, ...], ...]
    """For each dynamic size, the dimensions of inputs that have it."""
    calls: tuple[OperatorCall, ...]
    values: tuple[Tensor, ...]
    """Every tensor by its number; one that is neither an input nor an output of a call is a
    constant."""
    output: int
    """Number of the network's output."""


def trace(
    network: nn.Module, example: Mapping[str, Tensor], symbols: Sequence[Sequence[Dimension]]
) -> OperatorTrace:
    """Records the operators of `network(*example.values())`.

    Args:
        network: a network in evaluation mode that returns one tensor.
        example: inputs by name.
        symbols: for each dynamic size, the dimensions of inputs that have it, each at least 2 long.

    Raises UnsupportedOperatorError if the network changes a tensor in place, draws random numbers
    or runs different operators for different sizes; DataDependentError if it reads values.
    """
    sizes = [example[dims[0][0]].shape[dims[0][1]] for dims in symbols]
    base = _record(network, example)
    others = [_record(network, _shortened(example, dims)) for dims in symbols]
    if {(len(run.calls), run.output) for run in (base, *others)} != {
        (len(base.calls), base.output)
    }:
        raise UnsupportedOperatorError("the operators depend on the sizes of the inputs")
    runs = zip(base.calls, *(other.calls for other in others), strict=True)
    calls = [_merged(list(same), sizes) for same in runs]
    return replace(base, calls=tuple(calls), symbols=tuple(map(tuple, symbols)))


def leaves(argument: Any) -> list[Any]:
    """The values in nested lists and tuples."""
    if isinstance(argument, list | tuple):
        return [leaf for part in argument for leaf in leaves(part)]
    return [argument]


def _shortened(example: Mapping[str, Tensor], dims: Sequence[Dimension]) -> dict[str, Tensor]:
    """The example with one dynamic size smaller by one."""
    out = dict(example)
    for name, dim in dims:
        out[name] = out[name].narrow(dim, 0, out[name].shape[dim] - 1).contiguous()
    return out


def _record(network: nn.Module, example: Mapping[str, Tensor]) -> OperatorTrace:
    """One run, with sizes as plain integers."""
    with torch.no_grad(), _Recorder(example.values()) as recorder:
        output = network(*example.values())
    number = recorder.number(output)
    return OperatorTrace(tuple(example), (), tuple(recorder.calls), tuple(recorder.values), number)


class _Recorder(TorchDispatchMode):
    """Records every operator.

    Tensors are identified by `id`; they are kept alive, so that no id is used twice.
    """

    def __init__(self, inputs: Any) -> None:
        super().__init__()
        self.values: list[Tensor] = []
        self.calls: list[OperatorCall] = []
        self._numbers: dict[int, int] = {}
        for tensor in inputs:
            self.number(tensor)

    def number(self, tensor: Tensor) -> int:
        """The number of a tensor; a new one if the trace has not seen it."""
        number = self._numbers.setdefault(id(tensor), len(self.values))
        if number == len(self.values):
            self.values.append(tensor)
        return number

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        schema = func._schema
        if schema.name == "aten::_local_scalar_dense":
            raise DataDependentError("the operators depend on the values of the inputs")
        if schema.is_mutable or torch.Tag.nondeterministic_seeded in func.tags:
            raise UnsupportedOperatorError(str(func))
        out = func(*args, **kwargs)
        arguments = tuple(
            self._without_tensors(args[k] if k < len(args) else kwargs.get(a.name, a.default_value))
            for k, a in enumerate(schema.arguments)
        )
        self.calls.append(OperatorCall(func, arguments, tuple(self.number(t) for t in leaves(out))))
        return out

    def _without_tensors(self, argument: Any) -> Any:
        if isinstance(argument, list | tuple):
            return tuple(self._without_tensors(part) for part in argument)
        return Ref(self.number(argument)) if isinstance(argument, Tensor) else argument


def _merged(calls: list[OperatorCall], sizes: list[int]) -> OperatorCall:
    """The same call of all runs as one; the first run is the one with the sizes as given."""
    base = calls[0]
    if any((c.operator, c.outputs) != (base.operator, base.outputs) for c in calls):
        raise UnsupportedOperatorError("the operators depend on the sizes of the inputs")
    return replace(base, arguments=_same([c.arguments for c in calls], lambda v: _size(v, sizes)))


def _same(arguments: list[Any], size: Callable[[list[int]], Any]) -> Any:
    """One argument of all runs: itself if it is equal in all, otherwise `size` of the integers."""
    base = arguments[0]
    if isinstance(base, tuple):
        if any(not isinstance(a, tuple) or len(a) != len(base) for a in arguments):
            raise UnsupportedOperatorError("the number of tensors depends on the inputs' sizes")
        return tuple(_same(list(column), size) for column in zip(*arguments, strict=True))
    if all(a == base for a in arguments):
        return base
    if all(type(a) is int for a in arguments):
        return size(arguments)
    raise UnsupportedOperatorError("an argument depends on the sizes of the inputs")


def _size(values: list[int], sizes: list[int]) -> Size | UnknownSize:
    """The expression of an integer, given its value in the run as given and in those with one size
    smaller by one."""
    base, *others = values
    changed = [k for k, other in enumerate(others) if other != base]
    if len(changed) == 1:
        k = changed[0]
        slope = base - others[k]
        return Size(slope, (k,), base - slope * sizes[k])
    whole = prod(sizes[k] for k in changed)
    scale = base // whole
    fits = all(others[k] * sizes[k] == scale * whole * (sizes[k] - 1) for k in changed)
    return Size(scale, tuple(changed)) if scale * whole == base and fits else UnknownSize()
