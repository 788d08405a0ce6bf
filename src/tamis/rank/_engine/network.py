"""A ranker's network for one user and n candidates: the form that is exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tamis.features import IdColumn, Layout
from tamis.rank._engine.request_fields import USER_SIDES, RequestFields, Split
from tamis.rank._network import Network


class Pooling:
    """One vector per feature of ids that stand packed, feature by feature, as in `FieldPooling`."""

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
            mine = slice(at, at + column.width)
            at = mine.stop
            if column.width == 1:
                out.append(vectors[:, mine])
            else:
                out.append(_pooled(vectors[:, mine], ids[:, mine] != pad, column.pooling))
        return torch.cat(out, 1)


class RequestNetwork(nn.Module):
    """A ranker's core on the ids and numbers of one user and n candidates; weights are shared.

    `forward` takes the tensors called `names`, in that order: the table (rows, dim + first-order
    weights), packed ids of the user (1, …) and of the candidates (n, …), their numbers, first-order
    weights of crossed columns (n, X, T), and each history (1, L), real ids first. What a layout
    does not have is not among them.
    """

    def __init__(self, layout: Layout, network: Network) -> None:
        super().__init__()
        inputs = network.inputs
        self.core, self.meets = network.core, inputs.meets
        self.split = split = Split.of(layout, inputs)
        self.gates, self.pads = inputs.gates, inputs.pads
        self.targets = [
            split.candidate.index(split.shape.names.index(target.name))
            for _, target in inputs.pairs
        ]
        self.tail = inputs.table.zero_columns
        past = {history.name for history, _ in inputs.pairs}
        mine = [c for c in layout.ids if c.side in USER_SIDES and c.name not in past]
        self.user = Pooling(layout, mine)
        self.candidate = Pooling(layout, [c for c in layout.ids if c.side not in USER_SIDES])
        given = {
            "table": bool(layout.ids),
            "user": bool(self.user.places),
            "candidate": bool(self.candidate.places),
            "user_dense": bool(split.user_dense),
            "candidate_dense": bool(split.candidate_dense),
            "crossed": inputs.crossed is not None,
        }
        histories = (f"past{k}" for k in range(len(inputs.pairs)))
        self.names = (*(name for name, there in given.items() if there), *histories)

    def forward(self, *tensors: Tensor) -> Tensor:
        """Logits (n, T)."""
        given = dict(zip(self.names, tensors, strict=True))
        n = given["candidate" if "candidate" in given else "candidate_dense"].shape[0]
        user, user_first = self._vectors(given, "user", 1)
        candidate, candidate_first = self._vectors(given, "candidate", n)
        if self.targets:
            met = [self._met(given, k, candidate) for k in range(len(self.targets))]
            candidate = torch.cat([candidate, *met], 1)
        none = candidate.new_zeros(n, 0)
        fields = RequestFields(
            self.split,
            user,
            candidate,
            (given.get("user_dense", none[:1]), given.get("candidate_dense", none)),
            (
                user_first,
                candidate_first,
                given.get("crossed", candidate.new_zeros(n, 0, self.tail)),
            ),
            self.gates,
        )
        return self.core(fields)

    def _vectors(self, given: Mapping[str, Tensor], side: str, n: int) -> tuple[Tensor, Tensor]:
        """A side's vectors (n, F, dim) and first-order weights (n, F, T)."""
        dim = self.split.shape.dim
        if side not in given:
            return torch.zeros(n, 0, dim), torch.zeros(n, 0, self.tail)
        pooling = self.user if side == "user" else self.candidate
        both = pooling(given["table"], given[side])
        return (both[..., :dim], both[..., dim:]) if self.tail else (both, both[..., dim:])

    def _met(self, given: Mapping[str, Tensor], k: int, candidate: Tensor) -> Tensor:
        """(n, 1, dim): history k and the candidates."""
        ids = given[f"past{k}"]
        past = F.embedding(ids, given["table"])[..., : self.split.shape.dim]  # (1, L, dim)
        block = self.meets[k]
        return block(candidate[:, self.targets[k]], past, ids != self.pads[k]).unsqueeze(1)


def _pooled(vectors: Tensor, real: Tensor, pooling: str) -> Tensor:
    """(n, 1, dim) of the vectors (n, w, dim) at real places; none gives zero."""
    there = real.unsqueeze(2)
    if pooling == "max":
        top = vectors.masked_fill(~there, -torch.inf).amax(1, keepdim=True)
        return top.masked_fill(~there.any(1, keepdim=True), 0.0)
    total = (vectors * there).sum(1, keepdim=True)
    return total / there.sum(1, keepdim=True).clamp(min=1) if pooling == "mean" else total
