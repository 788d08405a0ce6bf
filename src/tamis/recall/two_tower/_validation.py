"""Validation data of a two-tower fit, for early stopping, and their metrics."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tamis.cascade import Valid
from tamis.data import Ragged
from tamis.recall._common.moving_inputs import Moving, MovingInputs
from tamis.recall._common.side_features import FIRST
from tamis.recall._common.user_item_examples import Likes
from tamis.recall.two_tower._network import TwoTowers
from tamis.recall.two_tower._online import recent_liked_rows
from tamis.runtime import Float32

PLACES = 20
"""List length of the metrics."""
MAX_USERS = 3000
"""Most users of whom likes are held out."""
SHARE_OF_USERS, SHARE_OF_LIKES = 0.1, 0.2
"""Share of the users of whom likes are held out, and share of their likes."""
BLOCK = 512
"""Queries scored at once."""


@dataclass(frozen=True, eq=False)
class ValidationQueries:
    """Q queries with known targets."""

    user: NDArray[np.int64]
    """(Q,) user rows; -1 for unknown users."""
    history: NDArray[np.int32]
    """(Q, L) rows of the fused table, most recent first, padded."""
    exclude: Ragged
    """Items that must not be returned."""
    targets: Ragged
    """Items that should be returned."""
    moving: Moving | None = None
    """Inputs as of the queries' times; None: the model has none."""

    def __len__(self) -> int:
        return len(self.user)

    def measure(self, model: TwoTowers, device: torch.device) -> dict[str, float]:
        """NDCG@20 and recall@20 (relative to min(targets, 20)), means over queries with targets."""
        was_training = model.training
        model.eval()
        found = []
        with torch.inference_mode():
            items = model.items()
            for begin in range(0, len(self), BLOCK):
                rows = np.arange(begin, min(begin + BLOCK, len(self)))
                found.append(self._hits(model, items, rows, device))
        model.train(was_training)
        hit = np.concatenate(found)  # (Q, places)
        sizes = np.minimum(np.diff(self.targets.indptr), hit.shape[1])
        discount = 1 / np.log2(np.arange(2, hit.shape[1] + 2))
        ideal = np.concatenate([[0.0], np.cumsum(discount)])[sizes]
        some = sizes > 0
        return {
            "ndcg": float((hit[some] @ discount / ideal[some]).mean()),
            "recall": float((hit[some].sum(1) / sizes[some]).mean()),
        }

    def _hits(
        self, model: TwoTowers, items: Tensor, rows: NDArray[np.int64], device: torch.device
    ) -> NDArray[np.bool_]:
        """(len(rows), PLACES) which of the best items are targets, for the queries `rows`."""
        users = torch.from_numpy(self.user[rows]).to(device)
        past = torch.from_numpy(self.history[rows]).to(device)
        moving = None
        if self.moving is not None:
            ids, dense = (torch.from_numpy(x[rows]).to(device) for x in self.moving)
            moving = (ids, dense)
        scores = model.users(users, past, moving).float() @ items.T.float()
        owner, item = _pairs(self.exclude, rows)
        scores[owner.to(device), item.to(device)] = -torch.inf
        best = scores.topk(min(PLACES, scores.shape[1]), 1).indices.cpu().numpy()
        owner, item = _pairs(self.targets, rows)
        wanted = owner.numpy() * scores.shape[1] + item.numpy()
        return np.isin(np.arange(len(rows))[:, None] * scores.shape[1] + best, wanted)


def _pairs(lists: Ragged, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """(index into `rows`, value) pairs of the lists `rows`, which are consecutive."""
    begin, end = lists.indptr[rows[0]], lists.indptr[rows[-1] + 1]
    owner = np.repeat(np.arange(len(rows)), np.diff(lists.indptr[rows[0] : rows[-1] + 2]))
    return torch.from_numpy(owner), torch.from_numpy(lists.values[begin:end].astype(np.int64))


def given_validation(
    given: Valid,
    interest: Float32,
    last: int,
    n_items: int,
    pad: int,
    moving: MovingInputs | None = None,
) -> ValidationQueries:
    """The validation data of a FitContext as inputs of the model.

    Args:
        interest: (behaviours,) interest values, see `UserSide.vectors`.
        last: most items of a history. pad: padding row of the history's table.
        moving: makes the users' moving inputs; None: the model has none.
    """
    queries, past = given.queries, given.queries.history
    value = interest[past.behaviour]
    history = recent_liked_rows(past.indptr, past.item, value, last, n_items, pad)
    return ValidationQueries(
        queries.user.astype(np.int64),
        history,
        queries.exclude,
        given.targets,
        None if moving is None else moving.of(queries),
    )


def hold_out_likes(likes: Likes, last: int, pad: int, seed: int) -> tuple[Likes, ValidationQueries]:
    """Holds out a fifth of the likes of a tenth of the users (3,000 at most), at random.

    Returns the likes to train on, which include the other likes of these users, and the held-out
    likes as validation data. They are few enough that the model need not be refitted with them.
    """
    random = np.random.default_rng(seed)
    sizes = np.diff(likes.indptr)
    able = random.permutation(np.flatnonzero(sizes >= 3))
    users = np.sort(able[: min(MAX_USERS, max(1, int(SHARE_OF_USERS * len(sizes))))])
    owner = np.repeat(np.arange(len(sizes)), sizes)
    chance = random.random(len(owner))
    rank = np.argsort(np.lexsort((chance, owner))) - likes.indptr[owner]
    gone = np.isin(owner, users) & (rank < np.maximum(1, SHARE_OF_LIKES * sizes[owner]))
    gone &= likes.strength == 1.0
    kept, wanted = _where(likes, ~gone), _where(likes, gone)
    history = np.full((len(users), last), pad, np.int32)
    for q, past in enumerate(_lists(kept, users)):
        history[q, : min(len(past), last)] = pad + FIRST + past[::-1][:last]
    exclude, targets = (
        Ragged.of([np.sort(items) for items in _lists(part, users)]) for part in (kept, wanted)
    )
    return kept, ValidationQueries(users.astype(np.int64), history, exclude, targets)


def _lists(likes: Likes, users: NDArray[np.int64]) -> list[NDArray[np.int32]]:
    """Each user's items, in order of time."""
    return [likes.item[likes.indptr[u] : likes.indptr[u + 1]] for u in users]


def _where(likes: Likes, mask: NDArray[np.bool_]) -> Likes:
    """The likes selected by `mask` (n,)."""
    counts = np.add.reduceat(np.append(mask, False), likes.indptr[:-1]) * (
        np.diff(likes.indptr) > 0
    )
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    columns = {name: column[mask] for name, column in vars(likes).items() if name != "indptr"}
    return replace(likes, indptr=indptr, **columns)
