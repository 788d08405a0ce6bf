"""SENet and bilinear interaction by hand, against naive loops and finite differences."""

import itertools

import pytest
import torch

from tamis.nn import Bilinear, SENet, pair_products


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_senet_by_hand():
    net = SENet(2, reduction=2)
    with torch.no_grad():
        net.squeeze.weight.copy_(torch.tensor([[1.0, -1.0]]))
        net.excite.weight.copy_(torch.tensor([[2.0], [-1.0]]))
    # means [3, 1]; hidden relu(3 − 1) = 2; weights relu([4, −2]) = [4, 0]
    got = net(torch.tensor([[[2.0, 4.0], [1.0, 1.0]]]))
    assert got.tolist() == [[[8.0, 16.0], [0.0, 0.0]]]


@pytest.mark.parametrize(("fields", "reduction", "hidden"), [(7, 3, 3), (2, 8, 1), (0, 3, 1)])
def test_senet_is_never_without_hidden_units(fields, reduction, hidden):
    net = SENet(fields, reduction)
    assert net.squeeze.out_features == hidden
    assert net(torch.randn(3, fields, 4)).shape == (3, fields, 4)


def test_bilinear_by_hand():
    net = Bilinear(2, 2, "all")
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[[1.0, 2.0], [0.0, -1.0]]]))
    # v0 W = [1, 2] W = [1, 2 − 2] = [1, 0]; ⊙ v1 = [3, 5]
    assert net(torch.tensor([[[1.0, 2.0], [3.0, 5.0]]])).tolist() == [[[3.0, 0.0]]]


@pytest.mark.parametrize("kind", ["all", "each", "interaction"])
@pytest.mark.parametrize("fields", [2, 3, 5])
def test_bilinear_is_the_naive_loop(kind, fields):
    net = Bilinear(fields, 3, kind, generator=seeded())
    v = torch.randn(4, fields, 3, generator=seeded(1))
    pairs = list(itertools.combinations(range(fields), 2))
    want = []
    for place, (i, j) in enumerate(pairs):
        w = net.weight[{"all": 0, "each": i, "interaction": place}[kind]]
        want.append(torch.stack([(row[i] @ w) * row[j] for row in v]))
    torch.testing.assert_close(net(v), torch.stack(want, 1))


@pytest.mark.parametrize("kind", ["all", "each", "interaction"])
@pytest.mark.parametrize("fields", [0, 1])
def test_fewer_than_two_fields_have_no_pairs(kind, fields):
    assert Bilinear(fields, 3, kind)(torch.randn(4, fields, 3)).shape == (4, 0, 3)


@pytest.mark.parametrize("left", [3, 6])
def test_pair_products_gradient_by_finite_differences(left):
    a = torch.randn(2, left, 3, dtype=torch.float64, generator=seeded(), requires_grad=True)
    b = torch.randn(2, 4, 3, dtype=torch.float64, generator=seeded(1), requires_grad=True)
    assert torch.autograd.gradcheck(pair_products, (a, b))


def test_two_fields_are_one_pair():
    a = torch.randn(2, 1, 3, dtype=torch.float64, requires_grad=True)
    b = torch.randn(2, 2, 3, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(pair_products(a, b), a * b[:, 1:])
    assert torch.autograd.gradcheck(pair_products, (a, b))
