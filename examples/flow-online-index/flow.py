"""Recall online, sort online: the user tower at request time, an index of items, and FM.

python examples/flow-online-index/flow.py films redis://127.0.0.1:6379/0 8000
"""

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import redis
import uvicorn
from litestar import Litestar, get, post

import tamis
from tamis import DSSM, SparseFeat, VarLenSparseFeat
from tamis.data import Ragged, read_frame
from tamis.features import history_column
from tamis.index import VectorIndex
from tamis.rank import FM

USER = [SparseFeat(name) for name in ("gender", "age")]
USER += [VarLenSparseFeat("liked", max_len=50, shares="item_id")]  # no user id: new users too
ITEM = [SparseFeat("item_id"), VarLenSparseFeat("genres", separator="|")]


def labelled_rows(log: pl.DataFrame, users: pl.DataFrame, films: pl.DataFrame) -> pl.DataFrame:
    """The ratings by time: like (1 from four stars), and what the user had liked before."""
    rows = log.sort("timestamp").join(users, on="user_id").join(films, on="item_id")
    rows = rows.with_columns(like=(pl.col("rating") >= 4).cast(int))
    return rows.with_columns(liked=history_column(rows, where="like", n=50))


def train(rows: pl.DataFrame) -> tuple[DSSM, FM]:
    """Fits both models on the first 80 % of the ratings, and prints their AUC on the last 10 %."""
    bounds = [int(len(rows) * share) for share in (0, 0.8, 0.9, 1)]
    first, valid, test = (rows[a:b] for a, b in pairwise(bounds))
    tower = DSSM(user_features=USER, item_features=ITEM, hidden_units=(64, 32), batch_norm=True)
    ranker = FM(features=[*USER, *ITEM])
    models = {"recall: dssm": tower, "rank: fm": ranker}
    print(tamis.evaluate(models, train=first, valid=valid, test=test, label="like", user="user_id"))
    return tower, ranker


class Films:
    """The films and their vectors in an index."""

    def __init__(self, films: pl.DataFrame, tower: DSSM) -> None:
        self.films, self.tower = films, tower
        self.index = VectorIndex.build(tower.item_embeddings(films))
        self.row = {str(key): row for row, key in enumerate(films["item_id"])}

    def recall(self, user: pl.DataFrame, n: int = 200) -> pl.DataFrame:
        """The films nearest to a user, a frame of one row, without those that the user liked."""
        known = np.array([self.row[key] for key in user["liked"][0] if key in self.row], np.int32)
        liked = Ragged.of([np.unique(known)])
        (found,), _ = self.index.search(self.tower.user_embeddings(user), n, liked)
        return self.films[found[found >= 0]]


def web_server(server: redis.Redis, films: Films, ranker: FM, users: pl.DataFrame) -> Litestar:
    """GET /recommend/USER?n=10, and POST /like/USER/FILM, which the next request reads."""
    profiles = {str(row.pop("user_id")): row for row in users.iter_rows(named=True)}

    @post("/like/{user:str}/{film:str}", sync_to_thread=True)
    def like(user: str, film: str) -> None:
        server.rpush(f"flow:liked:{user}", film)

    @get("/recommend/{user:str}", sync_to_thread=True)
    def recommend(user: str, n: int = 10) -> list[dict[str, Any]]:
        liked = [key.decode() for key in server.lrange(f"flow:liked:{user}", -50, -1)]
        profile = profiles.get(user, {"gender": None, "age": None})
        state = pl.DataFrame(
            [{**profile, "liked": liked}], schema_overrides={"liked": pl.List(str)}
        )
        rows = films.recall(state).join(state, how="cross")
        best = rows.with_columns(like=ranker.predict(rows)).sort("like", descending=True)
        return best.select("item_id", "title", "like").head(n).to_dicts()

    return Litestar([like, recommend])


def main(folder: str, address: str, port: str) -> None:
    users, films, log = (read_frame(Path(folder, f"{n}.csv")) for n in ("users", "items", "events"))
    rows = labelled_rows(log, users, films)
    tower, ranker = train(rows)
    server = redis.Redis.from_url(address)
    likes = rows.filter(pl.col("like") == 1).group_by("user_id", maintain_order=True)
    with server.pipeline() as pipe:
        for user, liked in likes.agg(pl.col("item_id").tail(50)).iter_rows():
            pipe.delete(f"flow:liked:{user}").rpush(f"flow:liked:{user}", *liked)
        pipe.execute()
    app = web_server(server, Films(films, tower), ranker, users)
    uvicorn.run(app, port=int(port), log_level="warning")


if __name__ == "__main__":
    main(*sys.argv[1:])
