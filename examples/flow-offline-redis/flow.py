"""Recall offline into Redis, sort online: lists of DSSM for every user, DeepFM behind a web server.

python examples/flow-offline-redis/flow.py films redis://127.0.0.1:6379/0 8000
"""

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import redis
import uvicorn
from litestar import Litestar, get

import tamis
from tamis import DSSM, DeepFM, SparseFeat, VarLenSparseFeat
from tamis.data import Ragged, read_frame
from tamis.features import history_column
from tamis.index import VectorIndex

USER = [SparseFeat(name) for name in ("user_id", "gender", "age")]
USER += [VarLenSparseFeat("liked", max_len=50, shares="item_id")]
ITEM = [SparseFeat("item_id"), VarLenSparseFeat("genres", separator="|")]


def labelled_rows(log: pl.DataFrame, users: pl.DataFrame, films: pl.DataFrame) -> pl.DataFrame:
    """The ratings by time: like (1 from four stars), and what the user had liked before."""
    rows = log.sort("timestamp").join(users, on="user_id").join(films, on="item_id")
    rows = rows.with_columns(like=(pl.col("rating") >= 4).cast(int))
    return rows.with_columns(liked=history_column(rows, where="like", n=50))


def train(rows: pl.DataFrame) -> tuple[DSSM, DeepFM]:
    """Fits both models on the first 80 % of the ratings, and prints their AUC on the last 10 %."""
    bounds = [int(len(rows) * share) for share in (0, 0.8, 0.9, 1)]
    first, valid, test = (rows[a:b] for a, b in pairwise(bounds))
    tower = DSSM(user_features=USER, item_features=ITEM, hidden_units=(64, 32), batch_norm=True)
    ranker = DeepFM(features=[*USER, *ITEM], hidden_units=(128, 64), dropout=0.2)
    models = {"recall: dssm": tower, "rank: deepfm": ranker}
    print(tamis.evaluate(models, train=first, valid=valid, test=test, label="like", user="user_id"))
    return tower, ranker


def recall_offline(
    tower: DSSM, rows: pl.DataFrame, users: pl.DataFrame, films: pl.DataFrame, n: int = 200
) -> dict[str, dict[str, str]]:
    """Redis hash → id → JSON: each user's list and features, and each film's features."""
    likes = rows.filter(pl.col("like") == 1).group_by("user_id", maintain_order=True)
    users = users.join(likes.agg(liked=pl.col("item_id").tail(50)), on="user_id", how="left")
    seen = rows.select(
        rows["user_id"].replace_strict(users["user_id"], np.arange(len(users))).alias("user"),
        rows["item_id"].replace_strict(films["item_id"], np.arange(len(films))).alias("film"),
    ).to_numpy()
    index = VectorIndex.build(tower.item_embeddings(films))
    found, _ = index.search(
        tower.user_embeddings(users), n, Ragged.from_pairs(seen[:, 0], seen[:, 1], len(users))
    )
    films_of = [films["item_id"].gather(row[row >= 0]).to_list() for row in found]
    return {
        "lists": dict(zip(users["user_id"].cast(str), map(json.dumps, films_of), strict=True)),
        "users": {str(row["user_id"]): json.dumps(row) for row in users.iter_rows(named=True)},
        "films": {str(row["item_id"]): json.dumps(row) for row in films.iter_rows(named=True)},
    }


def web_server(server: redis.Redis, ranker: DeepFM) -> Litestar:
    """GET /recommend/USER?n=10. It reads Redis only: the list, the user and the films in it."""

    @get("/recommend/{user:str}", sync_to_thread=True)
    def recommend(user: str, n: int = 10) -> list[dict[str, Any]]:
        listed = json.loads(server.hget("flow:lists", user) or "[]")
        if not listed:
            return []
        features = json.loads(server.hget("flow:users", user))
        films = pl.DataFrame(map(json.loads, server.hmget("flow:films", listed)))
        rows = films.with_columns(pl.lit(value).alias(name) for name, value in features.items())
        best = rows.with_columns(like=ranker.predict(rows)).sort("like", descending=True)
        return best.select("item_id", "title", "like").head(n).to_dicts()

    return Litestar([recommend])


def main(folder: str, address: str, port: str) -> None:
    users, films, log = (read_frame(Path(folder, f"{n}.csv")) for n in ("users", "items", "events"))
    rows = labelled_rows(log, users, films)
    tower, ranker = train(rows)
    server = redis.Redis.from_url(address)
    for name, values in recall_offline(tower, rows, users, films).items():
        server.hset(f"flow:{name}", mapping=values)
    uvicorn.run(web_server(server, ranker), port=int(port), log_level="warning")


if __name__ == "__main__":
    main(*sys.argv[1:])
