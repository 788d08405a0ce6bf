"""What a two-tower fit stops by: likes that it is not trained on, and how high they are ranked."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tamis.cascade import Valid
from tamis.data import Ragged
from tamis.recall._common.side_features import FIRST
from tamis.recall._common.user_item_examples import Likes
from tamis.recall.two_tower._network import TwoTowers
from tamis.recall.two_tower._online import recent_liked_rows
from tamis.runtime import Float32

PLACES = 20
"""List length of the metrics."""
MOST_USERS = 3000
SHARE_OF_USERS, SHARE_OF_LIKES = 0.1, 0.2
BLOCK = 512


@dataclass(frozen=True, eq=False)
class ValidationQueries:
    """Q questions whose answers are known."""

    user: NDArray[np.int64]
    """(Q,) rows; -1 = a stranger."""
    history: NDArray[np.int32]
    """(Q, L) fused rows, most recent first, padded."""
    exclude: Ragged
    targets: Ragged

    def __len__(self) -> int:
        return len(self.user)

    def measure(self, model: TwoTowers, device: torch.device) -> dict[str, float]:
        """NDCG@20 and recall@20 (of as many targets as fit), means over the questions."""
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
        """(q, places) which of the best items are targets."""
        users = torch.from_numpy(self.user[rows]).to(device)
        past = torch.from_numpy(self.history[rows]).to(device)
        scores = model.users(users, past).float() @ items.T.float()
        owner, item = _pairs(self.exclude, rows)
        scores[owner.to(device), item.to(device)] = -torch.inf
        best = scores.topk(min(PLACES, scores.shape[1]), 1).indices.cpu().numpy()
        owner, item = _pairs(self.targets, rows)
        wanted = owner.numpy() * scores.shape[1] + item.numpy()
        return np.isin(np.arange(len(rows))[:, None] * scores.shape[1] + best, wanted)


def _pairs(lists: Ragged, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """(place in `rows`, value) of the lists of `rows`, which are consecutive."""
    begin, end = lists.indptr[rows[0]], lists.indptr[rows[-1] + 1]
    owner = np.repeat(np.arange(len(rows)), np.diff(lists.indptr[rows[0] : rows[-1] + 2]))
    return torch.from_numpy(owner), torch.from_numpy(lists.values[begin:end].astype(np.int64))


def given_validation(
    given: Valid, interest: Float32, last: int, n_items: int, pad: int
) -> ValidationQueries:
    """A context's validation questions; `interest` is each behaviour's, see `UserSide.vectors`."""
    asked, past = given.queries, given.queries.history
    value = interest[past.behaviour]
    history = recent_liked_rows(past.indptr, past.item, value, last, n_items, pad)
    return ValidationQueries(asked.user.astype(np.int64), history, asked.exclude, given.targets)


def hold_out_likes(likes: Likes, last: int, pad: int, seed: int) -> tuple[Likes, ValidationQueries]:
    """Takes a fifth of the likes away from a tenth of the users (3,000 at most), at random.

    So few that nothing need be fitted again with them; what is left of these users is trained on.
    """
    random = np.random.default_rng(seed)
    sizes = np.diff(likes.indptr)
    able = random.permutation(np.flatnonzero(sizes >= 3))
    users = np.sort(able[: min(MOST_USERS, max(1, int(SHARE_OF_USERS * len(sizes))))])
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
    counts = np.add.reduceat(np.append(mask, False), likes.indptr[:-1]) * (
        np.diff(likes.indptr) > 0
    )
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    columns = {name: column[mask] for name, column in vars(likes).items() if name != "indptr"}
    return replace(likes, indptr=indptr, **columns)
