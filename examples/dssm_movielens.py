"""DSSM on MovieLens: features, histories, a split by time, AUC, an index, and vectors in Redis.

tamis fetch movielens-1m --out films && redis-server --save "" --daemonize yes
python examples/dssm_movielens.py films redis://127.0.0.1:6379/0
"""

import sys

import numpy as np
import polars as pl
import redis

from tamis import DSSM, SparseFeat, VarLenSparseFeat
from tamis.features import history_column
from tamis.index import VectorIndex

if len(sys.argv) != 3:
    sys.exit(f"Two arguments are needed, a folder and a Redis server:\n{__doc__}")
folder, address = sys.argv[1:]
files = (f"{folder}/{name}.csv" for name in ("users", "items", "events"))
users, films, log = (pl.read_csv(file, infer_schema_length=None) for file in files)
rows = log.sort("timestamp").join(users, on="user_id").join(films, on="item_id")
rows = rows.with_columns(like=(pl.col("rating") >= 4).cast(int))
rows = rows.with_columns(liked=history_column(rows, where="like", n=50))  # before each row's time
a, b = (int(len(rows) * share) for share in (0.8, 0.9))  # train, validate and test by time
user = [SparseFeat(name) for name in ("user_id", "gender", "age")]
user += [VarLenSparseFeat("liked", max_len=50, shares="item_id")]
item = [SparseFeat("item_id"), VarLenSparseFeat("genres", separator="|")]
model = DSSM(user_features=user, item_features=item, hidden_units=(64, 32), batch_norm=True)
model.fit(rows[:a], rows[a:b], label="like")
print(model.evaluate(rows[b:]))
now = rows.group_by("user_id", maintain_order=True).last()  # each user before the last rating
vectors = {"users": model.user_embeddings(now), "items": model.item_embeddings(films)}
server, index = redis.Redis.from_url(address), VectorIndex.build(vectors["items"])
for side, ids in (("users", now["user_id"]), ("items", films["item_id"])):
    pairs = zip(ids.cast(str), vectors[side], strict=True)
    server.hset(f"dssm:{side}", mapping={key: vector.tobytes() for key, vector in pairs})
for side, key in (("users", now["user_id"][0]), ("items", films["item_id"][0])):
    stored = np.frombuffer(server.hget(f"dssm:{side}", str(key)), np.float32)
    print(side, key, films["title", "genres"][index.search(stored[None], 6)[0][0]].rows())
