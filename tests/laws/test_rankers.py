"""Every ranker in the room keeps the scorers' contract; any backbone takes all common options."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.cascade import Scorer, registry
from tamis.features import Block, DenseColumn, IdColumn, Layout, Rows, TableRange
from tamis.rank.backbone import Backbone, BackboneConfig
from tamis.schema import ConfigError, NotFittedError, Side, VersionError
from tamis.train import auc

RANKERS = registry.available("rank")
BACKBONES = {name: kind for name, kind in RANKERS.items() if issubclass(kind, Backbone)}
HIDDEN = [name for name, kind in BACKBONES.items() if issubclass(kind.Config, BackboneConfig)]
NO_PAIRS = {"lr"}
"""Cannot learn what only two columns together say."""
NEED_IDS = {"din", "bst", "last_n", "ppnet"}
"""Are made of a history or of the user's ids, and say so where there are none."""
TASKS = ["click", "like"]
LENGTH = 4
TABLES = (
    TableRange("taste", 0, 4),
    TableRange("item", 4, 14),
    TableRange("kind", 18, 4),
    TableRange("tag", 22, 6),
)
LAYOUT = Layout(
    tables=TABLES,
    ids=(
        IdColumn("taste", Side.USER, "taste", 0),
        IdColumn("clicked", Side.USER, "item", 1, LENGTH, "mean", True),
        IdColumn("item", Side.ITEM, "item", 1 + LENGTH),
        IdColumn("kind", Side.ITEM, "kind", 2 + LENGTH),
        IdColumn("tags", Side.ITEM, "tag", 3 + LENGTH, 3, "mean", True),
    ),
    dense=(DenseColumn("age", Side.USER, 0), DenseColumn("price", Side.ITEM, 1, 2)),
)
PADS = {
    c.name: (slice(c.first, c.first + c.width), LAYOUT.table[c.table].start) for c in LAYOUT.ids
}


def quick(kind, **options):
    """A ranker of that kind that is trained in a moment."""
    small = {
        "epochs": 8,
        "batch_size": 128,
        "learning_rate": 0.01,
        "hidden_units": (32, 16),
        "embedding_dim": 8,
        "init_std": 0.05,  # a crossing of two near nothing is a saddle
        "threads": 1,
        "engine": "torch",
    }
    if "trees" in kind.Config.model_fields:
        small = {"trees": 60, "learning_rate": 0.2, "min_leaf": 5}
    known = kind.Config.model_fields
    return kind(**({k: v for k, v in small.items() if k in known} | options))


def rows(n, seed=0, past=LENGTH):
    """click: the item's kind is the user's taste. like: it is not, and the price is low."""
    draw = np.random.default_rng(seed)
    taste, kind = draw.integers(0, 2, n), draw.integers(0, 2, n)
    parts = [
        (taste + 2)[:, None],
        draw.integers(6, 18, (n, LENGTH)),
        draw.integers(6, 18, (n, 1)),
        (kind + 20)[:, None],
        draw.integers(22, 28, (n, 3)),
    ]
    ids = np.concatenate(parts, 1).astype(np.int32)
    span, pad = PADS["clicked"]
    ids[:, span][:, past:] = pad
    ids[::5, span] = pad  # nothing clicked yet
    ids[3::7, PADS["item"][0]] = 5  # unseen
    dense = draw.normal(size=(n, 3)).astype(np.float32)
    labels = np.stack([taste == kind, (taste != kind) & (dense[:, 1] < 0.5)], 1)
    return Rows(LAYOUT, [Block(ids, dense)], n, labels.astype(np.float32))


def one_task(given):
    return given.labelled(given.labels[:, :1], np.arange(len(given)))


def only(layout_part, given):
    """The same rows without their numbers, or without their ids."""
    block = given.blocks[0]
    if layout_part == "ids":
        layout, block = Layout(TABLES, LAYOUT.ids, ()), Block(block.ids, block.dense[:, :0])
    else:
        layout, block = Layout((), (), LAYOUT.dense), Block(block.ids[:, :0], block.dense)
    return replace(given, layout=layout, blocks=[block], _tensors={})


@cache
def fitted(name, seed=0, **options):
    return quick(RANKERS[name], seed=seed, **options).fit(rows(2000), tasks=TASKS)


def two_of_three(measure, bar):
    """Whether the measures of two of the seeds 0, 1 and 2 exceed the bar: a test that hangs on one
    seed may fail on another processor, whose sums round differently. Fits no more than it needs."""
    above = [measure(0) > bar, measure(1) > bar]
    return all(above) or (any(above) and measure(2) > bar)


def scores(model, asked):
    """(n, T) checked probabilities."""
    found = model.score_rows(asked)
    assert set(model.tasks) <= set(found)
    for task in model.tasks:
        assert found[task].shape == (len(asked),)
        assert found[task].dtype == np.float32
        assert np.isfinite(found[task]).all()
        assert ((found[task] >= 0) & (found[task] <= 1)).all()
    return np.stack([found[task] for task in model.tasks], 1)


@pytest.fixture(params=RANKERS)
def name(request):
    return request.param


@pytest.fixture(params=BACKBONES)
def backbone(request):
    return request.param


def test_the_room_holds_what_the_documents_promise():
    promised = {"lr", "gbdt", "dnn", "fm", "wide_deep", "deepfm", "dcn", "dcnv2", "fibinet"}
    assert promised <= set(RANKERS)


def test_is_a_scorer_and_documented(name):
    assert isinstance(quick(RANKERS[name]), Scorer)
    text = RANKERS[name].__doc__
    for word in ("When to use: ", "Cost: ", "Source: "):
        assert f"\n    {word}" in text, f"{name}: a paragraph {word!r} belongs in the docstring"
    assert RANKERS[name].Config.__doc__


def crossing_learnt(name, seed, **options):
    """The AUC of the two tasks on other rows."""
    asked = rows(1000, seed=1)
    found = scores(fitted(name, seed, **options), asked)
    return [auc(asked.labels[:, t], found[:, t]) for t in range(2)]


def test_it_learns_a_crossing_and_each_task_its_own(name):
    if name in NO_PAIRS:
        assert 0.4 < crossing_learnt(name, 0)[0] < 0.6
    else:
        assert two_of_three(lambda seed: min(crossing_learnt(name, seed)), 0.9)


@pytest.mark.parametrize("n", [0, 1])
def test_few_rows(name, n):
    assert scores(fitted(name), rows(n)).shape == (n, 2)


def test_a_last_batch_of_one_row(name):
    options = {"batch_norm": True} if name in HIDDEN else {}
    assert np.isfinite(
        scores(quick(RANKERS[name], **options).fit(one_task(rows(129))), rows(9))
    ).all()


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 59), min_size=1, max_size=40))
def test_a_row_is_scored_alike_in_any_company(picked):
    asked, at = rows(60, seed=2), np.asarray(picked)
    for name in RANKERS:
        whole = scores(fitted(name), asked)[at]
        np.testing.assert_allclose(scores(fitted(name), asked.select(at)), whole, atol=2e-6)


def test_empty_histories_are_finite(name):
    nothing = rows(50, seed=3, past=0)
    scores(fitted(name), nothing)
    model = quick(RANKERS[name], epochs=1) if name != "gbdt" else quick(RANKERS[name])
    scores(model.fit(one_task(nothing)), nothing)


def test_the_place_of_padding_means_nothing(name):
    asked = rows(40, seed=4)
    ids = asked.blocks[0].ids.copy()
    span, pad = PADS["tags"]
    ids[:, span.start + 2] = pad
    moved = ids.copy()
    moved[:, span] = ids[:, [span.start + 2, span.start, span.start + 1]]
    both = [
        scores(fitted(name), replace(asked, blocks=[Block(i, asked.blocks[0].dense)], _tensors={}))
        for i in (ids, moved)
    ]
    np.testing.assert_allclose(*both, atol=2e-6)


def test_a_longer_row_of_padding_means_nothing(backbone):
    """Two networks of the same weights, one for histories of 4, one for 7."""
    asked = rows(40, seed=5)
    columns = [
        replace(c, width=7)
        if c.name == "clicked"
        else replace(c, first=c.first + 3 * (c.first > 1))
        for c in LAYOUT.ids
    ]
    long = Layout(TABLES, tuple(columns), LAYOUT.dense)
    block, (span, pad) = asked.blocks[0], PADS["clicked"]
    ids = np.concatenate(
        [block.ids[:, : span.stop], np.full((40, 3), pad, np.int32), block.ids[:, span.stop :]], 1
    )
    wide = replace(asked, layout=long, blocks=[Block(ids, block.dense)], _tensors={})
    kind = BACKBONES[backbone]
    nets = [
        quick(kind).build(layout, 1, torch.Generator().manual_seed(0)).eval()
        for layout in (LAYOUT, long)
    ]
    state = nets[0].state_dict()
    shapes = {k: v.shape for k, v in nets[1].state_dict().items()}
    if any(state[k].shape != shape for k, shape in shapes.items()):
        pytest.skip("its weights depend on the history's length")
    nets[1].load_state_dict(state)
    with torch.inference_mode():
        one, two = (
            net(r.take(torch.arange(40))) for net, r in zip(nets, (asked, wide), strict=True)
        )
    torch.testing.assert_close(one, two, atol=2e-6, rtol=0)


@pytest.mark.parametrize("part", ["ids", "numbers"])
def test_layouts_of_one_kind_only(name, part):
    given_rows = only(part, one_task(rows(300)))
    options = {"epochs": 1} if name != "gbdt" else {}
    if part == "numbers" and name in NEED_IDS:
        with pytest.raises(ConfigError, match=r"history|gate"):
            quick(RANKERS[name], **options).fit(given_rows)
        return
    model = quick(RANKERS[name], **options).fit(given_rows)
    scores(model, given_rows)
    scores(model, only(part, rows(0)))


def test_saving_changes_nothing(name, tmp_path):
    model, asked = fitted(name), rows(50, seed=6)
    model.save(tmp_path)
    again = RANKERS[name].load(tmp_path)
    np.testing.assert_array_equal(scores(again, asked), scores(model, asked))
    assert again.tasks == tuple(TASKS)
    with pytest.raises(VersionError):
        RANKERS[name].load(tmp_path / "elsewhere")


def test_the_same_seed_gives_the_same_scores(name):
    given_rows = rows(300)
    few = {"epochs": 2} if name != "gbdt" else {}
    one, two = (
        scores(quick(RANKERS[name], **few).fit(given_rows, tasks=TASKS), given_rows) for _ in "ab"
    )
    np.testing.assert_array_equal(one, two)


def test_before_a_fit_it_says_so(name):
    with pytest.raises(NotFittedError, match="not fitted"):
        quick(RANKERS[name]).score_rows(rows(3))


@pytest.mark.parametrize("sequence", ["mean", "din", "bst"])
def test_any_backbone_carries_a_sequence_block(backbone, sequence):
    kind = BACKBONES[backbone]
    if backbone == "last_n":
        pytest.skip("last_n is its own sequence block")
    model = quick(kind, epochs=1, sequence=sequence).fit(rows(200), tasks=TASKS)
    scores(model, rows(20, seed=7))
    scores(model, rows(20, seed=7, past=0))


@pytest.mark.parametrize("lhuc", [True, ("taste", "kind")])
@pytest.mark.parametrize("hidden", HIDDEN)
def test_any_backbone_with_hidden_layers_carries_gates(hidden, lhuc):
    model = quick(BACKBONES[hidden], epochs=1, lhuc=lhuc).fit(rows(200), tasks=TASKS)
    scores(model, rows(20, seed=8))
    with pytest.raises(ConfigError, match="lhuc names 'tatse'"):
        quick(BACKBONES[hidden], lhuc=("tatse",)).fit(rows(200), tasks=TASKS)


@pytest.mark.parametrize("activation", ["prelu", "dice", "gelu"])
@pytest.mark.parametrize("hidden", HIDDEN)
def test_any_backbone_with_hidden_layers_takes_their_options(hidden, activation):
    options = {"activation": activation, "batch_norm": True, "dropout": 0.2}
    model = quick(BACKBONES[hidden], epochs=1, dense_l2=1e-4, **options).fit(rows(200), tasks=TASKS)
    scores(model, rows(20, seed=8))


@pytest.mark.parametrize(
    "option", [{"rank": 3}, {"structure": "stacked"}, {"rank": 2, "structure": "stacked"}]
)
def test_dcnv2_low_rank_and_stacked(option):
    assert two_of_three(lambda seed: crossing_learnt("dcnv2", seed, **option)[0], 0.9)


@pytest.mark.parametrize("interaction", ["all", "each", "interaction"])
def test_fibinet_interactions(interaction):
    options = {"interaction": interaction}
    assert two_of_three(lambda seed: crossing_learnt("fibinet", seed, **options)[0], 0.9)
