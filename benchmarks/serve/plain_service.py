"""The same models behind a service as one writes it first: FastAPI, pandas, PyTorch eager, faiss.

    python -m benchmarks.serve.plain_service PROJECT PORT

It opens the project's serving version, which must be the demo's kind (the channels of `CHANNELS`,
pre-ranker `lr`, MMR and `at_most` over one column of categories), and takes its models' weights,
vectors and tables out of it. Whatever does not depend on the request is prepared at the start.

Per request: every channel's best items without those that the user knows (scipy products for
itemcf, swing and usercf, a sum of rows for EASE, faiss for mf and two_tower, a fixed list for hot);
one frame of all candidates with each channel's rank and score; the inputs made of them; a merge
with the items' encoded attributes and statistics, and with the user's, repeated for every
candidate; the pre-ranker and, for the best of it, the ranker, both PyTorch in eager mode with one
thread; the fused value; a greedy loop that places by MMR and keeps the limit; the titles.

What it does not do, all in its favour: it takes no events, so histories, statistics, the vectors of
mf and sums over a user's history stand still from the start; it knows no new users or items, keeps
no journal, gives no reasons, has no time budgets or fallbacks, does not calibrate probabilities
(their order is the same), and plans the limit together with MMR instead of after it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pandas as pd
import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from scipy.sparse import csr_array

from tamis.bundle import Kind, Versions
from tamis.cascade import Candidates
from tamis.features import Batch, Layout
from tamis.schema import Side
from tamis.service import Recommender

CHANNELS = ("itemcf", "two_tower", "hot", "ease", "swing", "mf", "usercf")
RECENT = 10
"""Number of the last likes that the `recent` inputs read."""
Array = Any
Slate = list[dict[Any, Any]]


class Asked(BaseModel):
    """The body of a request."""

    user_id: str | int
    n: int = 20


class Channels:
    """The recall channels: each gives a score for every item, or the best items and scores."""

    def __init__(self, recommender: Recommender, folder: Path) -> None:
        parts: Any = recommender.parts
        self.n_items, self.n_users = len(parts.items), len(parts.users)
        self.quota = {name: parts.config.cascade.channels[name].quota for name in CHANNELS}
        every = np.arange(self.n_users, dtype=np.int32)
        queries = parts.queries(every, np.full(self.n_users, recommender.now()))
        self._read_histories(queries.history, np.load(folder / "itemcf" / "interest.npy"))
        self.similar = {
            name: self._matrix(folder / name, "similarity", "neighbour", "indptr", self.n_items)
            for name in ("itemcf", "swing")
        }
        usercf = folder / "usercf"
        self.likes = self._matrix(usercf, "value", "item", "items_at", self.n_items)
        self.users_of = self._matrix(usercf, None, "user", "users_at", self.n_users)
        self.rarity, self.norm = (np.load(usercf / f"{x}.npy") for x in ("rarity", "norm"))
        self.most = parts.channels["usercf"].config.neighbours
        self.ease, self.ease_item, self.ease_row = (
            np.load(folder / "ease" / f"{name}.npy") for name in ("weight", "item", "row")
        )
        self.hot = np.load(folder / "hot" / "posting_item.npy")
        self.hot_score = 2.0 ** np.load(folder / "hot" / "posting_key.npy")
        mf: Any = parts.channels["mf"]
        self.mf_user, self.mf_item = mf.user_vectors(queries), self.ease_item
        self.mf = self._index(mf.item_vectors()[self.mf_item])
        tower: Any = parts.channels["two_tower"]
        table, first = np.load(folder / "two_tower" / "table.npy"), tower._facts["history_start"]
        self.embedding = torch.from_numpy(table[first + 2 : first + 2 + self.n_items])
        self.profile = torch.from_numpy(self._profiles(tower, every, queries))
        self.length = tower._facts["shape"]["length"]
        self.two_tower = self._index(tower.item_vectors())

    def _read_histories(self, history: Any, interest: Array) -> None:
        """Per user: the known items, and the distinct liked ones, latest first, with weights."""
        lengths = np.diff(history.indptr)
        events = pd.DataFrame(
            {
                "user": np.repeat(np.arange(self.n_users), lengths),
                "item": history.item,
                "time": history.time,
            }
        )
        self.seen = self._by_user(events.drop_duplicates(["user", "item"]), "item")
        likes = events[interest[history.behaviour] > 0]
        self.positives = self._by_user(likes, "item")
        latest = likes[::-1].drop_duplicates(["user", "item"])
        latest = latest.sort_values("user", kind="stable")
        later = latest.groupby("user")["time"].rank(ascending=False, method="min") - 1
        latest = latest.assign(vote=(1 + later.to_numpy(np.float32)) ** -0.5)
        self.liked, self.vote = (self._by_user(latest, name) for name in ("item", "vote"))

    def _by_user(self, frame: pd.DataFrame, column: str) -> list[Array]:
        """A column's values of each user, of a frame in the order of the users."""
        counts = np.bincount(frame["user"], minlength=self.n_users)
        return np.split(frame[column].to_numpy(copy=True), np.cumsum(counts)[:-1])

    @staticmethod
    def _profiles(tower: Any, users: Array, queries: Any) -> Array:
        """(users, dim) what the user tower makes of everything but the likes."""
        side, inputs = tower._side, [tower._arrays[f"user_{x}"][users] for x in ("ids", "dense")]
        if side.moving is not None:
            found = side.moving.of(queries)
            inputs = [
                np.concatenate(pair, axis=1)
                for pair in zip(inputs, (found.ids, found.dense), strict=True)
            ]
        return side.profiles(*inputs)

    @staticmethod
    def _matrix(folder: Path, value: str | None, index: str, bounds: str, width: int) -> Array:
        indptr, column = np.load(folder / f"{bounds}.npy"), np.load(folder / f"{index}.npy")
        numbers = np.load(folder / f"{value}.npy") if value else np.ones(len(column), np.float32)
        return csr_array((numbers, column, indptr), shape=(len(indptr) - 1, width))

    @staticmethod
    def _index(vectors: Array) -> Any:
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(np.ascontiguousarray(vectors, np.float32))
        return index

    def found(self, user: int) -> pd.DataFrame:
        """One row per candidate, with the rank and score of every channel that found it."""
        liked, seen = self.liked[user], self.seen[user]
        lists = {
            "itemcf": self._best(self.vote[user] @ self.similar["itemcf"][liked], seen, "itemcf"),
            "two_tower": self._by_tower(user),
            "hot": self._without(self.hot, self.hot_score, seen, "hot"),
            "ease": self._by_ease(user),
            "swing": self._best(self.vote[user] @ self.similar["swing"][liked], seen, "swing"),
            "mf": self._nearest(self.mf, self.mf_user[[user]], self.mf_item, seen, "mf"),
            "usercf": self._by_users(user),
        }
        frames = [
            pd.DataFrame(
                {f"rank:{name}": np.arange(1, len(item) + 1), f"score:{name}": score}, index=item
            )
            for name, (item, score) in lists.items()
        ]
        return pd.concat(frames, axis=1).rename_axis("item").reset_index()

    def _best(self, scores: Array, seen: Array, name: str) -> tuple[Array, Array]:
        """The items with the largest scores above 0."""
        scores[seen] = 0
        best = np.argpartition(-scores, self.quota[name])[: self.quota[name]]
        best = best[scores[best] > 0]
        best = best[np.argsort(-scores[best])]
        return best, scores[best]

    def _without(self, item: Array, score: Array, seen: Array, name: str) -> tuple[Array, Array]:
        """The first of a list that the user does not know."""
        new = np.flatnonzero(~np.isin(item, seen))[: self.quota[name]]
        return item[new], score[new]

    def _nearest(
        self, index: Any, vector: Array, items: Array | None, seen: Array, name: str
    ) -> tuple[Array, Array]:
        score, place = index.search(vector, min(self.quota[name] + len(seen), index.ntotal))
        item = place[0] if items is None else items[place[0]]
        return self._without(item, score[0], seen, name)

    def _by_tower(self, user: int) -> tuple[Array, Array]:
        liked = torch.from_numpy(self.liked[user][: self.length])
        with torch.no_grad():
            vector = self.profile[user] + self.embedding[liked].mean(0)
            vector = torch.nn.functional.normalize(vector, dim=0)
        return self._nearest(
            self.two_tower, vector[None].numpy(), None, self.seen[user], "two_tower"
        )

    def _by_ease(self, user: int) -> tuple[Array, Array]:
        scores = self.ease[self.ease_row[self.liked[user]]].sum(axis=0)
        known = self.ease_row[self.seen[user]]
        scores[known[known >= 0]] = -np.inf
        best = np.argpartition(-scores, self.quota["ease"])[: self.quota["ease"]]
        best = best[np.argsort(-scores[best])]
        return self.ease_item[best], scores[best]

    def _by_users(self, user: int) -> tuple[Array, Array]:
        liked = self.liked[user]
        alike = (self.rarity[liked] @ self.users_of[liked]) / np.maximum(self.norm, 1)
        alike[user] = 0
        near = np.argpartition(-alike, self.most)[: self.most]
        weight = alike[near] / np.sqrt(len(liked))
        return self._best(weight @ self.likes[near], self.seen[user], "usercf")


class PlainService:
    """Models, tables and histories of a version, as frames and tensors."""

    def __init__(self, project: str) -> None:
        recommender = Recommender.open(project)
        parts: Any = recommender.parts
        self.prerank: Any = parts.prerank._module()
        self.rank: Any = parts.rank._module()
        self.keep = parts.config.cascade.prerank_keep
        self.rows = {text: row for row, text in enumerate(parts.users.ids.to_list())}
        self.titles = pd.DataFrame(
            {"item_id": parts.items.ids.to_list(), "title": parts.items.frame["title"].to_list()}
        )
        folder = Versions(Path(project)).current(Kind.SERVING).path
        self.channels = Channels(recommender, folder / "channels")
        self._prepare_inputs(recommender)
        self._prepare_pairs(parts.space._fitted.interest)
        rules: Any = parts.config.cascade.rerank
        self.theta, self.limit = rules["mmr"].theta, rules["at_most"].limit
        self.window = rules["at_most"].window

    def _prepare_inputs(self, recommender: Recommender) -> None:
        """Frames of the items' and of the users' encoded attributes and statistics."""
        parts, now = recommender.parts, recommender.now()
        users, items = len(parts.users), len(parts.items)
        every = np.arange(users, dtype=np.int32)
        queries = parts.queries(every, np.full(users, now))
        each = Candidates(np.arange(users + 1), np.zeros(users, np.int32))
        self.user_inputs = self._encoded(recommender, queries, each, Side.USER)
        all_items = Candidates(np.array([0, items]), np.arange(items, dtype=np.int32))
        one = queries.part(0, 1)
        self.item_inputs = self._encoded(recommender, one, all_items, Side.ITEM)

    def _encoded(
        self, recommender: Recommender, queries: Any, candidates: Candidates, side: Side
    ) -> pd.DataFrame:
        """The inputs of one side, a column each; the names of all inputs in their order."""
        rows = recommender.cascade.hydrate(queries, candidates)
        batch, layout = rows.take(torch.arange(len(candidates))), rows.layout
        columns: dict[str, Array] = {}
        for columns_of, values in ((layout.ids, batch.ids), (layout.dense, batch.dense)):
            for column in columns_of:
                if column.side is side:
                    for k, name in enumerate(names_of(column)):
                        columns[name] = values[:, column.first + k].numpy()
        self._name_inputs(layout)
        return pd.DataFrame(columns)

    def _name_inputs(self, layout: Layout) -> None:
        """Names of the ids and numbers that the networks read, in their order."""
        self.id_names = [name for column in layout.ids for name in names_of(column)]
        self.dense_names = [name for column in layout.dense for name in names_of(column)]

    def _prepare_pairs(self, interest: Any) -> None:
        """Users' shares of categories and mean numbers, and the scales of recall's columns."""
        (category,), (number,) = interest.categories, interest.numbers
        scales = {column.name: column for column in interest.columns}
        self.limits = np.array([scales[f"rank:{name}"].limit for name in CHANNELS])
        self.means = np.array([scales[f"score:{name}"].mean for name in CHANNELS])
        self.deviations = np.array([scales[f"score:{name}"].std for name in CHANNELS])
        n = self.channels.n_items
        self.categories = np.zeros((n, len(category.base)), np.float32)
        row, place = np.nonzero(category.codes[:n])
        self.categories[row, category.codes[row, place]] = 1
        self.sizes, self.year = self.categories.sum(axis=1), number.values[:n]
        share, recent, year, late = [], [], [], []
        for liked in self.channels.positives:
            share.append(self.categories[liked].sum(axis=0) / max(len(liked), 1))
            last = liked[-RECENT:]
            recent.append(self.categories[last].sum(axis=0) / max(len(last), 1))
            year.append(known_mean(self.year[liked]))
            late.append(known_mean(self.year[last]))
        self.share, self.recent = np.array(share), np.array(recent)
        self.lift = np.divide(
            self.share, category.base, where=category.base > 0, out=np.zeros_like(self.share)
        )
        self.mean_year, self.late_year = np.array(year), np.array(late)
        self.category, self.number = category.name, number.name

    def pair_inputs(self, found: pd.DataFrame, user: int) -> pd.DataFrame:
        """The inputs of user and candidate: recall's ranks and scores, categories, numbers."""
        rank = found[[f"rank:{name}" for name in CHANNELS]].to_numpy()
        score = found[[f"score:{name}" for name in CHANNELS]].to_numpy()
        here, limits = ~np.isnan(rank), self.limits
        made: dict[str, Array] = {"item": found["item"].to_numpy(), "found by": here.mean(axis=1)}
        parts = {
            "found": here,
            "top": np.nan_to_num(10 / (rank + 9)),
            "log rank": np.log1p(np.where(here, rank, limits)) / np.log1p(limits),
            "score": np.nan_to_num((score - self.means) / self.deviations),
            "score in query": np.nan_to_num(
                (score - np.nanmean(score, axis=0)) / np.maximum(np.nanstd(score, axis=0), 1e-9)
            ),
        }
        for kind, values in parts.items():
            for k, name in enumerate(CHANNELS):
                made[f"{kind}:{name}"] = values[:, k]
        item = made["item"]
        theirs, size = self.categories[item], np.maximum(self.sizes[item], 1)
        made[f"share:{self.category}"] = theirs @ self.share[user] / size
        made[f"recent:{self.category}"] = theirs @ self.recent[user] / size
        lift = np.where(self.sizes[item] > 0, theirs @ self.lift[user] / size, 1)
        made[f"lift:{self.category}"] = np.log1p(lift)
        gap = np.nan_to_num(self.year[item] - self.mean_year[user])
        made[f"gap:{self.number}"], made[f"size of gap:{self.number}"] = gap, np.abs(gap)
        late = np.nan_to_num(self.year[item] - self.late_year[user])
        made[f"recent gap:{self.number}"] = np.abs(late)
        return pd.DataFrame(made)

    def score(self, network: Any, frame: pd.DataFrame) -> Array:
        """What a network says of every row."""
        batch = Batch(
            ids=torch.from_numpy(frame[self.id_names].to_numpy(np.int32)),
            dense=torch.from_numpy(frame[self.dense_names].to_numpy(np.float32)),
        )
        with torch.no_grad():
            return torch.sigmoid(network(batch)[:, 0]).numpy()

    def recommend(self, asked: Asked) -> Slate:
        """The slate of one user; popular items for a user without likes."""
        user = self.rows.get(str(asked.user_id))
        if user is None or not len(self.channels.liked[user]):
            chosen = pd.DataFrame({"item": self.channels.hot[: asked.n], "value": 0.0})
        else:
            found = self.channels.found(user)
            frame = self.pair_inputs(found, user)
            frame = frame.merge(self.item_inputs, left_on="item", right_index=True, how="left")
            frame = frame.merge(self.user_inputs.iloc[[user]], how="cross")
            best = np.argsort(-self.score(self.prerank, frame))[: self.keep]
            kept = found.iloc[best].assign(like=self.score(self.rank, frame.iloc[best]))
            kept["value"] = fused(kept)
            chosen = self.placed(kept.sort_values("value", ascending=False), asked.n)
        chosen = chosen.merge(self.titles, left_on="item", right_index=True, how="left")
        return chosen[["item_id", "title", "value"]].to_dict("records")

    def placed(self, ranked: pd.DataFrame, n: int) -> pd.DataFrame:
        """The n items that MMR places one after another, within the limit of a category."""
        item, value = ranked["item"].to_numpy(), ranked["value"].to_numpy()
        value = (value - value.min()) / max(value.max() - value.min(), 1e-12)
        theirs, size = self.categories[item], self.sizes[item]
        alike, free = np.zeros(len(item)), np.ones(len(item), bool)
        places: list[int] = []
        for _ in range(min(n, len(item))):
            latest = theirs[places[1 - self.window :]].sum(axis=0) if places else np.zeros(1)
            full = latest >= self.limit
            allowed = free & ~(theirs[:, full].any(axis=1)) if full.any() else free
            allowed = allowed if allowed.any() else free
            marginal = self.theta * value - (1 - self.theta) * alike
            best = int(np.argmax(np.where(allowed, marginal, -np.inf)))
            places.append(best)
            free[best] = False
            common = theirs @ theirs[best]
            alike = np.maximum(alike, common / np.maximum(size + size[best] - common, 1))
        return ranked.iloc[places][["item", "value"]]


def names_of(column: Any) -> list[str]:
    """A name for each place of a column of inputs."""
    if column.width == 1:
        return [column.name]
    return [f"{column.name} {k}" for k in range(column.width)]


def known_mean(numbers: Array) -> float:
    """The mean of the numbers that are not missing; NaN without any."""
    known = numbers[~np.isnan(numbers)]
    return float(known.mean()) if len(known) else float("nan")


def fused(frame: pd.DataFrame) -> pd.Series:
    """The demo's fusion: reciprocal ranks of the ranker and of four channels."""
    value = 1 / (frame["like"].rank(ascending=False) + 60)
    for name in ("ease", "two_tower", "mf", "hot"):
        rank = frame[f"score:{name}"].rank(ascending=False, na_option="bottom")
        value += 0.125 / (rank + 60)
    return value


def main() -> None:
    torch.set_num_threads(1)
    service = PlainService(sys.argv[1])
    app = FastAPI()

    @app.post("/v1/recommend")
    def recommend(asked: Asked) -> dict[str, Slate]:
        return {"items": service.recommend(asked)}

    @app.get("/health/ready")
    def ready() -> dict[str, str]:
        return {"status": "ready"}

    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")


if __name__ == "__main__":
    main()
