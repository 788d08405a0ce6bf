"""Crosses by hand, against naive loops, and in their degenerate shapes."""

import pytest
import torch

from tamis.nn import MatrixCross, VectorCross


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_vector_cross_by_hand():
    cross = VectorCross(2, 2)
    with torch.no_grad():
        cross.weight.copy_(torch.tensor([[1.0, -1.0], [0.5, 2.0]]))
        cross.bias.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    # x0 = [2, 3]; w0·x0 = -1: x1 = [-2, -3] + [0, 1] + [2, 3] = [0, 1]
    # w1·x1 = 2: x2 = [4, 6] + [1, 0] + [0, 1] = [5, 7]
    assert cross(torch.tensor([[2.0, 3.0]])).tolist() == [[5.0, 7.0]]


def test_matrix_cross_by_hand():
    cross = MatrixCross(2, 2)
    with torch.no_grad():
        cross.wide[0].weight.copy_(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
        cross.wide[0].bias.copy_(torch.tensor([0.0, -4.0]))
        cross.wide[1].weight.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        cross.wide[1].bias.copy_(torch.tensor([-5.0, 0.0]))
    # x0 = [2, 3]; W0 x0 + b0 = [2, 1]: x1 = [4, 3] + [2, 3] = [6, 6]
    # W1 x1 + b1 = [1, 6]: x2 = [2, 18] + [6, 6] = [8, 24]
    assert cross(torch.tensor([[2.0, 3.0]])).tolist() == [[8.0, 24.0]]


def test_low_rank_cross_by_hand():
    cross = MatrixCross(2, 1, rank=1)
    with torch.no_grad():
        cross.narrow[0].weight.copy_(torch.tensor([[1.0, 2.0]]))  # Vᵀ
        cross.wide[0].weight.copy_(torch.tensor([[3.0], [-1.0]]))  # U
        cross.wide[0].bias.copy_(torch.tensor([0.5, 0.0]))
    # x0 = [1, 2]; Vᵀx0 = 5, U · 5 + b = [15.5, -5]: x1 = [15.5, -10] + [1, 2]
    assert cross(torch.tensor([[1.0, 2.0]])).tolist() == [[16.5, -8.0]]


def naive_matrix_cross(cross, x):
    crossed = list(x)
    for k, wide in enumerate(cross.wide):
        w = wide.weight if not cross.narrow else wide.weight @ cross.narrow[k].weight
        inner = [sum(w[i, j] * crossed[j] for j in range(len(x))) for i in range(len(x))]
        crossed = [x[i] * (inner[i] + wide.bias[i]) + crossed[i] for i in range(len(x))]
    return torch.stack(crossed)


@pytest.mark.parametrize("rank", [0, 2])
def test_matrix_cross_is_the_naive_loop(rank):
    cross = MatrixCross(5, 3, rank, generator=seeded())
    x = torch.randn(4, 5, generator=seeded(1))
    torch.testing.assert_close(cross(x), torch.stack([naive_matrix_cross(cross, row) for row in x]))


@pytest.mark.parametrize("rank", [0, 2])
def test_a_precomputed_first_layer_gives_the_same_result(rank):
    cross = MatrixCross(5, 3, rank, generator=seeded())
    x = torch.randn(4, 5, generator=seeded(1))
    torch.testing.assert_close(cross(x, cross.entry(x)), cross(x))
    twice = MatrixCross(5, 1, rank, generator=seeded())
    torch.testing.assert_close(twice(x, 2 * twice.entry(x)) - x, 2 * (twice(x) - x) - (
        x * twice.wide[0].bias if rank else 0
    ))  # fmt: skip


def test_vector_cross_is_the_naive_loop():
    cross = VectorCross(5, 3, generator=seeded())
    torch.nn.init.normal_(cross.bias, generator=seeded(3))
    x = torch.randn(4, 5, generator=seeded(1))
    want = []
    for row in x:
        now = row
        for w, b in zip(cross.weight, cross.bias, strict=True):
            scale = sum(w[i] * now[i] for i in range(5))
            now = torch.stack([row[i] * scale + b[i] + now[i] for i in range(5)])
        want.append(now)
    torch.testing.assert_close(cross(x), torch.stack(want))


@pytest.mark.parametrize("shape", [(0, 5), (1, 5), (3, 0)])
@pytest.mark.parametrize(
    "make",
    [lambda w: VectorCross(w, 2), lambda w: MatrixCross(w, 2), lambda w: MatrixCross(w, 2, 3)],
)
def test_empty_inputs(make, shape):
    assert make(shape[1])(torch.randn(shape)).shape == shape


@pytest.mark.parametrize("rank", [0, 2])
def test_matrix_cross_gradient_by_finite_differences(rank):
    cross = MatrixCross(4, 2, rank, generator=seeded()).double()
    x = torch.randn(3, 4, dtype=torch.float64, generator=seeded(1), requires_grad=True)
    assert torch.autograd.gradcheck(cross, (x,))
    weights = tuple(cross.parameters())
    assert torch.autograd.gradcheck(lambda *_: cross(x.detach()), weights)


def test_matrix_cross_in_narrow_products_is_nearly_the_wide_one():
    cross = MatrixCross(16, 2, generator=seeded())
    x = torch.randn(8, 16, generator=seeded(1))
    both = []
    for narrow in (False, True):
        cross.zero_grad()
        own = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            y = cross(own)
        assert y.dtype == torch.float32
        y.square().sum().backward()
        both.append((y.detach(), own.grad, cross.wide[0].weight.grad.clone()))
    for wide, narrow in zip(*both, strict=True):
        torch.testing.assert_close(narrow, wide, rtol=0.05, atol=0.05 * float(wide.abs().max()))
