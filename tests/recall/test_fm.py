"""The machine cut in two against the whole one; histories; what answers are made of."""

import numpy as np
import polars as pl
import torch

from tamis.cascade import FitContext
from tamis.cascade.query_batches import at_end
from tamis.data.frame import dataset_from_frame
from tamis.recall import FM
from tamis.recall._common.side_features import FIRST, side_inputs
from tamis.recall._common.user_item_examples import Likes
from tamis.recall.fm._network import FactorisationMachine, FMExamples, SampledSoftmaxObjective
from tamis.schema import DenseFeat, SparseFeat
from tamis.testing import two_clans

FAST = {"embedding_dim": 8, "epochs": 2, "negatives": 20}


def machine(data, dim=5):
    """A machine whose every weight is random, and its inputs."""
    declared = [
        SparseFeat(name="taste"),
        SparseFeat(name="category"),
        DenseFeat(name="price", transform="standard"),
    ]
    inputs = side_inputs(data, declared, False, False)
    model = FactorisationMachine(inputs, dim, 0.0, torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(generator=generator)
        model.table.weight[~model.table.learns] = 0
    return model.eval(), inputs


def whole_machine(model, inputs, user, past, item):
    """w·x + Σ_{a<b} v_a · v_b over all fields of one pair, one by one."""
    table = model.table.weight.detach().double().numpy()
    vectors, first = [], 0.0

    def add(row):
        nonlocal first
        vectors.append(row[:-1])
        first += row[-1]

    for layout, ids in ((inputs.user, inputs.user_ids[user]), (inputs.item, inputs.item_ids[item])):
        start = {t.name: t.start for t in layout.tables}
        for column in layout.ids:
            rows = ids[column.first : column.first + column.width]
            rows = rows[rows != start[column.table]]
            if len(rows):
                pooled = table[rows]
                add(pooled.mean(0) if column.pooling == "mean" else pooled.sum(0))
    for side, dense in (
        (model.user, inputs.user_dense[user]),
        (model.item, inputs.item_dense[item]),
    ):
        for v, w, x in zip(
            side.numbers.detach().double().numpy(), side.first.detach(), dense, strict=True
        ):
            add(np.append(v, float(w)) * float(x))
    if len(past):
        add(np.append(table[model.history_start + FIRST + past, :-1].mean(0), 0.0))
    crosses = sum(vectors[a] @ vectors[b] for a in range(len(vectors)) for b in range(a))
    return first + crosses


def test_two_sides_are_the_machine_up_to_what_the_user_alone_decides():
    data = two_clans(users=4, items=6)
    model, inputs = machine(data)
    assert len(inputs.item.ids) > 1
    assert inputs.item_dense.shape[1] > 0
    past = np.array([1, 4])
    rows = torch.from_numpy(model.history_start + FIRST + past).int()
    for user in (0, 3):
        with torch.no_grad():
            mine = model.users(torch.tensor([user]), rows[None, :])
            items, rest = model.items()
            scores = (mine @ items.T + rest)[0].double().numpy()
        exact = np.array([whole_machine(model, inputs, user, past, i) for i in range(6)])
        np.testing.assert_allclose(scores - scores[0], exact - exact[0], rtol=1e-4, atol=1e-4)
        assert np.ptp(exact - exact[0]) > 0.1


def test_served_vectors_are_the_models():
    data = two_clans()
    channel = FM(**FAST).fit(data, FitContext(seed=1))
    queries = at_end(data, np.array([0, 5, -1], np.int32), exclude_seen=False)
    users, items = channel.user_vectors(queries), channel.item_vectors()
    assert (users[:, -1] == 1).all()
    found = channel.recall(queries, len(items))
    for q in range(3):
        scores = users[q] @ items.T
        np.testing.assert_allclose(found.score[q], scores[found.item[q]], rtol=1e-4, atol=1e-5)
    liked = np.unique(data.events.item[(data.events.user == 5) & data.positive])
    mean = channel._arrays["history"][liked].mean(0)
    np.testing.assert_allclose(users[1, :-1], channel._arrays["profile"][5] + mean, atol=1e-5)


def examples_of(rows, history=3, ordered=True):
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "t"], orient="row")
    data = dataset_from_frame(frame, time="t")
    if not ordered:
        data.events.time[:], data.events.arrival[:] = 0, 0
    return data, FMExamples(Likes.of(data), history, start=100)


def test_a_history_is_what_was_liked_strictly_before():
    day = 86_400
    rows = [(1, 5, day), (1, 6, 2 * day), (1, 7, 2 * day), (1, 8, 3 * day), (2, 5, day)]
    data, examples = examples_of(rows)
    batch = examples.take(torch.arange(len(examples)))
    row = {int(x): data.items.row(x) + 100 + FIRST for x in (5, 6, 7, 8)}
    assert batch.user.tolist() == [0, 0, 0]
    assert batch.target.tolist() == [data.items.row(x) for x in (6, 7, 8)]
    assert batch.history.tolist() == [
        [row[5], 100, 100],
        [row[5], 100, 100],  # 6 came at the same time: not before
        [row[7], row[6], row[5]],
    ]
    example, item = batch.liked
    assert example.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert set(item.tolist()) == {data.items.row(x) for x in (5, 6, 7, 8)}


def test_without_order_the_history_is_everything_else():
    _, examples = examples_of([(1, x, 86_400) for x in (5, 6, 7)] + [(2, 5, 86_400)])
    batch = examples.take(torch.arange(len(examples)))
    assert len(batch) == 3
    for target, past in zip(batch.target.tolist(), batch.history.tolist(), strict=True):
        others = {100 + FIRST + r for r in range(3)} - {100 + FIRST + target}
        assert set(past) == others | {100}


def test_the_mixture_of_negatives():
    law = SampledSoftmaxObjective.of(np.array([16, 0, 1]), 0.5, 10, 0)
    # 16^.75 = 8, 1^.75 = 1: half of (8, 0, 1) / 9, half of a third each
    np.testing.assert_allclose(law.q, [4 / 9 + 1 / 6, 1 / 6, 1 / 18 + 1 / 6])


def test_a_new_item_is_found_by_its_attributes():
    """Item 4 is of the even clan's category. It is hardly ever drawn as a negative, so that no
    dislike of its id is learnt."""
    data = two_clans()
    kept = data.events.take(data.events.item != 4)
    cold = type(data)(data.users, data.items, kept, data.behaviours)
    options = {"embedding_dim": 8, "epochs": 15, "batch_size": 32, "learning_rate": 0.02}
    channel = FM(**options, negatives=50, popular=0.99, dropout=0.0).fit(cold)
    users = np.arange(len(data.users), dtype=np.int32)
    found = channel.recall(at_end(cold, users, exclude_seen=False), 16)
    place = (found.item == 4).argmax(1)
    assert place[::2].mean() < 8 < place[1::2].mean()  # ten seeds: 7.0 to 7.3, 8.5 to 14.8


def test_a_warm_start_begins_where_the_former_fit_ended():
    data = two_clans()
    former = FM(**FAST).fit(data, FitContext(seed=0))
    still = FM(**{**FAST, "learning_rate": 1e-9}, warm_epochs=1)
    warm = still.fit(data, FitContext(seed=5, former=former))
    assert warm._facts["warm"]
    tables = former._facts["tables"]
    for name in ("item", "history", "item:category", "user:taste"):
        rows = slice(tables[name][0], sum(tables[name]))
        mine, theirs = warm._arrays["table"][rows], former._arrays["table"][rows]
        np.testing.assert_allclose(mine, theirs, atol=1e-6, err_msg=name)
    other = FM(**{**FAST, "embedding_dim": 4}).fit(data, FitContext(former=former))
    assert not other._facts["warm"]
