"""Lists of ids in the table of users, such as interests declared at signup, as model inputs."""

from dataclasses import replace

import numpy as np
import polars as pl

from tamis.data import Table, dataset_from_frame
from tamis.features import FeatureSpace, Histories
from tamis.schema import Side, VarLenSparseFeat

LOG = pl.DataFrame({"user": ["ann", "ann", "bob", "cid"], "item": list("abab"), "t": range(4)})
INTERESTS = ["Drama|War", None, "War"]


def test_declared_interests_are_ids_of_the_user() -> None:
    data = dataset_from_frame(LOG, user="user", item="item", time="t")
    order = data.users.ids.to_list()
    frame = pl.DataFrame({"interests": [INTERESTS[["ann", "bob", "cid"].index(u)] for u in order]})
    data = replace(data, users=Table("users", data.users.ids, frame))
    space = FeatureSpace.fit(data, [VarLenSparseFeat("interests", separator="|", max_len=3)])
    (column,) = space.user_layout.ids
    assert column.side is Side.USER
    users = data.users.rows(["ann", "bob", "cid", "nobody"])
    time = np.full(4, data.end)
    rows = space.user_rows(users, time, Histories.of(data).at(users, time))
    found = rows.blocks[0].ids[:, column.first : column.first + column.width]
    # of the events, two are of a user of Drama and three of War: War has the first code
    assert found.tolist() == [[3, 2, 0], [0, 0, 0], [2, 0, 0], [0, 0, 0]]
