"""Network and objective of Deep Retrieval: user and item vectors, and likelihoods of paths."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from tamis.nn import FusedEmbedding
from tamis.recall._common.side_features import FIRST
from tamis.recall._common.user_item_examples import UserItemBatch, UserItemExamples
from tamis.recall._common.user_item_objective import UserItemObjective
from tamis.recall.deep_retrieval._paths import assign_paths, initial_paths, path_scores
from tamis.recall.deep_retrieval._search import PathNet, best_paths

PATH_TARGETS = 4096
"""Most targets per batch in the path loss; a random sample if there are more."""
EXAMPLES_PER_REASSIGNMENT = 200_000
"""Most examples whose beams one reassignment reads."""


class PathModel(nn.Module):
    """p(path | user) as a product of D softmaxes, and the vectors that score items.

    The user's vector is the mean of his history's embeddings, scaled to length 1, and is used by
    both parts. Layer d reads it, and the embeddings of the d − 1 nodes before, through one hidden
    layer.
    """

    def __init__(
        self,
        items: int,
        embedding_dim: int,
        shape: tuple[int, int, int],
        dropout: float,
        temperature: float,
        generator: torch.Generator,
    ) -> None:
        """shape: layers D, nodes K, hidden units H."""
        super().__init__()
        layers, nodes, hidden = shape
        dim = embedding_dim
        self.n_items = items
        self.history_pad = items + FIRST
        pads = (0, self.history_pad)
        self.table = FusedEmbedding(2 * (items + FIRST), dim, pads, dim**-0.5, generator=generator)
        self.gamma = 1 / temperature
        self.drop = nn.Dropout(dropout)
        self.user = _normal((layers, hidden, dim), 1.0, generator)
        self.bias = nn.Parameter(torch.zeros(layers, hidden))
        self.node = _normal((layers, layers, nodes, hidden), 0.5, generator)
        self.out = _normal((layers, hidden, nodes), (2 / hidden) ** 0.5, generator)
        self.out_bias = nn.Parameter(torch.zeros(layers, nodes))

    def users(self, user: Tensor, history: Tensor) -> Tensor:
        """(B, dim) unit vectors of histories int32 (B, L)."""
        there = (history != self.history_pad).sum(1, keepdim=True)
        x = self.table(history).sum(1) / there.clamp(min=1)
        return F.normalize(self.drop(x).float(), dim=-1)

    def items(self, item: Tensor | None = None) -> Tensor:
        """(n, dim) unit vectors of item rows int64 (n,); all items if None."""
        if item is None:
            item = torch.arange(self.n_items, device=self.table.weight.device)
        return F.normalize(self.table((item + FIRST).to(torch.int32)).float(), dim=-1)

    def log_likelihood(self, users: Tensor, owner: Tensor, codes: Tensor) -> Tensor:
        """(n, J) log p of the paths `codes` int64 (n, J, D) for `users[owner]`.

        users: (B, dim). owner: int64 (n,).
        """
        base = torch.einsum("bd,lhd->lbh", users, self.user) + self.bias.unsqueeze(1)
        total = users.new_zeros(codes.shape[:2])
        for d in range(codes.shape[2]):
            if d == 0:  # computed once per user: it does not depend on the path
                hidden = base[0].relu()
                log_p = (hidden @ self.out[0] + self.out_bias[0]).log_softmax(1)[owner]
                total = total + log_p.gather(1, codes[:, :, 0])
                continue
            hidden = base[d][owner].unsqueeze(1)  # (n, 1, H)
            for before in range(d):
                hidden = hidden + F.embedding(codes[:, :, before], self.node[d, before])
            logits = hidden.relu() @ self.out[d] + self.out_bias[d]  # (n, J, K)
            log_p = logits.float().log_softmax(2)
            total = total + log_p.gather(2, codes[:, :, d : d + 1]).squeeze(2)
        return total

    @torch.inference_mode()
    def net(self) -> PathNet:
        """The weights as arrays, for beam search."""
        parts = (self.user, self.bias, self.node, self.out, self.out_bias)
        return PathNet(*(p.detach().cpu().numpy().copy() for p in parts))


def _normal(shape: tuple[int, ...], std: float, generator: torch.Generator) -> nn.Parameter:
    """A parameter with normally distributed initial values."""
    return nn.Parameter(torch.empty(shape).normal_(0.0, std, generator=generator))


class PathObjective:
    """The softmax loss of the item vectors, plus −log Σ_j p(π_j | user) over the target's J paths.

    `evaluate`, which the training loop calls after each epoch, assigns the items' paths after the
    epochs in `PathReassignment.after`; before the first of them there is no path loss.
    """

    by_group = False

    def __init__(
        self, towers: UserItemObjective, reassignment: PathReassignment, layers: int, nodes: int
    ) -> None:
        self.towers, self.reassignment = towers, reassignment
        self.layers, self.nodes = layers, nodes
        self.paths: NDArray[np.int64] | None = None
        self.epoch = 0

    def loss(self, model: Any, batch: UserItemBatch) -> Tensor:
        """The loss of a batch: a scalar."""
        users = model.users(batch.user, batch.history)  # (B, dim)
        seen = _WithUserVectors(model, users)
        loss = self.towers.loss(seen, batch)
        return loss if self.paths is None else loss + self._paths(model, users, batch, self.paths)

    def _paths(
        self, model: PathModel, users: Tensor, batch: UserItemBatch, paths: NDArray[np.int64]
    ) -> Tensor:
        """The path loss of a batch: a scalar."""
        owner, target, weight = batch.owner, batch.target, batch.weight
        if len(owner) > PATH_TARGETS:
            some = torch.randperm(len(owner), device=owner.device)[:PATH_TARGETS]
            weight = weight[some] * (len(owner) / PATH_TARGETS)
            owner, target = owner[some], target[some]
        number = torch.from_numpy(paths[target.cpu().numpy()]).to(users.device)  # (n, J)
        codes = _codes(number.clamp(min=0), self.nodes, self.layers)
        log_p = model.log_likelihood(users, owner, codes)
        log_p = log_p.masked_fill(number < 0, -torch.inf).logsumexp(1)  # (n,)
        real = (number >= 0).any(1)
        return -(torch.where(real, log_p, 0.0) * weight).sum() / len(batch)

    def evaluate(self, model: Any, valid: Any, device: torch.device) -> dict[str, float]:
        """Assigns paths after the epochs that ask for it; returns no metrics."""
        self.epoch += 1
        first, *later = self.reassignment.after
        if self.epoch == first:
            self.paths = self.reassignment.first(model, self.nodes**self.layers)
        elif self.epoch in later:
            self.paths = self.reassignment.paths(model, self.layers, self.nodes)
        return {}


class _WithUserVectors:
    """The scoring part of a PathModel, with the users' vectors computed in advance."""

    def __init__(self, model: PathModel, users: Tensor) -> None:
        self.gamma, self.items, self._users = model.gamma, model.items, users
        self.item_ids = range(model.n_items)

    def users(self, user: Tensor, history: Tensor) -> Tensor:
        return self._users


class PathReassignment:
    """When and how the items' paths are assigned.

    Args:
        examples: the training examples.
        items: number of items.
        paths: J, paths per item.
        beam: paths per example that are considered.
        penalty: of crowded paths, in units of an item's mean number of targets.
        after: epochs after which paths are assigned, ascending; the first assignment uses the
            items' vectors.
    """

    def __init__(
        self, examples: UserItemExamples, items: int, paths: int, beam: int, penalty: float,
        after: list[int], seed: int,
    ) -> None:  # fmt: skip
        self.examples, self.items, self.j = examples, items, paths
        self.beam, self.penalty, self.after = beam, penalty, after
        self.random = np.random.default_rng(seed)

    @torch.inference_mode()
    def first(self, model: PathModel, total: int) -> NDArray[np.int64]:
        """(I, J) initial paths, from the items' vectors; -1 for items without likes.

        total: number of paths.
        """
        liked = np.bincount(self.examples.likes.item, minlength=self.items) > 0
        return initial_paths(model.items().cpu().numpy(), liked, self.j, total)

    @torch.inference_mode()
    def paths(self, model: PathModel, layers: int, nodes: int) -> NDArray[np.int64]:
        """(I, J) new paths, from the beams of the examples' users at newly drawn moments."""
        model.eval()
        some = self.random.permutation(len(self.examples))[:EXAMPLES_PER_REASSIGNMENT]
        users: list[NDArray[np.float32]] = []
        targets: list[tuple[NDArray[np.int64], ...]] = []
        begin = 0
        for part in np.array_split(some, max(1, -(-len(some) // 1024))):
            batch = self.examples.take(torch.from_numpy(part))
            users.append(model.users(batch.user, batch.history).numpy())
            owner = batch.owner.numpy() + begin
            targets.append((owner, batch.target.numpy(), batch.weight.numpy()))
            begin += len(part)
        owner, item, weight = (np.concatenate(x) for x in zip(*targets, strict=True))
        beams = best_paths(model.net(), np.concatenate(users), self.beam)
        seen = path_scores(beams, (owner, item, np.ones_like(weight)), self.items, self.beam)
        model.train()
        # in units of an item's mean number of targets
        scale = self.penalty * float(seen.count.mean())
        return assign_paths(seen, self.j, scale, 3, self.random)


def _codes(number: Tensor, nodes: int, layers: int) -> Tensor:
    """(…, D) nodes of path numbers (…,): their digits in base `nodes`, first layer first."""
    digits = [number // nodes ** (layers - 1 - d) % nodes for d in range(layers)]
    return torch.stack(digits, -1)
