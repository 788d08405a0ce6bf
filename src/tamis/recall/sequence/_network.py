"""Next-item models (an item table and an encoder of sequences) and their training objective."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from tamis.index import select
from tamis.nn import (
    FusedEmbedding,
    TransformerEncoder,
    Workspace,
    chunked_cross_entropy,
    gbce,
    gbce_power,
    last_state,
    masked_logsumexp,
)
from tamis.recall.sequence._examples import HeldOut, QueryHistories, SequenceBatch
from tamis.runtime import Float32
from tamis.train import Mixture

Loss = Literal["full", "sampled", "gbce", "bce"]
BATCH = 256
"""Queries encoded at once when user vectors are computed."""
TOP = 10
"""List length of the validation metrics."""


class SequenceModel(nn.Module):
    """An encoder over item vectors; logits are products of its states with the same vectors.

    Args:
        items: rows of the item table.
        dim: width of vectors and states.
        encoder: `TransformerEncoder` or `GRUEncoder`.
        temperature: logits are cosines / temperature; None: inner products.
        sparse: whether only the rows of a batch are updated (for sampled losses with many items)
            instead of all rows at each step (a full softmax has gradients for all of them anyway).
        generator: source of the initial vectors.
    """

    def __init__(
        self,
        items: int,
        dim: int,
        encoder: nn.Module,
        *,
        temperature: float | None = None,
        sparse: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.n_items, self.encoder, self.sparse = items, encoder, sparse
        self.temperature = temperature
        if sparse:  # the additional row is padding, which is not trained
            self.table = FusedEmbedding(items + 1, dim, [items], 0.02, generator=generator)
        else:
            self.table = _Table(items, dim, generator)

    def states(self, batch: SequenceBatch) -> Tensor:
        """(B, L, dim) states after each position."""
        item = batch.item
        if self.sparse:
            real = torch.zeros(item.numel(), dtype=torch.bool, device=item.device)
            real[batch.place] = True
            item = item.masked_fill(~real.view(item.shape), self.n_items)
        x = self.table(item)
        if isinstance(self.encoder, TransformerEncoder):
            return self.encoder(x, batch.length, batch.time, batch.request_time)
        return self.encoder(x, batch.length)

    def forward(self, batch: SequenceBatch) -> Tensor:
        """(V, dim) states of the positions without padding; their products with `vectors` are the
        logits."""
        states = self.states(batch).flatten(0, 1).index_select(0, batch.place).float()
        return states if self.temperature is None else self._unit(states) / self.temperature

    def users(self, batch: SequenceBatch) -> Tensor:
        """(B, dim) last states; zero for empty sequences."""
        return self._unit(last_state(self.states(batch), batch.length).float())

    def vectors(self, item: Tensor | None = None) -> Tensor:
        """(n, dim) vectors of item rows int64 (n,); all items (I, dim) if None."""
        if item is not None:
            return self._unit(self.table(item))
        return self._unit(self.table.weight[: self.n_items] if self.sparse else self.table.weight)

    def start_from(self, vectors: Tensor) -> None:
        """Sets the items' vectors to `vectors` (I, dim), except where their row is zero."""
        known = vectors.any(dim=1)
        with torch.no_grad():
            self.table.weight[: self.n_items][known] = vectors[known]

    def _unit(self, x: Tensor) -> Tensor:
        """The rows of x scaled to length 1 if logits are cosines; a zero row stays zero."""
        return x if self.temperature is None else F.normalize(x, dim=-1)


class _Table(nn.Module):
    """An embedding table with a dense gradient."""

    def __init__(self, items: int, dim: int, generator: torch.Generator | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(items, dim).normal_(0, 0.02, generator=generator))

    def forward(self, item: Tensor) -> Tensor:
        # the backward pass of index_select is faster than that of F.embedding
        rows = self.weight.index_select(0, item.reshape(-1))
        return rows.view(*item.shape, -1)


def user_vectors(
    model: SequenceModel, queries: QueryHistories, device: torch.device | str = "cpu"
) -> Float32:
    """(Q, dim) float32 vectors of the queries' users; zero for empty histories."""
    out = torch.zeros(len(queries), model.table.weight.shape[1], device=device)
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for rows in queries.batches(BATCH):
            out[torch.from_numpy(rows)] = model.users(queries.take(rows, device))
    model.train(was_training)
    return out.cpu().numpy()


@dataclass(eq=False)
class NextItem:
    """The objective: predict the next item at every position without padding.

    full: softmax over all items (Klenitskiy & Vasilev 2023). sampled: softmax over negatives that
    the batch shares, with every logit corrected by −log of the item's sampling probability. gbce
    and bce: binary cross-entropy of each target and the shared negatives (Petrov & Macdonald 2023;
    Kang & McAuley 2018). Negatives that are the target, or another item of its user where batches
    have `positives`, are left out.
    """

    loss_name: Loss
    """The loss."""
    mixture: Mixture | None = None
    """Where negatives are sampled from; None for a full softmax."""
    label_smoothing: float = 0.0
    """Share of a target's probability spread over all items, in [0, 1); full softmax only."""
    bfloat16: bool = False
    """Whether validation uses matrix products in bfloat16, like training."""
    workspace: Workspace = field(default_factory=Workspace)
    by_group: bool = False

    def loss(self, model: Any, batch: SequenceBatch) -> Tensor:
        """The mean loss over the V targets of a batch."""
        states = model(batch)  # (V, dim)
        if self.loss_name == "full":
            return chunked_cross_entropy(
                states,
                model.vectors(),
                batch.target,
                label_smoothing=self.label_smoothing,
                workspace=self.workspace,
            )
        return self._against_negatives(model, states, batch)

    def _against_negatives(
        self, model: SequenceModel, states: Tensor, batch: SequenceBatch
    ) -> Tensor:
        """The mean of the sampled losses; states (V, dim)."""
        assert self.mixture is not None
        target = batch.target
        rows = target.cpu().numpy()
        self.mixture.observe(rows)
        drawn, times = np.unique(self.mixture.shared(rows), return_counts=True)
        device = states.device
        column = torch.from_numpy(drawn).to(device)
        q = self.mixture.fixed
        vectors = model.vectors(torch.cat([target, column]))
        own, negatives = vectors[: len(target)], vectors[len(target) :]
        positive = (states * own).sum(1)
        left_out = _left_out(batch, column)
        if self.loss_name == "sampled":
            log_q = torch.from_numpy(np.log(np.maximum(q, 1e-30))).to(device, torch.float32)
            shift = torch.from_numpy(np.log(times)).to(device, torch.float32) - log_q[column]
            positive = positive - log_q[target]
            rest = masked_logsumexp(states, negatives, left_out, shift)
            return (torch.logaddexp(positive, rest) - positive).mean()
        counts = torch.from_numpy(times).to(device, torch.float32).repeat(len(target), 1)
        counts[left_out] = 0.0
        calibration = 0.75 if self.loss_name == "gbce" else 0.0
        power = gbce_power(self.mixture.negatives, model.n_items, calibration)
        return gbce(positive, (states @ negatives.T).float(), counts, power=power)

    def evaluate(self, model: Any, valid: HeldOut, device: torch.device) -> dict[str, float]:
        """NDCG and hit rate at TOP of the validation queries."""
        with torch.autocast(device.type, torch.bfloat16, enabled=self.bfloat16):
            users = user_vectors(model, valid.queries, device)
        items = model.vectors().detach().cpu().numpy()
        hit, ndcg = _hit_and_ndcg(users, items, valid)
        return {f"ndcg@{TOP}": ndcg, f"hit@{TOP}": hit}


def _left_out(batch: SequenceBatch, column: Tensor) -> tuple[Tensor, Tensor]:
    """int64 pairs (target v, column c) of drawn items (C,), ascending, that are not negatives of
    the target: the target itself, and the other items of its user where the batch has them."""
    target = batch.target
    if batch.positives is not None:
        row = (batch.place // batch.item.shape[1]).cpu().numpy()
        v, c = batch.positives.among(column.cpu().numpy(), row)
        return torch.from_numpy(v).to(target.device), torch.from_numpy(c).to(target.device)
    at = torch.searchsorted(column, target).clamp(max=len(column) - 1)
    clash = torch.nonzero(column[at] == target).squeeze(1)
    return clash, at[clash]


def _hit_and_ndcg(users: Float32, items: Float32, valid: HeldOut) -> tuple[float, float]:
    """Hit rate and NDCG at TOP of exact search, means over the queries (Q, dim)."""
    n, k = len(users), min(TOP, len(items))
    hits, gains = np.zeros(n), np.zeros(n)
    weight = 1.0 / np.log2(np.arange(2, TOP + 2))
    wanted = np.diff(valid.target_indptr)
    best = np.concatenate([[1.0], np.cumsum(weight)])[np.minimum(wanted, TOP)]
    known = _keys(valid.target_indptr, valid.target, len(items))
    refused = np.zeros(len(items), np.bool_)
    for begin in range(0, n, BATCH):
        part = slice(begin, min(begin + BATCH, n))
        found = np.full((part.stop - begin, k), -1, np.int32)
        score = np.full(found.shape, -np.inf, np.float32)
        bounds = valid.exclude_indptr[begin : part.stop + 1]
        select(users[part] @ items.T, bounds, valid.exclude, refused, found, score)
        key = np.arange(begin, part.stop)[:, None] * len(items) + found
        right = np.isin(key, known) & (found >= 0)
        hits[part] = right.any(1)
        gains[part] = (right * weight[:k]).sum(1)
    return float(hits.mean()), float((gains / np.maximum(best, 1e-12)).mean())


def _keys(indptr: Any, values: Any, n_items: int) -> NDArray[np.int64]:
    """(n,) one number per (list, value) pair of a CSR."""
    owner = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    return owner.astype(np.int64) * n_items + values
