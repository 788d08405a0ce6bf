"""Compares each backbone's core with a naive computation of its formula."""

from itertools import combinations

import numpy as np
import pytest
import torch

from tamis.features import Block, IdColumn, Layout, Rows, TableRange
from tamis.rank import DCN, DNN, FM, GBDT, LR, DCNv2, FiBiNET, WideDeep
from tamis.rank._fields import Fields, Shape
from tamis.schema import ConfigError, Side
from tamis.train import auc

SHAPE = Shape(("user", "item", "tags"), 2, 3, 0)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def fields(tasks=1, rows=5):
    draw = seeded(1)
    return Fields(
        torch.randn(rows, 3, 2, generator=draw),
        torch.randn(rows, 3, generator=draw),
        torch.randn(rows, 3, tasks, generator=draw),
    )


def core(kind, tasks=1, **options):
    made = kind(**options).core(SHAPE, tasks, seeded())
    with torch.no_grad():
        for weight in made.parameters():
            weight.normal_(generator=seeded(2))
    return made.eval()


def hidden(tower, x):
    for linear in tower.linears:
        x = torch.relu(x @ linear.weight.T + linear.bias)
    return x


def flat(f):
    return torch.stack(
        [torch.cat([*row, numbers]) for row, numbers in zip(f.vectors, f.dense, strict=True)]
    )


def head(made, x):
    return x @ made.heads.weight.T + made.heads.bias


@pytest.mark.parametrize("tasks", [1, 3])
def test_dnn(tasks):
    made, f = core(DNN, tasks, hidden_units=(4, 3)), fields(tasks)
    torch.testing.assert_close(made(f), head(made, hidden(made.tower, flat(f))))


def pairs(f):
    """(B, dim): the sum of all products of two fields' vectors."""
    return sum(f.vectors[:, i] * f.vectors[:, j] for i, j in combinations(range(3), 2))


def test_fm():
    made, f = core(FM), fields()
    want = f.first.sum(1) + made.numbers(f.dense) + pairs(f).sum(1, keepdim=True)
    torch.testing.assert_close(made(f), want)


def test_fm_of_several_tasks_weights_the_dimensions_per_task():
    made, f = core(FM, 2), fields(2)
    want = f.first.sum(1) + made.numbers(f.dense) + pairs(f) @ made.heads
    torch.testing.assert_close(made(f), want)
    fresh = FM().core(SHAPE, 2, seeded())
    torch.testing.assert_close(
        fresh(f) - f.first.sum(1), pairs(f).sum(1, keepdim=True).expand(5, 2)
    )


@pytest.mark.parametrize("tasks", [1, 2])
def test_wide_deep(tasks):
    made, f = core(WideDeep, tasks, hidden_units=(4,)), fields(tasks)
    deep = head(made, hidden(made.tower, flat(f)))
    torch.testing.assert_close(made(f), f.first.sum(1) + f.dense @ made.numbers.weight.T + deep)


@pytest.mark.parametrize("tasks", [1, 2])
def test_dcn(tasks):
    made, f = core(DCN, tasks, hidden_units=(4,), cross_layers=2), fields(tasks)
    x = crossed = flat(f)
    for w, b in zip(made.cross.weight, made.cross.bias, strict=True):
        crossed = x * (crossed @ w).unsqueeze(1) + b + crossed
    want = head(made, torch.cat([crossed, hidden(made.tower, x)], 1))
    torch.testing.assert_close(made(f), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("structure", ["parallel", "stacked"])
def test_dcnv2(rank, structure):
    made = core(DCNv2, hidden_units=(4,), cross_layers=2, rank=rank, structure=structure)
    f = fields()
    x = crossed = flat(f)
    for k, wide in enumerate(made.cross.wide):
        w = wide.weight @ made.cross.narrow[k].weight if rank else wide.weight
        crossed = x * (crossed @ w.T + wide.bias) + crossed
    deep = hidden(made.tower, crossed if structure == "stacked" else x)
    want = head(made, deep if structure == "stacked" else torch.cat([crossed, deep], 1))
    torch.testing.assert_close(made(f), want, rtol=1e-4, atol=1e-3)


def test_fibinet():
    made, f = core(FiBiNET, hidden_units=(4,)), fields()
    v = f.vectors
    z = v.mean(2)
    weights = torch.relu(torch.relu(z @ made.senet.squeeze.weight.T) @ made.senet.excite.weight.T)
    products = [
        (u[:, i] @ bilinear.weight[place]) * u[:, j]
        for u, bilinear in ((v, made.plain), (v * weights.unsqueeze(2), made.weighted))
        for place, (i, j) in enumerate(combinations(range(3), 2))
    ]
    deep = head(made, hidden(made.tower, torch.cat([*products, f.dense], 1)))
    want = f.first.sum(1) + f.dense @ made.numbers.weight.T + deep
    torch.testing.assert_close(made(f), want, rtol=1e-4, atol=1e-4)


LAYOUT = Layout(
    (TableRange("user", 0, 22), TableRange("item", 22, 22)),
    (IdColumn("user", Side.USER, "user", 0), IdColumn("item", Side.ITEM, "item", 1)),
    (),
)


def noise_by_pair(n, seed):
    """Each pair of ids has a random label, so that only the pair itself predicts it."""
    truth = np.random.default_rng(0).random((20, 20)) < 0.5
    draw = np.random.default_rng(seed)
    u, i = draw.integers(0, 20, n), draw.integers(0, 20, n)
    ids = np.stack([u + 2, i + 24], 1).astype(np.int32)
    labels = truth[u, i].astype(np.float32)[:, None]
    return Rows(LAYOUT, [Block(ids, np.zeros((n, 0), np.float32))], n, labels)


def test_a_crossed_column_memorises_pairs():
    options = {"hidden_units": (4,), "epochs": 4, "batch_size": 256, "threads": 1}
    rows, test = noise_by_pair(4000, 1), noise_by_pair(1000, 2)
    with_cross = WideDeep(crosses=(("user", "item"),), **options).fit(rows)
    without = WideDeep(**options).fit(rows)
    found = [auc(test.labels[:, 0], m.score_rows(test)["label"]) for m in (with_cross, without)]
    assert found[0] > 0.98
    assert found[1] < 0.8


def test_crosses_are_saved(tmp_path):
    options = {"hidden_units": (4,), "epochs": 1, "cross_buckets": 100, "engine": "torch"}
    rows = noise_by_pair(500, 1)
    model = WideDeep(crosses=(("user", "item"),), **options).fit(rows)
    model.save(tmp_path)
    again = WideDeep.load(tmp_path)
    assert again.config.crosses == (("user", "item"),)
    np.testing.assert_array_equal(again.logits(rows), model.logits(rows))


def test_errors_name_the_option():
    with pytest.raises(ConfigError, match="crosses name 'itm': id features are user, item"):
        WideDeep(crosses=(("user", "itm"),)).fit(noise_by_pair(50, 1))
    with pytest.raises(ConfigError, match="crosses"):
        WideDeep(crosses=(("user",),))
    with pytest.raises(ConfigError, match="lhuc"):
        FM(lhuc=True)
    with pytest.raises(ConfigError, match="hidden_units"):
        LR(hidden_units=(3,))


def test_twins_of_one_name_differ_in_repr_and_refer_to_each_other():
    assert repr(FM(embedding_dim=4)) == "rank.FM(embedding_dim=4)"
    assert repr(LR()) == "rank.LR()"
    assert repr(GBDT(trees=3)) == "rank.GBDT(trees=3)"
    for kind in (FM, LR, GBDT):
        other = "recall" if kind is FM else "prerank"
        assert f"`tamis.{other}.{kind.__name__}`" in kind.__doc__
