"""Compares shared bottom, MMoE and PLE with naive loops over rows, tasks and experts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tamis.features import Block, DenseColumn, Layout, Rows
from tamis.nn import GroupedLinear, TaskTowers
from tamis.rank import PLE, GateReport, MMoE, SharedBottom
from tamis.rank._experts import Experts, MixtureConfig, gate_weights
from tamis.rank._fields import Fields, Shape
from tamis.rank.mmoe import MMoECore
from tamis.rank.ple import ExtractionLevel, PLEConfig
from tamis.schema import NotFittedError, Side, TaskConfig

WIDTH, GATE = 3, 2


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbers(rows: int, width: int = WIDTH, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, width, generator=generator(seed))


def fields(rows: int, seed: int = 0) -> Fields:
    dense = numbers(rows, seed=seed)
    none = dense.new_zeros(rows, 0, 0)
    return Fields(none, dense, none)


def config(**options: object) -> MixtureConfig:
    return MixtureConfig(**{"hidden_units": (4, 2), "expert_dropout": 0.0, **options})


def level_of(
    own: int = 1,
    shared: int = 1,
    width: int = 4,
    *,
    first: bool,
    last: bool = False,
    **options: object,
) -> ExtractionLevel:
    """A level of two tasks."""
    options |= {"task_experts": own, "shared_experts": shared, "hidden_units": (4, 2)}
    made = PLEConfig(**{"expert_dropout": 0.0, **options})
    return ExtractionLevel(2, width, made, 0, generator(), first=first, last=last).eval()


def layer(x: torch.Tensor, linear: GroupedLinear, group: int) -> torch.Tensor:
    return x @ linear.weight[group] + linear.bias[group, 0]


def test_a_grouped_layer_is_a_loop_over_layers() -> None:
    grouped = GroupedLinear(3, 4, 2, generator=generator())
    x = torch.randn(5, 3, 4)
    by_hand = torch.stack([layer(x[:, g], grouped, g) for g in range(3)], 1)
    torch.testing.assert_close(grouped(x), by_hand)


def test_towers_give_each_task_its_logits() -> None:
    towers = TaskTowers(3, (4,), (1, 2), generator=generator())
    x = torch.randn(5, 2, 3)
    hidden = [torch.relu(layer(x[:, t], towers.layers[0], t)) for t in range(2)]
    by_hand = torch.stack(
        [hidden[t] @ towers.weight[k] + towers.bias[k] for k, t in enumerate((0, 1, 1))], 1
    )
    torch.testing.assert_close(towers(x), by_hand)
    plain = TaskTowers(3, (), (1, 1), generator=generator())
    torch.testing.assert_close(plain(x), (x * plain.weight).sum(-1))


def test_gate_weights_are_a_softmax() -> None:
    logits = torch.log(torch.tensor([[1.0, 2.0, 5.0]]))
    expected = torch.tensor([[0.125, 0.25, 0.625]])
    torch.testing.assert_close(gate_weights(logits, 0.5, training=False), expected)
    torch.testing.assert_close(gate_weights(logits, 0.0, training=True), expected)


def test_the_weight_of_a_dropped_expert_is_zero_and_the_others_are_renormalised() -> None:
    full = torch.tensor([0.125, 0.25, 0.625])
    torch.manual_seed(0)
    weights = gate_weights(full.log().expand(20_000, 3), 0.3, training=True)
    kept = weights > 0
    by_hand = full * kept / (full * kept).sum(1, keepdim=True)
    torch.testing.assert_close(weights, by_hand)
    # If all are drawn (.027 of the rows), none is dropped: each is dropped in .3 − .027 of rows.
    assert (~kept).float().mean(0).numpy() == pytest.approx(0.273, abs=0.015)


def test_dropping_an_expert_with_all_the_weight_gives_finite_gradients() -> None:
    logits = torch.tensor([[200.0, 0.0, -200.0]]).repeat(64, 1).requires_grad_()
    torch.manual_seed(1)
    weights = gate_weights(logits, 0.5, training=True)
    weights[:, 1].sum().backward()
    torch.testing.assert_close(weights.sum(1), torch.ones(64))
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def expert_by_hand(
    experts: Experts, e: int, entered: torch.Tensor, x: torch.Tensor
) -> torch.Tensor:
    """One expert on one input, given its first product."""
    if experts.crosses:
        h = x * entered + x
        for inner in experts.layers[: experts.crosses - 1]:
            h = x * layer(h, inner, e) + h
        hidden = experts.layers[experts.crosses - 1 :]
    else:
        h, hidden = torch.relu(entered), experts.layers
    for inner in hidden:
        h = torch.relu(layer(h, inner, e))
    return h


def mixture_by_hand(
    level: ExtractionLevel | MMoECore, dense: torch.Tensor
) -> list[list[torch.Tensor]]:
    """Per row: each task's mixture, then the shared one unless the level is the last."""
    linear, n = level.entry, level.experts.count
    size, own, shared = level.experts.entry, level.own, level.shared
    out = []
    for x in dense:
        wide = linear.weight @ x + linear.bias
        outputs = [
            expert_by_hand(level.experts, e, wide[e * size : (e + 1) * size], x) for e in range(n)
        ]
        states, at = [], n * size
        for t in range(level.tasks):
            seen = [*range(t * own, (t + 1) * own), *range(level.tasks * own, n)]
            share = torch.softmax(wide[at : at + own + shared], 0)
            states.append(sum(w * outputs[e] for w, e in zip(share, seen, strict=True)))
            at += own + shared
        if not isinstance(level, MMoECore) and not level.last:
            share = torch.softmax(wide[at:], 0)
            states.append(sum(w * o for w, o in zip(share, outputs, strict=True)))
        out.append(states)
    return out


def check_mixture(level: ExtractionLevel | MMoECore, states: torch.Tensor, given: Fields) -> None:
    by_hand = torch.stack([torch.stack(row) for row in mixture_by_hand(level, given.dense)])
    torch.testing.assert_close(states, by_hand)


@pytest.mark.parametrize("network", ["mlp", "cross"])
@pytest.mark.parametrize(("own", "last"), [(2, True), (1, False)])
def test_a_first_level_is_experts_weighted_by_gates(network: str, own: int, last: bool) -> None:
    level = level_of(own, 3, WIDTH, first=True, last=last, network=network)
    with torch.no_grad():  # gates start even; the check needs uneven ones
        level.entry.weight.normal_(generator=generator(5))
    given = fields(4)
    states, weights = level(given, None)
    check_mixture(level, states, given)
    torch.testing.assert_close(weights.sum(-1), torch.ones(4, 2))


@pytest.mark.parametrize("network", ["mlp", "cross"])
def test_an_mmoe_is_experts_weighted_by_gates(network: str) -> None:
    model = MMoE(hidden_units=(4, 2), experts=3, network=network)
    core = model.core(Shape((), 0, WIDTH, 0), 2, generator()).eval()
    with torch.no_grad():
        core.entry.weight.normal_(generator=generator(5))
    given = fields(4)
    mixed, weights = core.mix(given)
    check_mixture(core, mixed, given)
    torch.testing.assert_close(weights.sum(-1), torch.ones(4, 2))
    torch.testing.assert_close(core(given), core.towers(mixed))
    torch.testing.assert_close(core.weights(given), weights)


def test_gates_start_even() -> None:
    _, weights = level_of(1, 3, WIDTH, first=True)(fields(4), None)
    torch.testing.assert_close(weights, torch.full((4, 2, 4), 0.25))


def test_a_later_level_reads_the_states_of_the_level_before() -> None:
    """Task t's experts and gate read state t; shared experts and the shared gate the last one."""
    level = level_of(first=False)
    before = torch.randn(3, 3, 4, generator=generator(2))
    states, weights = level(before, None)
    for x, found, gates in zip(before, states, weights, strict=True):
        outputs = [
            expert_by_hand(level.experts, e, layer(x[e], level.into, e), x[e]) for e in range(3)
        ]
        for t in range(2):
            share = torch.softmax(layer(x[t], level.task_gates, t), 0)
            torch.testing.assert_close(gates[t], share)
            torch.testing.assert_close(found[t], share[0] * outputs[t] + share[1] * outputs[2])
        share = torch.softmax(level.shared_gate(x[2]), 0)
        torch.testing.assert_close(
            found[2], sum(w * o for w, o in zip(share, outputs, strict=True))
        )


def test_ple_passes_states_from_level_to_level() -> None:
    model = PLE(hidden_units=(4, 2), levels=3, tower_units=(), expert_dropout=0.0)
    core = model.core(Shape((), 0, WIDTH, 0), 2, generator()).eval()
    given = fields(4)
    first, _ = core.levels[0](given, None)
    assert first.shape == (4, 3, 2)
    second, _ = core.levels[1](first, None)
    third, weights = core.levels[2](second, None)
    assert third.shape == (4, 2, 2)
    assert core.levels[2].shared_gate is None
    torch.testing.assert_close(core(given), core.towers(third))
    torch.testing.assert_close(core.weights(given), weights)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("network", ["mlp", "cross"])
def test_a_later_level_keeps_the_scale_of_its_input(network: str, seed: int) -> None:
    """With torch's default initialisation, training starts at a saddle: each level of two layers
    makes the deviation of its states over the rows smaller by about 10."""
    made = PLEConfig(hidden_units=(64, 64), network=network, task_experts=1, shared_experts=2)
    level = ExtractionLevel(2, 64, made, 0, generator(seed), first=False, last=True)
    before = torch.randn(500, 3, 64, generator=generator(9))
    after, _ = level.eval()(before, None)
    assert 0.3 < after.std(0).mean() < 1.5


@pytest.mark.parametrize("network", ["mlp", "cross"])
def test_a_shared_bottom_is_one_expert_below_towers(network: str) -> None:
    model = SharedBottom(hidden_units=(4, 2), tower_units=(), network=network)
    core = model.core(Shape((), 0, WIDTH, 0), 3, generator()).eval()
    given = fields(4)
    trunk = torch.stack([expert_by_hand(core.bottom, 0, core.entry(x), x) for x in given.dense])
    torch.testing.assert_close(core(given), trunk @ core.towers.weight.T)


def test_lhuc_scales_every_hidden_unit_of_every_expert() -> None:
    experts = Experts(2, WIDTH, config(), GATE, generator())
    entered, gate = torch.randn(5, 2, 4), torch.randn(5, GATE)
    found = experts(entered, None, gate)
    scale = [2 * torch.sigmoid(g(gate)) for g in experts.gates]  # (B, 2 · 4), (B, 2 · 2)
    for e in range(2):
        h = torch.relu(entered[:, e]) * scale[0][:, 4 * e : 4 * e + 4]
        h = torch.relu(layer(h, experts.layers[0], e)) * scale[1][:, 2 * e : 2 * e + 2]
        torch.testing.assert_close(found[:, e], h)


MODELS = (SharedBottom, MMoE, PLE)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("training", [False, True])
def test_empty_batches_and_batches_of_one_row(model: type, rows: int, training: bool) -> None:
    made = model(hidden_units=(4, 2), batch_norm=True)
    core = made.core(Shape((), 0, WIDTH, 0), 2, generator()).train(training)
    out = core(fields(rows))
    assert out.shape == (rows, 2)
    assert out.isfinite().all()


@pytest.mark.parametrize("model", MODELS)
def test_a_row_has_the_same_logits_in_any_batch(model: type) -> None:
    core = model(hidden_units=(4, 2)).core(Shape((), 0, WIDTH, 0), 2, generator()).eval()
    given = fields(6)
    alone = [core(Fields(given.vectors[k : k + 1], given.dense[k : k + 1], given.first[:1]))
             for k in range(6)]  # fmt: skip
    torch.testing.assert_close(core(given), torch.cat(alone))


# Fits

COLUMNS = 6
LAYOUT = Layout((), (), (DenseColumn("x", Side.CONTEXT, 0, COLUMNS),))


def log(n: int, seed: int = 0) -> Rows:
    """Two binary tasks and a regression task on the same inputs."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, COLUMNS)).astype(np.float32)
    p = 1 / (1 + np.exp(-2 * x[:, :2]))
    labels = np.column_stack([draw.random((n, 2)) < p, 3 + x[:, 0] * x[:, 1]]).astype(np.float32)
    return Rows(LAYOUT, [Block(np.zeros((n, 0), np.int32), x)], n, labels)


TASKS = ("a", "b", TaskConfig(name="c", kind="regression"))


@pytest.mark.parametrize("model", MODELS)
def test_tasks_of_several_kinds_are_learned_together_and_saved(model: type, tmp_path) -> None:
    options = {"epochs": 6, "batch_size": 256, "learning_rate": 3e-3, "hidden_units": (16, 8)}
    fitted = model(**options).fit(log(4000), log(1000, 1), TASKS)
    assert fitted.best["auc:a"] > 0.8
    assert fitted.best["auc:b"] > 0.8
    assert fitted.best["xauc:c"] > 0.7
    fitted.save(tmp_path)
    again = model.load(tmp_path)
    test = log(100, 2)
    np.testing.assert_array_equal(again.probabilities(test), fitted.probabilities(test))
    assert list(again.score_rows(test)) == ["a", "b", "c"]


def test_the_gate_report_is_the_mean_over_rows() -> None:
    model = MMoE(epochs=2, hidden_units=(8, 4), experts=3).fit(log(500), log(200, 1), TASKS)
    rows = log(300, 2)
    core, inputs = model.model.core, model.model.inputs
    with torch.no_grad():
        weights = core.weights(inputs(rows.take(torch.arange(300)))).mean(0)
    report = model.gate_report(rows)
    assert report.experts == ("expert 1", "expert 2", "expert 3")
    for t, task in enumerate(("a", "b", "c")):
        assert report.weights[task] == pytest.approx(weights[t].tolist(), abs=1e-5)
    assert model.gates is not None  # of the validation rows
    with pytest.raises(NotFittedError):
        MMoE().gate_report(rows)


def chessboard(n: int = 2000) -> Rows:
    """Labels without noise: once one expert predicts them, the others receive no gradient."""
    x = np.random.default_rng(0).normal(size=(n, 4)).astype(np.float32)
    label = (x[:, :1] * x[:, 1:2] > 0).astype(np.float32)
    layout = Layout((), (), (DenseColumn("x", Side.CONTEXT, 0, 4),))
    return Rows(layout, [Block(np.zeros((n, 0), np.int32), x)], n, label)


def test_experts_die_without_expert_dropout_and_not_with_it() -> None:
    options = {"experts": 8, "hidden_units": (4,), "tower_units": (), "epochs": 20}
    options |= {"batch_size": 200, "learning_rate": 0.03}
    found = {
        share: MMoE(**options, expert_dropout=share).fit(chessboard(), None, ["a"])
        for share in (0.0, 0.3)
    }
    assert found[0.0].gates.dead
    assert "no task uses" in found[0.0].notes[0]
    assert found[0.3].gates.dead == ()
    assert found[0.3].notes == ()


def test_a_ple_reports_own_and_shared_experts() -> None:
    model = PLE(epochs=1, hidden_units=(8, 4)).fit(log(500), log(200, 1), ("a", "b", TASKS[2]))
    report = model.gates
    assert report.experts == ("a 1", "b 1", "c 1", "shared 1", "shared 2")
    assert np.isnan(report.weights["a"][1:3]).all()
    assert np.nansum(report.weights["b"]) == pytest.approx(1)
    assert report.to_dict()["weights"]["c"][0] is None


def test_the_warning_names_dead_experts_and_how_to_avoid_them() -> None:
    nan = float("nan")
    report = GateReport(
        ("e1", "e2", "e3", "e4"),
        {"like": (0.02, 0.9, 0.08, 0.0), "click": (0.01, 0.5, nan, 0.49)},
    )
    # Even shares are 1/4 and 1/3, so an expert below .025 and .033 is dead.
    assert report.dead == ("e1",)
    assert "no task uses e1" in str(report)
    assert "expert_dropout" in report.warning
    assert GateReport(("e1", "e2"), {"a": (0.9, 0.1)}).warning == ""
