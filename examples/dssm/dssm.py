"""DSSM (two-tower) on labelled rows: fit, evaluate, predict, and the vectors of both towers."""

import numpy as np
import polars as pl

import tamis
from tamis import DenseFeat, InnerProduct, SparseFeat

random, n = np.random.default_rng(0), 20_000
user_id, item_id = random.integers(0, 500, n), random.integers(0, 200, n)
chance = np.where(user_id % 4 == item_id % 4, 0.7, 0.1)  # users click items of their city's genre
rows = pl.DataFrame(
    {"user_id": user_id, "city": user_id % 4, "age": random.uniform(18, 70, n), "item_id": item_id}
    | {"genre": item_id % 4, "price": random.lognormal(3, 1, n)}
    | {"click": (random.random(n) < chance).astype(int)}
)
train, valid, test = rows[:16_000], rows[16_000:18_000], rows[18_000:]

user = [SparseFeat(name="user_id", side="user"), SparseFeat(name="city", side="user")]
user += [DenseFeat(name="age", side="user")]
item = [SparseFeat(name="item_id", side="item"), SparseFeat(name="genre", side="item")]
item += [DenseFeat(name="price", side="item")]

model = InnerProduct(features=user + item, batch_size=256, epochs=8)
model.fit(train, label="click", valid=valid)
print(tamis.evaluate({"dssm": model}, test=test, user="user_id"))
print("probabilities of three rows:", model.predict(test[:3]))

users = model.user_vectors(test.select("user_id", "city", "age"))  # (2000, 32)
items = model.item_vectors(test.select("item_id", "genre", "price"))  # (2000, 32)
best = int((items @ users[0]).argmax())
print("city of the first user:", test["city"][0], "- genre of the best item:", test["genre"][best])
