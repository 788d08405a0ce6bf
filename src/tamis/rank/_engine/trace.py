"""Records the tensor operators that a network runs, with sizes that depend on the inputs.

PyTorch's own exporter traces with symbolic shapes and takes seconds. Here the network runs on
example tensors, once per dynamic size and once more, which takes milliseconds: an integer argument
that is the same in all runs is a constant, and one that changes is an expression of the sizes.
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
    """The network cannot be written as a graph by this package."""


class DataDependentError(Exception):
    """The network reads a tensor's value to choose what to run, so no graph stands for it."""


@dataclass(frozen=True)
class Ref:
    """A tensor of the trace, by its number."""

    number: int


@dataclass(frozen=True)
class Size:
    """`scale * (product of the symbols' sizes) + offset`."""

    scale: int
    symbols: tuple[int, ...]
    """Places in `Trace.symbols`."""
    offset: int = 0


@dataclass(frozen=True)
class UnknownSize:
    """A size that changes with the inputs and has no simple expression."""


@dataclass(frozen=True)
class Call:
    """One operator: its arguments in the order of its schema, tensors as `Ref`."""

    operator: Any
    arguments: tuple[Any, ...]
    outputs: tuple[int, ...]

    @property
    def name(self) -> str:
        """`aten::mm`, for instance; without the overload."""
        return self.operator._schema.name

    @property
    def inputs(self) -> list[int]:
        """Numbers of the tensors that it reads."""
        return [leaf.number for leaf in leaves(self.arguments) if isinstance(leaf, Ref)]


@dataclass(frozen=True)
class Trace:
    """What a network did with its example inputs."""

    names: tuple[str, ...]
    """Names of the inputs, whose numbers are 0, 1, …"""
    symbols: tuple[tuple[Dimension, ...], ...]
    """Dynamic sizes: the dimensions of inputs that have each."""
    calls: tuple[Call, ...]
    values: tuple[Tensor, ...]
    """Every tensor by its number; what is neither an input nor an output is a constant."""
    output: int


def trace(
    network: nn.Module, example: Mapping[str, Tensor], symbols: Sequence[Sequence[Dimension]]
) -> Trace:
    """Runs `network(*example.values())` and variants of it.

    Args:
        network: in evaluation mode; returns one tensor.
        example: inputs by name.
        symbols: for each dynamic size, the dimensions of inputs that have it, at least 2 long.

    Raises UnsupportedOperatorError where the network changes a tensor in place, draws random
    numbers or runs other operators for other sizes; DataDependentError where it reads values.
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
    """What stands in nested lists."""
    if isinstance(argument, list | tuple):
        return [leaf for part in argument for leaf in leaves(part)]
    return [argument]


def _shortened(example: Mapping[str, Tensor], dims: Sequence[Dimension]) -> dict[str, Tensor]:
    """The example with one dynamic size smaller by one."""
    out = dict(example)
    for name, dim in dims:
        out[name] = out[name].narrow(dim, 0, out[name].shape[dim] - 1).contiguous()
    return out


def _record(network: nn.Module, example: Mapping[str, Tensor]) -> Trace:
    with torch.no_grad(), _Recorder(example.values()) as recorder:
        output = network(*example.values())
    number = recorder.number(output)
    return Trace(tuple(example), (), tuple(recorder.calls), tuple(recorder.values), number)


class _Recorder(TorchDispatchMode):
    """Keeps every operator; tensors are known by identity, and kept so that none is used again."""

    def __init__(self, inputs: Any) -> None:
        super().__init__()
        self.values: list[Tensor] = []
        self.calls: list[Call] = []
        self._numbers: dict[int, int] = {}
        for tensor in inputs:
            self.number(tensor)

    def number(self, tensor: Tensor) -> int:
        """Of a tensor that the trace knows, or a new one."""
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
            raise DataDependentError("what it runs depends on the values of its inputs")
        if schema.is_mutable or torch.Tag.nondeterministic_seeded in func.tags:
            raise UnsupportedOperatorError(str(func))
        out = func(*args, **kwargs)
        arguments = tuple(
            self._without_tensors(args[k] if k < len(args) else kwargs.get(a.name, a.default_value))
            for k, a in enumerate(schema.arguments)
        )
        self.calls.append(Call(func, arguments, tuple(self.number(t) for t in leaves(out))))
        return out

    def _without_tensors(self, argument: Any) -> Any:
        if isinstance(argument, list | tuple):
            return tuple(self._without_tensors(part) for part in argument)
        return Ref(self.number(argument)) if isinstance(argument, Tensor) else argument


def _merged(calls: list[Call], sizes: list[int]) -> Call:
    """One call of all runs: the base first, then one with each size smaller by one."""
    base = calls[0]
    if any((c.operator, c.outputs) != (base.operator, base.outputs) for c in calls):
        raise UnsupportedOperatorError("the operators depend on the sizes of the inputs")
    return replace(base, arguments=_same([c.arguments for c in calls], lambda v: _size(v, sizes)))


def _same(arguments: list[Any], size: Callable[[list[int]], Any]) -> Any:
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
    """The expression of an integer of the base run and of the runs with one size smaller."""
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
