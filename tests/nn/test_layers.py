"""MLP, activations and FM term against naive loops; gradients by finite differences."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from tamis.nn import (
    ACTIVATIONS,
    MLP,
    BatchNorm,
    Dice,
    GroupedLinear,
    fm_second_order,
    linear,
    linear_of_two,
    unit_rows,
)


def test_second_order_is_the_sum_over_all_pairs():
    v = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0))
    want = [sum(float(a @ b) for a, b in itertools.combinations(row, 2)) for row in v]
    torch.testing.assert_close(fm_second_order(v), torch.tensor(want))


def test_second_order_gradient_by_finite_differences():
    v = torch.randn(3, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(fm_second_order, (v,))


@pytest.mark.parametrize("fields", [0, 1])
def test_fewer_than_two_fields_have_no_pairs(fields):
    assert fm_second_order(torch.randn(3, fields, 4)).abs().max() < 1e-6


def test_mlp_by_hand():
    mlp = MLP(2, [2], 1)
    with torch.no_grad():
        mlp.layers[0].weight.copy_(torch.tensor([[1.0, -1.0], [2.0, 0.0]]))
        mlp.layers[0].bias.copy_(torch.tensor([0.0, -1.0]))
        mlp.layers[2].weight.copy_(torch.tensor([[10.0, 100.0]]))
        mlp.layers[2].bias.fill_(0.5)
    # hidden = relu([1 - 3, 2 - 1]) = [0, 1]
    assert mlp(torch.tensor([[1.0, 3.0]])).item() == pytest.approx(100.5)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_mlp_shapes_and_layers(activation):
    mlp = MLP(3, [5, 4], activation=activation, dropout=0.5, batch_norm=True)
    assert mlp.out_features == 4
    assert mlp(torch.zeros(7, 3)).shape == (7, 4)


def test_equal_generators_make_equal_layers():
    one, two = (MLP(3, [4], 1, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)


def test_dice_by_hand():
    dice = Dice(1)
    with torch.no_grad():
        dice.alpha.fill_(0.25)
    x = torch.tensor([[1.0], [3.0]])
    # mean 2, standard deviation 1: p = σ(∓1)
    p = torch.sigmoid(torch.tensor([[-1.0], [1.0]]))
    torch.testing.assert_close(dice(x), p * x + (1 - p) * 0.25 * x, rtol=1e-4, atol=1e-4)


def test_dice_and_batch_norm_take_sequences():
    for layer in (Dice(4), BatchNorm(4)):
        x = torch.randn(3, 5, 4)
        torch.testing.assert_close(layer(x).view(15, 4), layer(x.view(15, 4)))


def test_a_single_row_is_normalised_by_the_running_statistics():
    norm = BatchNorm(2)
    with torch.no_grad():
        norm.running_mean.copy_(torch.tensor([1.0, 2.0]))
        norm.running_var.copy_(torch.tensor([4.0, 1.0]))
    got = norm.train()(torch.tensor([[3.0, 2.0]]))
    torch.testing.assert_close(got, torch.tensor([[1.0, 0.0]]), atol=1e-4, rtol=0)
    assert norm.num_batches_tracked == 0
    assert norm.eval()(torch.zeros(0, 2)).shape == (0, 2)


@pytest.mark.parametrize("width", [0, 2, 5])
def test_linear_of_two_equals_the_layer_on_the_concatenation(width):
    layer, x = linear(5, 3), torch.randn(4, 5)
    torch.testing.assert_close(linear_of_two(layer, x[:, :width], x[:, width:]), layer(x))


@pytest.mark.parametrize(
    ("activation", "variance", "bias"),
    [
        (None, 1 / 3, 1 / 3),  # torch.nn.Linear's own
        ("relu", 2.0, 0.0),  # He et al. 2015
        ("gelu", 2.0, 0.0),
        ("tanh", 25 / 9, 0.0),  # torch.nn.init.calculate_gain: (5 / 3)²
        ("sigmoid", 1.0, 0.0),
    ],
)
def test_variance_of_initial_weights_by_activation(activation, variance, bias):
    """The variances times in_features; each mean of 40,000 squares has a relative error of .45%."""
    generator = torch.Generator().manual_seed(0)
    layer = linear(100, 400, activation=activation, generator=generator)
    grouped = GroupedLinear(4, 100, 100, activation=activation, generator=generator)
    for made in (layer, grouped):
        assert 100 * made.weight.square().mean().item() == pytest.approx(variance, rel=0.03)
        assert 100 * made.bias.square().mean().item() == pytest.approx(bias, rel=0.3)


def test_a_signal_keeps_its_scale_through_many_relu_layers():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(100, 256, generator=generator)
    for _ in range(8):
        x = torch.relu(linear(256, 256, activation="relu", generator=generator)(x))
    assert 0.3 < x.square().mean() < 3  # torch's default: 6⁻⁸


def test_rows_of_unit_length():
    x = torch.randn(4, 3, dtype=torch.float64)
    x[2] = 0
    y = unit_rows(x)
    torch.testing.assert_close(y, F.normalize(x, dim=1))
    some = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(unit_rows, (some,))


@pytest.mark.parametrize("activation", ["relu", "prelu", "gelu", "sigmoid", "tanh"])
def test_a_layer_is_normalised_activated_and_then_dropped(activation):
    mlp = MLP(3, [400], dropout=0.25, activation=activation, batch_norm=True)
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    normal = mlp.layers[1]
    with torch.no_grad():
        mlp.eval()
        normal.running_mean.fill_(0.5)
        normal.running_var.fill_(4.0)
        h = (x @ mlp.layers[0].weight.T + mlp.layers[0].bias - 0.5) / math.sqrt(4 + 1e-5)
        slope = torch.tensor([0.25])  # PReLU's initial one
        named = {"relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "gelu": F.gelu}
        want = F.prelu(h, slope) if activation == "prelu" else named[activation](h)
        torch.testing.assert_close(mlp(x), want, rtol=1e-4, atol=1e-5)
        mlp.train()
        zeros = (mlp(x) == 0).float().mean().item()  # dropped after the activation
        assert zeros == pytest.approx(0.25 if activation != "relu" else 0.625, abs=0.03)
