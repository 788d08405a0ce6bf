"""The contract of a ranker or pre-ranker, as a check for any scorer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tamis.cascade import FitContext, TrainableScorer, beside
from tamis.features import Block, DenseColumn, IdColumn, Layout, Rows, TableRange
from tamis.runtime import Bool, Float32
from tamis.schema import Side, TaskConfig
from tamis.testing._components import check_component, refuses_unfitted
from tamis.train import Chosen, auc

TASKS = (TaskConfig(name="click"), TaskConfig(name="like"))
"""The tasks of `candidate_rows`, both binary."""
LEARNT = 0.9
"""Smallest AUC, on queries that were not trained on, of a task that a scorer has learnt."""
_CLOSE = 1e-5
"""Largest difference of two predictions that must be equal: rounding of float32."""
_SEED = 7
_SHARE = 0.25
"""Share of the negatives that the rows of a fit hold."""
_USERS, _ITEMS, _EACH, _PAST, _DIM = 24, 16, 8, 3, 4
_TABLES = (
    TableRange("user", 0, _USERS + 2),
    TableRange("taste", _USERS + 2, 4),
    TableRange("item", _USERS + 6, _ITEMS + 2),
    TableRange("kind", _USERS + _ITEMS + 8, 4),
    TableRange("tag", _USERS + _ITEMS + 12, 6),
)
_USER, _TASTE, _ITEM, _KIND, _TAG = (table.start + 2 for table in _TABLES)
"""The first known id of each table: row 0 of a table is padding, row 1 an unseen id."""
LAYOUT = Layout(
    tables=_TABLES,
    ids=(
        IdColumn("user", Side.USER, "user", 0),
        IdColumn("taste", Side.USER, "taste", 1),
        IdColumn("liked", Side.USER, "item", 2, _PAST, "mean", True),
        IdColumn("item", Side.ITEM, "item", 2 + _PAST),
        IdColumn("kind", Side.ITEM, "kind", 3 + _PAST),
        IdColumn("tags", Side.ITEM, "tag", 4 + _PAST, 2, "mean", True),
    ),
    dense=(
        DenseColumn("age", Side.USER, 0),
        DenseColumn("price", Side.ITEM, 1),
        DenseColumn("clicks of the item", Side.ITEM, 2, moving=True),
        DenseColumn("place in recall", Side.CROSS, 3),
    ),
)
"""The inputs of `candidate_rows`."""


def check_scorer(
    make: Callable[[], TrainableScorer],
    *,
    personalised: bool = True,
    rows: Callable[[int, int], Rows] | None = None,
    tasks: Sequence[TaskConfig] = TASKS,
) -> None:
    """Raises AssertionError naming the rule that a ranker or pre-ranker breaks.

    It is fitted five times: on 2,000 rows with validation rows, as training chooses the number of
    epochs, and four times on at most 240 rows without. If the labels are not learnt, one fit with
    another seed is tried.

    Args:
        make: returns a new, unfitted scorer whose options let it learn 2,000 rows (a small
            `batch_size`, few `epochs`). It is called several times.
        personalised: whether it can learn that users of one taste like items of one kind; False
            for scorers that only add up effects of users and of items, such as `lr`.
        rows: `rows(queries, seed)` makes labelled rows with `groups`, for a scorer that needs other
            inputs than those of `candidate_rows`. The first task must be learnable from the item
            alone, the others from user and item together.
        tasks: the tasks of the rows' labels, all of them binary.
    """
    check_component(make)
    assert isinstance(make(), TrainableScorer), (
        f"{type(make()).__name__} lacks a method or an attribute of tamis.cascade.TrainableScorer"
    )
    made = rows or _rows_for(make())
    labelled = made(9, 3)
    assert labelled.groups is not None, "rows(queries, seed) must have `groups`"
    asked = replace(labelled, labels=None, groups=None, _tensors={})
    refuses_unfitted(lambda: make().score_rows(asked), "score_rows")
    with tempfile.TemporaryDirectory() as folder:
        refuses_unfitted(lambda: make().save(Path(folder) / "scorer"), "save")
    scorer = _fitted(make, made, tasks, _SEED)
    _check_inputs_are_kept(scorer, asked)
    scores = _scores(scorer, asked, tasks)
    _scores(scorer, asked.select(np.zeros(0, np.intp)), tasks)
    _check_batch_is_single(scorer, asked, labelled.groups, tasks, scores)
    _check_order(scorer, asked, tasks, scores)
    _same(_scores(scorer, _flat(asked), tasks), scores, "rows without pointers score differently")
    _same(_scores(scorer, labelled, tasks), scores, "predictions depend on the rows' labels")
    _check_saved(scorer, asked, tasks, scores)
    _check_refit(make, made, asked, tasks, scorer.chosen)
    _check_learns(
        scorer,
        lambda: _fitted(make, made, tasks, _SEED + 1),
        made(40, 6),
        tasks if personalised else tasks[:1],
    )


def candidate_rows(queries: int, seed: int = 0) -> Rows:
    """Rows of eight candidates for each query, with labels and groups; the inputs are `LAYOUT`.

    click: the item costs more than the mean. like: its kind is the user's taste. Both can be
    learnt from the inputs exactly, `like` only from the user and the item together. As in a
    request, rows point to their query's user and to their item. Some users and items have an unseen
    id, and some histories are empty.
    """
    draw = np.random.default_rng(seed)
    n = queries * _EACH
    query = np.repeat(np.arange(queries, dtype=np.int32), _EACH)
    user = draw.integers(0, _USERS, queries)
    item = draw.integers(0, _ITEMS, n)
    taste, kind, price = user % 2, item % 2, _prices()[item]
    liked = draw.integers(0, _ITEMS // 2, (queries, _PAST)) * 2 + taste[:, None] + _ITEM
    ids = np.concatenate([user[:, None] + _USER, taste[:, None] + _TASTE, liked], 1)
    ids[::5, 0] = _USER - 1  # unseen
    ids[::3, 2:] = _ITEM - 2  # no history
    ids[1::3, 3:] = _ITEM - 2  # a short one
    items = _item_block()
    unseen = draw.random(n) < 0.1
    blocks = [
        Block(ids.astype(np.int32), draw.normal(size=(queries, 1)).astype(np.float32), query),
        Block(items.ids, items.dense, np.where(unseen, item + _ITEMS, item).astype(np.int32)),
        *(Block(np.zeros((n, 0), np.int32), _noise(draw, n)) for _ in range(2)),
    ]
    labels = np.stack([price > 0, kind == taste[query]], 1).astype(np.float32)
    return Rows(LAYOUT, blocks, n, labels, groups=query.astype(np.int64))


def _prices() -> Float32:
    """(items,) symmetrical about 0; the prices of both kinds are alike."""
    pair = np.arange(_ITEMS) // 2
    return np.asarray((pair - pair.mean()) / 2, np.float32)


def _item_block() -> Block:
    """All items, then all of them once more with an unseen id."""
    item = np.arange(_ITEMS)
    tags = np.stack([item % 4 + _TAG, np.full(_ITEMS, _TAG - 2)], 1)  # one tag and padding
    known = np.concatenate([item[:, None] + _ITEM, item[:, None] % 2 + _KIND, tags], 1)
    unseen = known.copy()
    unseen[:, 0] = _ITEM - 1
    ids = np.concatenate([known, unseen]).astype(np.int32)
    return Block(ids, np.tile(_prices(), 2)[:, None])


def _noise(draw: np.random.Generator, n: int) -> Float32:
    return draw.normal(size=(n, 1)).astype(np.float32)


def _rows_for(scorer: TrainableScorer) -> Callable[[int, int], Rows]:
    """`candidate_rows`, with vectors of taste, kind and price where the scorer reads a channel's.

    The scorer's `vectors_of` names the channel, as `tamis.cascade.vectors_for` describes.
    """
    name = getattr(scorer, "vectors_of", None)
    if name is None:
        return candidate_rows

    def made(queries: int, seed: int) -> Rows:
        rows = candidate_rows(queries, seed)
        user, item = rows.blocks[0], rows.blocks[1]
        draw = np.random.default_rng(seed)
        users = draw.normal(size=(queries, _DIM)).astype(np.float32)
        users[:, 0] = 2 * (user.ids[:, 1] - _TASTE) - 1
        items = np.random.default_rng(0).normal(size=(len(item.ids), _DIM)).astype(np.float32)
        items[:, 0], items[:, 1] = 2 * (item.ids[:, 1] - _KIND) - 1, item.dense[:, 0]
        none = np.zeros((queries, 0), np.int32), np.zeros((len(items), 0), np.int32)
        of_user, of_item = Block(none[0], users, user.pointer), Block(none[1], items, item.pointer)
        return beside(rows, name, of_user, of_item)

    return made


def _fitted(
    make: Callable[[], TrainableScorer],
    made: Callable[[int, int], Rows],
    tasks: Sequence[TaskConfig],
    seed: int,
) -> TrainableScorer:
    """A scorer fitted as training fits it to choose its settings, after checks of what fit does."""
    scorer, rows, valid = make(), made(250, 1), made(30, 2)
    config, before = scorer.config, [_copied(rows), _copied(valid)]
    fitted = scorer.fit(rows, valid, tasks, FitContext(seed=seed))
    assert fitted is scorer, "fit must return self"
    assert isinstance(scorer.chosen, Chosen), (
        f"`chosen` must be a tamis.train.Chosen after a fit, not {scorer.chosen!r}"
    )
    assert scorer.config == config, "fit must not change the config; keep what is learnt beside it"
    for given, copies in zip((rows, valid), before, strict=True):
        for now, copy in zip(_arrays(given), copies, strict=True):
            assert np.array_equal(now, copy, equal_nan=True), "fit must not change its rows"
    return scorer


def _scores(scorer: TrainableScorer, rows: Rows, tasks: Sequence[TaskConfig]) -> Float32:
    """(n, T) predictions of the tasks, after checks of names, shapes, types and range."""
    found, names = scorer.score_rows(rows), [task.name for task in tasks]
    assert [name for name in found if name in names] == names, (
        f"score_rows must predict the tasks {names} in this order, not {list(found)}"
    )
    for name, score in found.items():
        assert score.shape == (len(rows),), (
            f"{name}: {score.shape} predictions for {len(rows)} rows; there must be one per row"
        )
        assert score.dtype == np.float32, f"{name}: predictions must be float32, not {score.dtype}"
        lost = np.flatnonzero(~np.isfinite(score))
        assert not len(lost), f"{name}: predictions must be finite; rows {lost[:5]} are not"
    for name in names:
        outside = found[name][(found[name] < 0) | (found[name] > 1)]
        assert not len(outside), (
            f"{name}: predictions of a binary task are probabilities in [0, 1], not {outside[:5]}"
        )
    return np.stack([found[name] for name in names], 1)


def _check_inputs_are_kept(scorer: TrainableScorer, rows: Rows) -> None:
    before = _copied(rows)
    scorer.score_rows(rows)
    for now, copy in zip(_arrays(rows), before, strict=True):
        assert np.array_equal(now, copy, equal_nan=True), "score_rows must not change its rows"


def _check_batch_is_single(
    scorer: TrainableScorer,
    rows: Rows,
    query: NDArray[np.int64],
    tasks: Sequence[TaskConfig],
    scores: Float32,
) -> None:
    """A request, whose rows share one user, scores as in a batch, and so does a single row."""
    for q in np.unique(query):
        at = np.flatnonzero(query == q)
        alone = _request(rows, rows.select(at), query)
        _same(
            _scores(scorer, alone, tasks),
            scores[at],
            f"the candidates of query {q} are scored differently alone and in a batch",
        )
    for at in (0, len(rows) - 1):
        alone = _scores(scorer, rows.select(np.array([at])), tasks)
        _same(alone, scores[[at]], f"row {at} is scored differently alone and in a batch")


def _check_order(
    scorer: TrainableScorer, rows: Rows, tasks: Sequence[TaskConfig], scores: Float32
) -> None:
    order = np.random.default_rng(2).permutation(len(rows))
    permuted = _scores(scorer, rows.select(order), tasks)
    _same(permuted, scores[order], "a permutation of the rows must permute the predictions")


def _check_saved(
    scorer: TrainableScorer, rows: Rows, tasks: Sequence[TaskConfig], scores: Float32
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "scorer"
        scorer.save(saved)
        loaded = type(scorer).load(saved, scorer.config)
        _same(_scores(loaded, rows, tasks), scores, "save and load changed predictions")
        assert loaded.name == scorer.name, f"load changed the name to {loaded.name!r}"
        assert tuple(loaded.tasks) == tuple(scorer.tasks), f"load changed tasks to {loaded.tasks}"


def _check_refit(
    make: Callable[[], TrainableScorer],
    made: Callable[[int, int], Rows],
    asked: Rows,
    tasks: Sequence[TaskConfig],
    chosen: Chosen,
) -> None:
    """A second fit, after other rows, equals a first fit; both as training refits what it chose.

    Some labels are missing, as those of a task whose condition does not hold. In a third fit, the
    rows are said to hold a quarter of the negatives.
    """
    context = FitContext(seed=_SEED, chosen=chosen)
    rows, others = _with_missing(made(30, 4)), _with_missing(made(15, 5))
    first = _scores(make().fit(rows, None, tasks, context), asked, tasks)
    again = make().fit(others, None, tasks, context).fit(rows, None, tasks, context)
    _same(
        _scores(again, asked, tasks),
        first,
        "a second fit with the same rows and seed is not the fit of a new scorer",
    )
    sampled = make().fit(rows, None, tasks, replace(context, negatives=_SHARE))
    _check_sampled(first, _scores(sampled, asked, tasks), tasks, chosen)


def _check_sampled(
    full: Float32, sampled: Float32, tasks: Sequence[TaskConfig], chosen: Chosen
) -> None:
    """Odds are multiplied by `FitContext.negatives`; a calibration map may change the factor."""
    for t, task in enumerate(tasks):
        mapped = bool(chosen.calibrations) and chosen.calibrations[t].kind != "none"
        p, q = full[:, t].astype(np.float64), sampled[:, t].astype(np.float64)
        expected = _SHARE * p / (1 - (1 - _SHARE) * p)
        right = q.mean() < p.mean() if mapped else np.allclose(q, expected, rtol=0, atol=1e-4)
        assert right, (
            f"task {task.name!r}: the predicted odds must be multiplied by the context's "
            "`negatives`, the share of the negatives that the rows hold"
        )


def _check_learns(
    scorer: TrainableScorer,
    again: Callable[[], TrainableScorer],
    test: Rows,
    tasks: Sequence[TaskConfig],
) -> None:
    """The AUC of each task on other queries is at least `LEARNT`, with one of two seeds."""
    found = _areas(scorer, test, tasks)
    if min(found) < LEARNT:  # a single fit may end in a poor minimum
        found = max(found, _areas(again(), test, tasks), key=min)
    for task, area in zip(tasks, found, strict=True):
        assert area >= LEARNT, (
            f"task {task.name!r} is not learnt: its AUC on other queries is {area:.3f}, and its "
            "label is a simple function of the inputs; give `make` options that train longer, or "
            "personalised=False where the scorer cannot combine a user with an item"
        )


def _areas(scorer: TrainableScorer, test: Rows, tasks: Sequence[TaskConfig]) -> list[float]:
    assert test.labels is not None
    found = scorer.score_rows(replace(test, labels=None, _tensors={}))
    return [auc(test.labels[:, t], found[task.name]) for t, task in enumerate(tasks)]


def _with_missing(rows: Rows) -> Rows:
    """The rows without the last task's label in every third."""
    assert rows.labels is not None
    labels = rows.labels.copy()
    labels[::3, -1] = np.nan
    return rows.relabelled(labels)


def _request(rows: Rows, part: Rows, query: NDArray[np.int64]) -> Rows:
    """The rows of one query as a request makes them: blocks of users hold one user."""
    blocks = [
        Block(mine.ids[mine.pointer[:1]], mine.dense[mine.pointer[:1]], np.zeros_like(mine.pointer))
        if mine.pointer is not None and _is_per_query(whole, query)
        else mine
        for whole, mine in zip(rows.blocks, part.blocks, strict=True)
    ]
    return replace(part, blocks=blocks, _tensors={})


def _is_per_query(block: Block, query: NDArray[np.int64]) -> bool:
    """Whether all rows of a query point to one entity of the block."""
    pointer = block.pointer
    assert pointer is not None
    _, first, place = np.unique(query, return_index=True, return_inverse=True)
    same: Bool = pointer == pointer[first][place]
    return bool(same.all())


def _flat(rows: Rows) -> Rows:
    """The same rows without pointers: every block has one entity per row."""
    blocks = [
        b if b.pointer is None else Block(b.ids[b.pointer], b.dense[b.pointer]) for b in rows.blocks
    ]
    return replace(rows, blocks=blocks, _tensors={})


def _arrays(rows: Rows) -> list[NDArray[np.generic]]:
    """All arrays of the rows."""
    known = [a for block in rows.blocks for a in (block.ids, block.dense, block.pointer)]
    return [array for array in (*known, rows.labels, rows.groups) if array is not None]


def _copied(rows: Rows) -> list[NDArray[np.generic]]:
    return [array.copy() for array in _arrays(rows)]


def _same(found: Float32, expected: Float32, rule: str) -> None:
    """Equal up to rounding."""
    far = np.abs(found - expected) > _CLOSE
    assert not far.any(), f"{rule}: {found[far][:5]} against {expected[far][:5]}"
