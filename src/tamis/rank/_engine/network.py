"""The request form of a ranker's network: one user and n candidates. This form is exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tamis.features import IdColumn, Layout
from tamis.rank._engine.request_fields import USER_SIDES, RequestFields, Split
from tamis.rank._fields import HistoryTensors
from tamis.rank._network import Inputs, Network, completed


class PackedPooling:
    """One vector per feature, as `FieldPooling`, for ids packed feature by feature.

    Args:
        layout: the layout of the rows.
        columns: the features to be packed.
    """

    def __init__(self, layout: Layout, columns: Sequence[IdColumn]) -> None:
        self.columns = sorted(columns, key=lambda column: column.first)
        self.places = [k for c in self.columns for k in range(c.first, c.first + c.width)]
        """Columns of the layout's ids that are packed."""
        self._pads = [layout.table[c.table].start for c in self.columns]

    def __call__(self, table: Tensor, ids: Tensor) -> Tensor:
        """float32 (n, F, dim) of ids (n, W) and a table (rows, dim)."""
        vectors = F.embedding(ids, table)  # (n, W, dim)
        if len(self.places) == len(self.columns):
            return vectors
        out: list[Tensor] = []
        at = 0
        for column, pad in zip(self.columns, self._pads, strict=True):
            part = slice(at, at + column.width)
            at = part.stop
            if column.width == 1:
                out.append(vectors[:, part])
            else:
                out.append(_pooled(vectors[:, part], ids[:, part] != pad, column.pooling))
        return torch.cat(out, 1)


class RequestNetwork(nn.Module):
    """A ranker's core over the ids and numbers of one user and n candidates; it shares the weights.

    `forward` takes the tensors called `names`, in that order. Those that the layout has no columns
    for are left out:

    - `table` float32 (rows, dim + first-order weights)
    - `user` int32 (1, …) and `candidate` int32 (n, …): packed ids
    - `user_dense` float32 (1, Du) and `candidate_dense` float32 (n, Dc)
    - `user_lists` float32 (1, …, dim + first-order weights) and `candidate_lists` (n, …): lists
      whose pooling has weights, as pooled by PyTorch
    - `crossed` float32 (n, X, T): first-order weights of crossed columns
    - `past0`, `past1` … int32 (1, L): each history that is compared with the candidate, padding
      at the end

    Args:
        layout: the layout of the rows.
        network: the ranker's network.
    """

    def __init__(self, layout: Layout, network: Network) -> None:
        super().__init__()
        inputs = network.inputs
        self.core, self.sequence = network.core, network.sequence
        self.senet = network.senet
        self.split = split = Split.of(layout, inputs)
        self.gates, self.gate_numbers, self.pads = inputs.gates, inputs.gate_numbers, inputs.pads
        self.targets = [
            split.candidate.index(split.shape.names.index(target.name))
            for _, target in inputs.pairs
        ]
        self.first_order = inputs.table.zero_columns
        compared = {history.name for history, _ in inputs.pairs}
        plain = [c for c in layout.ids if c.name not in (*compared, *inputs.pooling.lists)]
        self.user = PackedPooling(layout, [c for c in plain if c.side in USER_SIDES])
        self.candidate = PackedPooling(layout, [c for c in plain if c.side not in USER_SIDES])
        side = {c.name: "user" if c.side in USER_SIDES else "candidate" for c in layout.ids}
        self.lists = {
            name: [k for k, feature in enumerate(inputs.pooling.lists) if side[feature] == name]
            for name in ("user", "candidate")
        }
        """Numbers of the lists of each side in `FieldPooling.lists`."""
        self._orders = {
            name: self._order(name, pooling.columns, inputs)
            for name, pooling in (("user", self.user), ("candidate", self.candidate))
        }
        present = {
            "table": bool(layout.ids),
            "user": bool(self.user.places),
            "candidate": bool(self.candidate.places),
            "user_lists": bool(self.lists["user"]),
            "candidate_lists": bool(self.lists["candidate"]),
            "user_dense": bool(split.user_dense),
            "candidate_dense": bool(split.candidate_dense),
            "crossed": inputs.crossed is not None,
        }
        histories = (f"past{k}" for k in range(len(inputs.pairs)))
        self.names = (*(name for name, is_present in present.items() if is_present), *histories)

    def forward(self, *tensors: Tensor) -> Tensor:
        """Logits (n, L)."""
        given = dict(zip(self.names, tensors, strict=True))
        n = next(given[name] for name in given if name.startswith("candidate")).shape[0]
        user, user_first = self._vectors(given, "user", 1)
        candidate, candidate_first = self._vectors(given, "candidate", n)
        none = candidate.new_zeros(n, 0)
        crossed = given.get("crossed", candidate.new_zeros(n, 0, self.first_order))
        fields = RequestFields(
            self.split,
            user,
            candidate,
            (given.get("user_dense", none[:1]), given.get("candidate_dense", none)),
            (user_first, candidate_first, crossed),
            self.gates,
            tuple(self._history(given, k, candidate) for k in range(len(self.targets))),
            self.gate_numbers,
            self.senet,
        )
        return self.core(completed(fields, self.sequence))

    def _vectors(self, given: Mapping[str, Tensor], side: str, n: int) -> tuple[Tensor, Tensor]:
        """A side's vectors (n, F, dim) and first-order weights (n, F, T)."""
        dim = self.split.shape.dim
        parts = [given[f"{side}_lists"]] if f"{side}_lists" in given else []
        if side in given:
            pooling = self.user if side == "user" else self.candidate
            parts.insert(0, pooling(given["table"], given[side]))
        if not parts:
            return torch.zeros(n, 0, dim), torch.zeros(n, 0, self.first_order)
        both = parts[0]
        if len(parts) > 1:
            both = torch.cat([torch.cat(parts, 1)[:, k : k + 1] for k in self._orders[side]], 1)
        return (both[..., :dim], both[..., dim:]) if self.first_order else (both, both[..., dim:])

    def _order(self, side: str, packed: Sequence[IdColumn], inputs: Inputs) -> list[int]:
        """Where each field of a side is among its packed features, followed by its lists."""
        lists = [inputs.pooling.lists[k] for k in self.lists[side]]
        together = [*(c.name for c in packed), *lists]
        return sorted(range(len(together)), key=lambda k: self.split.shape.names.index(together[k]))

    def _history(self, given: Mapping[str, Tensor], k: int, candidate: Tensor) -> HistoryTensors:
        """History k (1, L, dim), shared by the candidates (n, C, dim)."""
        ids = given[f"past{k}"]
        items = F.embedding(ids, given["table"])[..., : self.split.shape.dim]  # (1, L, dim)
        return HistoryTensors(candidate[:, self.targets[k]], items, ids != self.pads[k])


def _pooled(vectors: Tensor, real: Tensor, pooling: str) -> Tensor:
    """(n, 1, dim): vectors (n, w, dim) pooled over real places; zero if there are none."""
    mask = real.unsqueeze(2)
    if pooling == "max":
        top = vectors.masked_fill(~mask, -torch.inf).amax(1, keepdim=True)
        return top.masked_fill(~mask.any(1, keepdim=True), 0.0)
    total = (vectors * mask).sum(1, keepdim=True)
    return total / mask.sum(1, keepdim=True).clamp(min=1) if pooling == "mean" else total
