"""The same models behind a service as one writes it first: FastAPI, pandas, PyTorch eager, faiss.

    python -m benchmarks.serve.plain_service PROJECT PORT

It opens the project's serving version and takes its models' weights, vectors and tables out of it.
Per request: the item vectors nearest to the mean of the user's last items (faiss), the neighbours
of these items, popular items; one frame of candidates without duplicates and without what the user
knows; the best by recall; a merge with the encoded attributes of the items, and the user's repeated
for every candidate; the ranker's network in PyTorch, one thread; the titles.

It does less than Tamis: it keeps no counters (inputs that depend on user and item together are
those of the first user), has no trained pre-ranker, no re-rank, no journal and no reasons. Whatever
does not depend on the request is prepared at the start.
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

from tamis.bundle import Kind, Versions
from tamis.cascade import Candidates
from tamis.features import Batch
from tamis.service import Recommender

RECALLED = 300
HISTORY = 50


class Asked(BaseModel):
    """The body of a request."""

    user_id: str | int
    n: int = 20


class PlainService:
    """Models, tables and histories of a version, as frames and tensors."""

    def __init__(self, project: str) -> None:
        recommender = Recommender.open(project)
        parts = recommender.parts
        self.network: Any = parts.rank._module()
        self.keep = parts.config.cascade.prerank_keep
        self.users = {text: row for row, text in enumerate(parts.users.ids.to_list())}
        self.items = pd.DataFrame(
            {"item_id": parts.items.ids.to_list(), "title": parts.items.frame["title"].to_list()}
        )
        channel: Any = next(c for c in parts.channels.values() if hasattr(c, "item_vectors"))
        self.vectors = np.ascontiguousarray(channel.item_vectors, np.float32)
        self.nearest = faiss.IndexFlatIP(self.vectors.shape[1])
        self.nearest.add(self.vectors)
        folder = Versions(Path(project)).current(Kind.SERVING).path / "channels" / "itemcf"
        self.starts, self.neighbour, self.similarity = (
            np.load(folder / f"{name}.npy") for name in ("indptr", "neighbour", "similarity")
        )
        self._prepare_inputs(recommender)

    def _prepare_inputs(self, recommender: Recommender) -> None:
        """Encoded inputs per item and per user, histories and popular items."""
        parts, now = recommender.parts, recommender.now()
        queries = parts.queries(
            np.arange(len(parts.users), dtype=np.int32), np.full(len(parts.users), now)
        )
        found = recommender.cascade.run(queries.part(0, 1), 20)
        self.popular = pd.DataFrame(
            {"item": found.ranked.item[:RECALLED], "score": 0.0}
        )  # any list does: its length counts
        lists = queries.history
        ends = lists.indptr
        self.history = [
            lists.item[ends[q] : ends[q + 1]][-HISTORY:] for q in range(len(parts.users))
        ]
        n, zero = len(parts.items), {k: c.dtype for k, c in found.ranked.columns.items()}
        every = Candidates(
            np.array([0, n]),
            np.arange(n, dtype=np.int32),
            {name: np.zeros(n, dtype) for name, dtype in zero.items()},
        )
        rows = recommender.cascade.hydrate(queries.part(0, 1), every)
        m = len(parts.users)
        one = Candidates(
            np.arange(m + 1),
            np.zeros(m, np.int32),
            {name: np.zeros(m, dtype) for name, dtype in zero.items()},
        )
        by_user = recommender.cascade.hydrate(queries, one)
        item_columns: dict[str, Any] = {}
        user_columns: dict[str, Any] = {}
        self.id_names: list[str] = []
        self.dense_names: list[str] = []
        for number, (block, users) in enumerate(zip(rows.blocks, by_user.blocks, strict=True)):
            of_user = block.pointer is not None and max(len(block.ids), len(block.dense)) == 1
            source, target = (users, user_columns) if of_user else (block, item_columns)
            for kind, names in (("ids", self.id_names), ("dense", self.dense_names)):
                array = getattr(source, kind)
                array = array if source.pointer is None else array[source.pointer]
                for k in range(array.shape[1]):
                    names.append(f"{kind}{number}_{k}")
                    target[names[-1]] = np.ascontiguousarray(array[:, k])
        self.item_inputs = pd.DataFrame(item_columns)
        self.user_inputs = pd.DataFrame(user_columns)

    def candidates(self, known: Any) -> pd.DataFrame:
        """The best of what three sources find, without duplicates and known items."""
        frames = [self.popular]
        if len(known):
            mean = self.vectors[known].mean(axis=0, keepdims=True)
            score, item = self.nearest.search(mean, RECALLED)
            frames.append(pd.DataFrame({"item": item[0], "score": score[0]}))
            at = np.concatenate([np.arange(self.starts[i], self.starts[i + 1]) for i in known])
            near = pd.DataFrame({"item": self.neighbour[at], "score": self.similarity[at]})
            near = near.groupby("item", as_index=False)["score"].sum()
            frames.append(near.nlargest(RECALLED, "score"))
        found = pd.concat(frames).drop_duplicates("item")
        found = found[~found["item"].isin(known)]
        return found.nlargest(self.keep, "score")

    def recommend(self, asked: Asked) -> dict[str, Any]:
        """The slate of one user."""
        row = self.users.get(str(asked.user_id))
        known = self.history[row] if row is not None else np.zeros(0, np.int32)
        found = self.candidates(known)
        frame = found.merge(self.item_inputs, left_on="item", right_index=True, how="left")
        user = self.user_inputs.iloc[[row or 0]]
        frame = frame.merge(user, how="cross")
        batch = Batch(
            ids=torch.from_numpy(frame[self.id_names].to_numpy(np.int32)),
            dense=torch.from_numpy(frame[self.dense_names].to_numpy(np.float32)),
        )
        with torch.no_grad():
            frame["value"] = torch.sigmoid(self.network(batch)[:, 0]).numpy()
        best = frame.nlargest(asked.n, "value")[["item", "value"]]
        best = best.merge(self.items, left_on="item", right_index=True, how="left")
        return {"items": best[["item_id", "title", "value"]].to_dict("records")}


def main() -> None:
    torch.set_num_threads(1)
    service = PlainService(sys.argv[1])
    app = FastAPI()

    @app.post("/v1/recommend")
    def recommend(asked: Asked) -> dict[str, Any]:
        return service.recommend(asked)

    @app.get("/health/ready")
    def ready() -> dict[str, str]:
        return {"status": "ready"}

    service.recommend(Asked(user_id="warm"))
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")


if __name__ == "__main__":
    main()
