"""Sequence channels: windows, losses and recall on logs with a known order."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.cascade import FitContext, Valid
from tamis.cascade.query_batches import at_end
from tamis.data import Ragged, dataset_from_frame
from tamis.nn import TransformerEncoder
from tamis.recall import GRU4Rec, SASRec
from tamis.recall.sequence._examples import (
    POSITIONS,
    QueryHistories,
    Sequences,
    Windows,
    last_held_out,
)
from tamis.recall.sequence._network import NextItem, SequenceModel, user_vectors
from tamis.schema import ConfigError, TrainingError
from tamis.train import Mixture

QUICK = {"embedding_dim": 16, "dropout": 0.1, "learning_rate": 0.01, "epochs": 30}
ITEMS = 12


def sequences(*lists):
    """Users with these items, at times 10, 20, 30 …"""
    sizes = [len(x) for x in lists]
    item = np.array([i for x in lists for i in x], np.int32)
    time = np.array([10 * (t + 1) for n in sizes for t in range(n)], np.int64)
    return Sequences(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), item, time)


def circle(users=40, length=7):
    """Each user steps from item i to item i + 1 modulo ITEMS, from a different start."""
    rows = [(u, (u + t) % ITEMS, 1000 * t + u) for u in range(users) for t in range(length)]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "t"], orient="row").sort("t")
    return dataset_from_frame(frame, user="user_id", item="item_id", time="t")


def rows_of(batch):
    """Each window of a batch as (items, targets, times, request times)."""
    out, at = [], 0
    for b, n in enumerate(batch.length.tolist()):
        part = (
            batch.item[b, :n],
            batch.target[at : at + n],
            batch.time[b, :n],
            batch.request_time[b, :n],
        )
        out.append(tuple(x.tolist() for x in part))
        at += n
    return out


def test_windows_are_the_last_events_and_their_next_items():
    windows = Windows(sequences([5, 6, 7], [1], [], [2, 3]), history=10)
    assert len(windows) == 2
    assert windows.targets == 3
    batch = windows.take(torch.tensor([0, 1]))
    assert rows_of(batch) == [
        ([5, 6], [6, 7], [10, 20], [20, 30]),
        ([2], [3], [10], [20]),
    ]
    assert batch.place.tolist() == [0, 1, 2]
    assert batch.item.shape == (2, 2)


def test_longer_histories_have_more_windows_with_each_event_a_target_once():
    past = list(range(9))
    one, many = (Windows(sequences(past), 3, windows=w) for w in (1, 9))
    assert rows_of(one.take(torch.tensor([0]))) == [
        ([5, 6, 7], [6, 7, 8], [60, 70, 80], [70, 80, 90])
    ]
    found = rows_of(many.take(torch.arange(len(many))))
    assert [w[0] for w in found] == [[5, 6, 7], [2, 3, 4], [0, 1]]
    assert sorted(t for w in found for t in w[1]) == list(range(1, 9))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=40), st.integers(1, 7), st.integers(0, 9))
def test_an_epoch_has_every_window_once_in_batches_of_similar_length(sizes, batch_size, seed):
    windows = Windows(sequences(*[[0] * n for n in sizes]), history=50)
    order = windows.order(batch_size, torch.Generator().manual_seed(seed))
    assert sorted(order.rows.tolist()) == list(range(len(windows)))
    assert order.bounds[-1] == len(windows)
    for k in range(len(order)):
        rows = order.rows[order.bounds[k] : order.bounds[k + 1]].numpy()
        assert 1 <= len(rows) <= batch_size


def test_a_batch_of_long_windows_has_fewer_of_them():
    windows = Windows(sequences(*[[0] * 2001] * 40), history=2000)
    order = windows.order(128, torch.Generator())
    assert np.diff(order.bounds).max() == POSITIONS // 2000


def test_query_histories_hold_the_last_known_events_that_count():
    data = circle(users=2, length=5)
    queries = at_end(data, np.array([1, 0, -1], np.int32))
    past = queries.history
    past.item[:5] = [3, 99, 4, 5, 6]
    counts = np.array([True])
    histories = QueryHistories.of(queries, counts, 3, ITEMS)
    assert histories.sequences.item[: histories.sequences.indptr[1]].tolist() == [4, 5, 6]
    assert histories.sequences.sizes.tolist() == [3, 3, 0]
    (rows,) = histories.batches(8)
    assert sorted(rows.tolist()) == [0, 1]
    batch = histories.take(np.array([0]))
    assert batch.request_time[0, -1] == queries.time[0]
    assert batch.request_time[0, :-1].tolist() == batch.time[0, 1:].tolist()
    assert not len(QueryHistories.of(queries, np.array([False]), 3, ITEMS).sequences.item)


def test_held_out_events_are_the_last_ones():
    past = sequences([5, 6, 5, 7], [1, 2, 1], [3])
    users = np.array([0, 1])
    held = last_held_out(past, users, history=2)
    assert held.target.tolist() == [7, 1]
    assert held.queries.sequences.item.tolist() == [6, 5, 1, 2]
    assert held.queries.time.tolist() == [40, 30]
    excluded = Ragged(held.exclude_indptr, held.exclude)
    assert sorted(excluded[0].tolist()) == [5, 5, 6]
    assert excluded[1].tolist() == [2]  # item 1 is repeated, so it is not excluded
    assert past.without_last(users).item.tolist() == [5, 6, 5, 1, 2, 3]
    some = held.take(np.array([1]))
    assert some.target.tolist() == [1]
    assert some.queries.sequences.item.tolist() == [1, 2]


def model(items=ITEMS, **options):
    generator = torch.Generator().manual_seed(1)
    encoder = TransformerEncoder(8, positions=9, generator=generator)
    made = SequenceModel(items, 8, encoder, generator=generator, **options)
    with torch.no_grad():
        made.table.weight *= 40
    return made.eval()


def test_padding_is_not_scored():
    windows = Windows(sequences([1, 2, 3, 4], [5, 6]), history=9)
    batch = windows.take(torch.arange(2))
    net = model()
    states = net(batch)
    assert states.shape == (4, 8)
    alone = net(windows.take(torch.tensor([1])))
    torch.testing.assert_close(states[3:], alone)
    wanted = torch.nn.functional.cross_entropy(states @ net.vectors().T, batch.target)
    torch.testing.assert_close(NextItem("full").loss(net, batch), wanted)


class Drawn(Mixture):
    """A mixture that draws given items."""

    def shared(self, batch):
        return np.array([0, 3, 3, 6, 2])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("loss", ["sampled", "gbce", "bce"])
def test_losses_with_shared_negatives_equal_their_definitions(loss, masked):
    """masked: the other items of a target's user are no negatives, nor those before his window."""
    past = ([2, 1, 2, 3, 4], [5, 6])
    popularity = np.arange(1, ITEMS + 1)
    mixture = Drawn({"uniform": 0.5, "popular": 0.5}, 5, np.random.default_rng(0), popularity)
    q = 0.5 / ITEMS + 0.5 * popularity**0.75 / (popularity**0.75).sum()
    batch = Windows(sequences(*past), 3, positives=masked).take(torch.arange(2))
    assert batch.target.tolist() == [2, 3, 4, 6]
    own_items = [past[0]] * 3 + [past[1]]
    net = model(sparse=True)
    states, vectors = net(batch).detach(), net.vectors().detach()
    logits = (states @ vectors.T).double().numpy()
    each, count = [], []
    for row, target, known in zip(logits, batch.target.tolist(), own_items, strict=True):
        drawn = [j for j in (0, 3, 3, 6, 2) if j not in (known if masked else [target])]
        if loss == "sampled":
            own = np.exp(row[target]) / q[target]
            each.append(-np.log(own / (own + sum(np.exp(row[j]) / q[j] for j in drawn))))
            count.append(1)
        else:
            power = 1 - 0.75 * (1 - 5 / (ITEMS - 1)) if loss == "gbce" else 1.0
            down = sum(np.log1p(np.exp(row[j])) for j in drawn)
            each.append(power * np.log1p(np.exp(-row[target])) + down)
            count.append(1 + len(drawn))
    found = NextItem(loss, mixture).loss(net, batch)
    assert float(found.detach()) == pytest.approx(sum(each) / sum(count), rel=1e-4)
    found.backward()
    assert net.table.take_row_gradients()


def test_a_target_whose_negatives_are_all_masked_has_no_loss():
    batch = Windows(sequences([0, 2, 3, 6]), 9, positives=True).take(torch.arange(1))
    net, popularity = model(sparse=True), np.ones(ITEMS)
    mixture = Drawn({"uniform": 1.0}, 5, np.random.default_rng(0), popularity)
    loss = NextItem("sampled", mixture).loss(net, batch)
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(torch.isfinite(p.grad).all() for p in net.encoder.parameters())


@settings(max_examples=60, deadline=None)
@given(
    past=st.lists(st.lists(st.integers(0, 9), min_size=2, max_size=6), min_size=1, max_size=4),
    drawn=st.lists(st.integers(0, 9), min_size=1, max_size=8),
)
def test_masked_pairs_are_those_of_a_loop(past, drawn):
    windows = Windows(sequences(*past), 2, positives=True)
    batch = windows.take(torch.arange(len(windows)))
    column = np.unique(drawn)
    row = (batch.place // batch.item.shape[1]).numpy()
    v, c = batch.positives.among(column, row)
    wanted = [(t, k) for t, b in enumerate(row) for k, i in enumerate(column) if i in past[b]]
    assert sorted(zip(v.tolist(), c.tolist(), strict=True)) == wanted


def test_the_sampled_softmax_estimates_the_full_one():
    """With log q subtracted, each example's gradient tends to that of the softmax over all items
    divided by 1 − p, where p is the target's probability; without, it would not: popular items are
    drawn 20 times as often."""
    popularity = np.arange(1, ITEMS + 1) ** 3
    batch = Windows(sequences([1, 2, 3, 4], [5, 6]), 9).take(torch.arange(2))
    full, sampled = model(), model(sparse=True)
    with torch.no_grad():
        sampled.table.weight[:ITEMS] = full.table.weight
        for a, b in zip(sampled.encoder.parameters(), full.encoder.parameters(), strict=True):
            a.copy_(b)
    random = np.random.default_rng(0)
    mixture = Mixture({"uniform": 0.1, "popular": 0.9}, 200_000, random, popularity)
    logits = full(batch) @ full.vectors().T
    rest = 1 - logits.softmax(1).gather(1, batch.target.unsqueeze(1)).squeeze(1).detach()
    loss = torch.nn.functional.cross_entropy(logits, batch.target, reduction="none")
    (loss / rest).mean().backward()
    NextItem("sampled", mixture).loss(sampled, batch).backward()
    for a, b in zip(sampled.encoder.parameters(), full.encoder.parameters(), strict=True):
        assert (a.grad - b.grad).norm() <= 0.05 * b.grad.norm() + 1e-6


@pytest.mark.parametrize("kind", [SASRec, GRU4Rec])
@pytest.mark.parametrize("options", [{}, {"loss": "sampled"}])
def test_the_next_item_is_recalled(kind, options):
    data = circle()
    # history 6: no window of training has the last position of a full history of 7
    channel = kind(**QUICK | {"epochs": 100, "history": 6} | options).fit(data)
    queries = at_end(data, np.arange(40, dtype=np.int32), exclude_seen=False)
    found = channel.recall(queries, 1).item[:, 0]
    last = queries.history.item[queries.history.indptr[1:] - 1]
    assert (found == (last + 1) % ITEMS).mean() > 0.9
    assert channel.because(at_end(data, np.array([0], np.int32)), int(found[0])) in range(ITEMS)


def test_users_without_a_history_get_nothing():
    data = circle()
    channel = SASRec(**QUICK, behaviours=("positive",)).fit(data)
    found = channel.recall(at_end(data, np.array([-1, 3], np.int32)), 4)
    assert (found.item[0] == -1).all()
    assert (found.item[1] >= 0).all()
    assert channel.because(at_end(data, np.array([-1], np.int32)), 2) is None


def test_only_a_time_aware_model_depends_on_the_request_time():
    data = circle()
    queries = at_end(data, np.arange(5, dtype=np.int32))
    later = replace(queries, time=queries.time + 10**10)
    for aware in (True, False):
        channel = SASRec(**QUICK | {"epochs": 5}, time_aware=aware).fit(data)
        now, then = (channel.user_vectors(q) for q in (queries, later))
        assert np.allclose(now, then, atol=1e-6) == (not aware)


def test_padding_and_other_queries_do_not_change_a_vector():
    data = circle(users=30, length=9)
    for kind in (SASRec, GRU4Rec):
        channel = kind(**QUICK | {"epochs": 3}).fit(data)
        queries = at_end(data, np.arange(30, dtype=np.int32))
        histories = QueryHistories.of(queries, np.array([True]), 9, ITEMS)
        short = Sequences(
            np.array([0, 2, 5, 5, 14]), histories.sequences.item, histories.sequences.time
        )
        mixed = QueryHistories(short, np.full(4, 10**6))
        together = user_vectors(channel.model, mixed)
        for q in range(4):
            part = slice(short.indptr[q], short.indptr[q + 1])
            size = np.array([0, part.stop - part.start])
            alone = Sequences(size, short.item[part], short.time[part])
            one = user_vectors(channel.model, QueryHistories(alone, np.full(1, 10**6)))
            np.testing.assert_allclose(one[0], together[q], atol=1e-5)
        assert not together[2].any()


def test_a_fit_stops_by_given_or_held_out_events():
    data = circle()
    queries = at_end(data, np.arange(40, dtype=np.int32), exclude_seen=False)
    last = queries.history.item[queries.history.indptr[1:] - 1]
    targets = Ragged(np.arange(41, dtype=np.int64), ((last + 1) % ITEMS).astype(np.int32))
    own = SASRec(**QUICK).fit(data)
    validated = SASRec(**QUICK).fit(data, FitContext(valid=Valid(queries, targets)))
    blind = SASRec(**QUICK, held_out=0).fit(data)
    assert own.result.history[-1].metrics.keys() == {"ndcg@10", "hit@10"}
    assert validated.result.history[-1].metrics["hit@10"] > 0.9
    assert not any(e.metrics for e in blind.result.history)
    assert len(blind.result.history) == QUICK["epochs"]
    wrong = Ragged(np.arange(41, dtype=np.int64), ((last + 2) % ITEMS).astype(np.int32))
    misled = SASRec(**QUICK).fit(data, FitContext(valid=Valid(queries, wrong)))
    assert misled.result.history[-1].loss == pytest.approx(validated.result.history[-1].loss)


def test_held_out_events_are_not_trained_on_unless_refitted(monkeypatch):
    trained = []
    take = Windows.take
    monkeypatch.setattr(
        Windows, "take", lambda self, *rest: trained.append(self.targets) or take(self, *rest)
    )
    data = circle()
    SASRec(**QUICK | {"epochs": 2}).fit(data)
    assert set(trained) == {40 * 6 - 8}  # a fifth of 40 users hold out one event
    trained.clear()
    SASRec(**QUICK | {"epochs": 2}, refit=True).fit(data)
    assert set(trained) == {40 * 6 - 8, 40 * 6}


def test_a_warm_start_with_added_items():
    data = circle()
    former = SASRec(**QUICK | {"epochs": 40}).fit(data)
    more = pl.DataFrame({"user_id": [0, 0], "item_id": [ITEMS, ITEMS + 1], "t": [10**6, 10**6 + 1]})
    frame = pl.concat(
        [
            pl.DataFrame(
                {
                    "user_id": data.users.ids.gather(data.events.user).cast(pl.Int64),
                    "item_id": data.items.ids.gather(data.events.item).cast(pl.Int64),
                    "t": data.events.time,
                }
            ),
            more,
        ]
    )
    grown = dataset_from_frame(frame, user="user_id", item="item_id", time="t")
    few = QUICK | {"epochs": 1, "learning_rate": 1e-6}
    warm = SASRec(**few).fit(grown, FitContext(former=former))
    cold = SASRec(**few).fit(grown)
    assert warm._facts["warm"]
    assert len(warm.result.history) == SASRec().config.warm_epochs
    assert not cold._facts["warm"]
    assert len(cold.result.history) == 1
    assert warm.result.history[0].loss < 0.5 * cold.result.history[0].loss
    np.testing.assert_allclose(
        warm.item_vectors()[:ITEMS], former.item_vectors(), atol=1e-4, rtol=1e-4
    )
    other = SASRec(**few).fit(circle(users=3, length=5), FitContext(former=former))
    assert not other._facts["warm"]


def test_a_saved_channel_keeps_the_options_of_its_fit(tmp_path):
    # even if defaults change before it is loaded: a cosine must not become an inner product
    channel = SASRec(**QUICK | {"epochs": 1, "cosine": False}).fit(circle())
    channel.save(tmp_path)
    assert not SASRec.load(tmp_path).config.cosine
    declared = SASRec.Config(index_recall=0.9)
    again = SASRec.load(tmp_path, declared).config
    assert again == channel.config.model_copy(update={"index_recall": 0.9})


def test_invalid_options_and_logs_are_refused():
    data = circle()
    with pytest.raises(
        ConfigError,
        match=r"behaviours names 'like', which the log does not have\. Use behaviours of the log",
    ):
        SASRec(behaviours=("like",)).fit(data)
    with pytest.raises(TrainingError, match="no user has two events"):
        SASRec().fit(circle(length=1))
