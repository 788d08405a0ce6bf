"""An index under any changes answers as a plain sort of what it should hold."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.data import Ragged
from tamis.index import VectorIndex
from tamis.index._tuning import least_effort

DIM, ROWS = 3, 14
CHANGE = st.tuples(st.booleans(), st.integers(0, ROWS - 1), st.integers(0, 10**6))


def vector(seed):
    return np.random.default_rng(seed).integers(-3, 4, DIM).astype(np.float32)


def expected(held, query, k, refused, allowed):
    rows = [r for r in held if r not in refused and (allowed is None or r in allowed)]
    return sorted(rows, key=lambda r: (-float(held[r] @ query), r))[:k]


def check(index, held, draw):
    k = draw(st.integers(1, ROWS))
    query = vector(draw(st.integers(0, 99)))[None]
    refused = draw(st.sets(st.integers(0, ROWS)))
    allowed = draw(st.none() | st.sets(st.integers(0, ROWS)))
    exclude = Ragged.of([np.array(sorted(refused), np.int32)])
    wanted = expected(held, query[0], k, refused, allowed)
    ways = [None]
    if allowed is not None:
        mask = np.isin(np.arange(ROWS + 1), list(allowed))
        ways = [mask, mask[: max(allowed, default=-1) + 1]]
        ways.append(Ragged.of([np.array(sorted(allowed), np.int32)]))
    for way in ways:
        item, score = index.search(query, k, exclude, way)
        assert item[0, : len(wanted)].tolist() == wanted
        assert (item[0, len(wanted) :] == -1).all()
        assert score[0, : len(wanted)].tolist() == [float(held[r] @ query[0]) for r in wanted]


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 8), st.lists(CHANGE, max_size=12), st.booleans(), st.data())
def test_changes_are_those_of_a_dict(tmp_path_factory, n, changes, some_absent, data):
    base = np.array([vector(1000 + r) for r in range(n)], np.float32).reshape(n, DIM)
    present = np.arange(n) % 3 > 0 if some_absent else np.ones(n, bool)
    index = VectorIndex.build(base, present=present)
    held = {r: base[r] for r in range(n) if present[r]}
    for adds, row, seed in changes:
        if adds:
            index.add(row, vector(seed))
            held[row] = vector(seed)
        else:
            index.remove(row)
            held.pop(row, None)
    assert len(index) == len(held)
    check(index, held, data.draw)
    folder = tmp_path_factory.mktemp("index")
    index.save(folder)
    check(VectorIndex.load(folder), held, data.draw)
    merged = index.compact()
    assert (merged.changed, len(merged)) == (0, len(held))
    check(merged, held, data.draw)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 99))
def test_inverted_lists_never_find_what_is_gone(seed):
    random = np.random.default_rng(seed)
    centres = random.standard_normal((60, 8))
    x = centres[random.integers(0, 60, 2000)] + 0.2 * random.standard_normal((2000, 8))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    index = VectorIndex.build(x, k=10, exact_below=500)
    assert index.report.kind == "ivf-flat"
    first = index.search(x[:40], 10)[0]
    removed = np.unique(first[:, :3])
    index.remove(removed)
    index.add(np.array([2000, 2003, removed[0]]), x[[0, 1, 2]])
    item, score = index.search(x[:40], 10)
    assert not np.isin(item, np.setdiff1d(removed, removed[0])).any()
    exact = np.full((40, 2004), -np.inf)
    kept = np.setdiff1d(np.arange(2000), removed)
    exact[:, kept] = x[:40] @ x[kept].T
    exact[:, [2000, 2003, removed[0]]] = x[:40] @ x[[0, 1, 2]].T
    best = np.argsort(-exact, axis=1, kind="stable")[:, :10]
    assert np.mean([np.isin(b, i).mean() for b, i in zip(best, item, strict=True)]) > 0.9
    assert 2000 in item[0]
    assert 2003 in item[1]
    np.testing.assert_allclose(score, np.take_along_axis(exact, item, 1), rtol=1e-4)
    mask = np.arange(2004) % 2 == 0  # half of them: a selector on the lists
    item, _ = index.search(x[:40], 10, allowed=mask)
    assert ((item % 2 == 0) & ~np.isin(item, np.setdiff1d(removed, removed[0]))).all()
    best = np.argsort(-np.where(mask, exact, -np.inf), axis=1, kind="stable")[:, :10]
    assert np.mean([np.isin(b, i).mean() for b, i in zip(best, item, strict=True)]) > 0.9


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.8, 0.9, 0.98]))
def test_the_least_effort_reaches_the_target_on_new_queries(seed, target):
    random = np.random.default_rng(seed)

    def sample():  # queries differ in how far their neighbours are spread
        return np.ceil(random.exponential(random.exponential(5, (500, 1)), (500, 20))).astype(
            np.int32
        )

    tuned = [least_effort(sample(), target, 1000) for _ in range(20)]
    assert np.mean([(sample() <= p).mean() >= target for p in tuned]) >= 0.85
    assert (sample() <= min(tuned) // 2).mean() < target
    assert least_effort(sample(), target, min(tuned) // 2) is None


def test_an_impossible_change_is_refused():
    from tamis.schema import DataError

    index = VectorIndex.build(np.eye(3, dtype=np.float32))
    with pytest.raises(DataError, match=r"need finite vectors of shape \(1, 3\), not \(1, 2\)"):
        index.add(1, np.zeros(2, np.float32))
    with pytest.raises(DataError, match="with NaN or infinity"):
        index.add(1, np.full(3, np.nan, np.float32))
    with pytest.raises(DataError, match="distinct integers of at least 0, not -1"):
        index.remove(-1)
    with pytest.raises(DataError, match=r"distinct integers"):
        index.add(np.array([1, 1]), np.zeros((2, 3), np.float32))
    assert index.changed == 0


def test_readers_see_whole_states_while_one_writes():
    vectors = np.eye(4, dtype=np.float32)
    index = VectorIndex.build(vectors)
    query = np.array([[4, 3, 2, 1]], np.float32)
    states = {(0, 1, 2, 3), (7, 1, 2, 3), (7, 1, 2, -1)}  # as it is, 0 replaced by 7, 3 removed
    seen, stop = set(), threading.Event()

    def read():
        while not stop.is_set():
            seen.add(tuple(index.search(query, 4)[0][0].tolist()))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    until = time.monotonic() + 20
    while len(seen) < 3 and time.monotonic() < until:
        index._overlay = index._overlay.removing([0], 4).adding([7], 2 * vectors[0], 4)
        index.remove(3)
        index.add(3, vectors[3])
        index._overlay = index._overlay.removing([7], 4).adding([0], vectors[0], 4)
    stop.set()
    for reader in readers:
        reader.join()
    assert seen <= states
    assert len(seen) > 1


def test_an_overlay_is_saved_beside_a_base_that_stays(tmp_path):
    index = VectorIndex.build(np.eye(3, dtype=np.float32))
    index.save(tmp_path)
    before = (tmp_path / "vectors.npy").stat().st_mtime_ns
    index.add(5, np.ones(3, np.float32))
    index.remove(0)
    index.save_overlay(tmp_path)
    again = VectorIndex.load(tmp_path)
    assert (tmp_path / "vectors.npy").stat().st_mtime_ns == before
    assert again.search(np.ones((1, 3), np.float32), 4)[0][0].tolist() == [5, 1, 2, -1]
    assert (again.changed, len(again), again.holds(5), again.holds(0)) == (2, 3, True, False)
