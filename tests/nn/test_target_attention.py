"""Target attention against a naive loop and finite differences; masks; shared pasts."""

import numpy as np
import pytest
import torch
from torch import nn

from tamis.nn import TargetAttention, dot_scores, masked_weights, target_attention, weighted_sum

DIM, LENGTH = 4, 7


def inputs(b: int, length: int = LENGTH, seed: int = 0, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    target = torch.randn(b, DIM, generator=g, dtype=dtype)
    past = torch.randn(b, length, DIM, generator=g, dtype=dtype)
    sizes = torch.randint(0, length + 1, (b, 1), generator=g)
    return target, past, torch.arange(length) < sizes


def attention(seed: int = 0, **options) -> TargetAttention:
    return TargetAttention(
        DIM, (6, 5), generator=torch.Generator().manual_seed(seed), **options
    ).eval()


def naive(net: TargetAttention, target, past, real) -> np.ndarray:
    """The paper's formula, one pair at a time."""
    out = np.zeros(target.shape)
    for b, q in enumerate(target):
        scores = []
        for k in past[b][real[b]]:
            h = torch.cat([q, k, q - k, q * k])
            for layer, after in zip(net.linears, net.after, strict=True):
                h = after(layer(h))
            scores.append(net.last(h).item())
        weights = np.array(scores)
        if net.softmax and len(weights):
            weights = np.exp(weights - weights.max())
            weights /= weights.sum()
        for weight, k in zip(weights, past[b][real[b]], strict=True):
            out[b] += weight * k.numpy()
    return out


def test_a_case_by_hand():
    """One hidden unit that reads q − k of the first number and q ⊙ k of the second."""
    net = TargetAttention(2, (1,))
    with torch.no_grad():
        for weight in net.parameters():
            weight.zero_()
        net.linears[0].weight[0, 4] = 1.0  # q − k, first number
        net.linears[0].weight[0, 7] = 1.0  # q ⊙ k, second number
        net.last.weight[0, 0] = 2.0
        net.last.bias[0] = 0.5
    target = torch.tensor([[3.0, 1.0], [3.0, 1.0]])
    past = torch.tensor([[[1.0, 2.0], [4.0, 0.0], [9.0, 9.0]]] * 2)
    real = torch.tensor([[True, True, False], [False, False, False]])
    # scores: 2 · relu(2 + 2) + ½ = 8.5 and 2 · relu(−1) + ½ = ½
    got = net(target, past, real)
    torch.testing.assert_close(got, torch.tensor([[8.5 + 2.0, 17.0], [0.0, 0.0]]))


@pytest.mark.parametrize("activation", ["relu", "prelu", "dice", "sigmoid"])
@pytest.mark.parametrize("softmax", [False, True])
def test_the_papers_formula(activation, softmax):
    net = attention(activation=activation, softmax=softmax)
    target, past, real = inputs(40)
    with torch.no_grad():
        want = naive(net, target, past, real)
        np.testing.assert_allclose(net(target, past, real).numpy(), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 700, 1 << 20])
@pytest.mark.parametrize("sparse", [0.0, 2.0])
def test_chunks_and_sorting_change_nothing(monkeypatch, chunk, sparse):
    net = attention()
    target, past, real = inputs(33)
    target.requires_grad_()
    past.requires_grad_()
    wanted = [target, past, *net.parameters()]
    plain = weighted_sum(masked_weights(net.scores(target, past), real, False), past)
    want = [plain, *torch.autograd.grad(plain.square().sum(), wanted)]
    monkeypatch.setattr(target_attention, "CHUNK", chunk)
    monkeypatch.setattr(target_attention, "SPARSE", sparse)
    got = net(target, past, real)
    for a, b in zip([got, *torch.autograd.grad(got.square().sum(), wanted)], want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("units", [(3,), (6, 5), (4, 3, 2)])
def test_the_backward_pass_is_the_derivative(softmax, units):
    """Central differences along random directions; biases keep the inputs of ReLU away from 0."""
    net = TargetAttention(
        DIM, units, softmax=softmax, generator=torch.Generator().manual_seed(3)
    ).double()
    target, past, real = inputs(5, seed=4, dtype=torch.float64)
    variables = [target, past, *(p.detach() for p in net.parameters())]
    for v in variables:
        v.requires_grad_()
    names = [name for name, _ in net.named_parameters()]

    def value(values):
        named = dict(zip(names, values[2:], strict=True))
        made = torch.func.functional_call(net, named, (values[0], values[1], real))
        return (made * torch.arange(1.0, DIM + 1).double()).sum()

    gradients = torch.autograd.grad(value(variables), variables)
    g, step = torch.Generator().manual_seed(5), 1e-6
    for k, gradient in enumerate(gradients):
        way = torch.randn(variables[k].shape, generator=g, dtype=torch.float64)
        with torch.no_grad():
            ends = [
                value([v + sign * step * way if j == k else v for j, v in enumerate(variables)])
                for sign in (1, -1)
            ]
        slope = (ends[0] - ends[1]) / (2 * step)
        torch.testing.assert_close((gradient * way).sum(), slope, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("softmax", [False, True])
def test_one_past_for_many_candidates(softmax):
    net = attention(softmax=softmax)
    target, past, real = inputs(9)
    with torch.no_grad():
        shared = net(target, past[3:4], real[3:4])
        tiled = net(target, past[3:4].repeat(9, 1, 1), real[3:4].repeat(9, 1))
        dots = [
            weighted_sum(dot_scores(target, p), p) for p in (past[3:4], past[3:4].repeat(9, 1, 1))
        ]
    torch.testing.assert_close(shared, tiled, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(dots[0], dots[1])


def test_dot_scores_by_hand():
    scores = dot_scores(torch.tensor([[1.0, 2.0, 0.0, 1.0]]), torch.ones(1, 3, 4) * 3)
    torch.testing.assert_close(scores, torch.full((1, 3), 12.0 / 2))


@pytest.mark.parametrize("kind", ["raw", "softmax"])
def test_padding_and_order_change_nothing(kind):
    net = attention(softmax=kind == "softmax")
    target, past, real = inputs(12)
    with torch.no_grad():
        want = net(target, past, real)
        junk = torch.where(real.unsqueeze(2), past, 1e6)
        torch.testing.assert_close(net(target, junk, real), want, rtol=1e-5, atol=1e-5)
        wider = nn.functional.pad(past, (0, 0, 0, 5))
        torch.testing.assert_close(
            net(target, wider, nn.functional.pad(real, (0, 5))), want, rtol=1e-5, atol=1e-5
        )
        turned = net(target, past.flip(1), real.flip(1))
    torch.testing.assert_close(turned, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize(("b", "length"), [(0, 5), (1, 5), (4, 0), (0, 0), (1, 0), (6, 5)])
def test_empty_pasts_and_small_batches_are_finite(softmax, b, length):
    net = attention(softmax=softmax).train()
    target, past = torch.randn(b, DIM, requires_grad=True), torch.randn(b, length, DIM)
    out = net(target, past, torch.zeros(b, length, dtype=torch.bool))
    assert out.shape == (b, DIM)
    assert not out.any()
    (out.sum() + target.sum()).backward()
    gradients = [w.grad for w in (target, *net.parameters()) if w.grad is not None]
    assert all(g.isfinite().all() for g in gradients)


def test_autocast_is_close():
    net = attention()
    target, past, real = inputs(64)
    with torch.no_grad():
        want = net(target, past, real)
        with torch.autocast("cpu", torch.bfloat16):
            got = net(target, past, real)
    assert got.dtype == torch.float32
    assert (got - want).norm() < 0.02 * want.norm()


def test_a_network_without_layers_is_refused():
    with pytest.raises(ValueError, match="at least one hidden layer"):
        TargetAttention(4, ())
