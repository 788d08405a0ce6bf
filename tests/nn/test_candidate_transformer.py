"""The candidate transformer against a naive version; masks, order and degenerate shapes."""

import pytest
import torch

from tamis.nn import CandidateTransformer

DIM, LENGTH = 8, 6


def transformer(**options) -> CandidateTransformer:
    generator = torch.Generator().manual_seed(1)
    net = CandidateTransformer(DIM, LENGTH, generator=generator, **options).eval()
    with torch.no_grad():
        net.position.normal_(generator=generator)
    return net


def inputs(b: int = 7):
    g = torch.Generator().manual_seed(2)
    target = torch.randn(b, DIM, generator=g)
    past = torch.randn(b, LENGTH, DIM, generator=g)
    return target, past, torch.arange(LENGTH) < torch.arange(b).unsqueeze(1)  # lengths 0 … 6


def naive(net: CandidateTransformer, target, past, real) -> torch.Tensor:
    """The whole sequence of each row in every block, row by row and head by head."""
    out = []
    for q, history, known in zip(target, past, real, strict=True):
        history = history[known]
        places = torch.arange(len(history), 0, -1)
        h = torch.cat([(q + net.position[0]).unsqueeze(0), history + net.position[places]])
        for block in net.encoder.blocks:
            x, a = block.norms[0](h), block.attention
            q_, k, v = a.inputs(x).chunk(3, 1)
            width = DIM // a.heads
            heads = []
            for part in range(a.heads):
                at = slice(part * width, (part + 1) * width)
                share = torch.softmax(q_[:, at] @ k[:, at].T / width**0.5, 1)
                heads.append(share @ v[:, at])
            h = h + a.output(torch.cat(heads, 1))
            h = h + block.feed_forward(block.norms[1](h))
        h = net.encoder.norm(h)
        out.append(h[0] if net.both is None else net.both(torch.cat([h[0], h.mean(0)])))
    return torch.stack(out)


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize(("blocks", "heads"), [(1, 1), (1, 2), (2, 4), (3, 2)])
def test_it_equals_the_naive_version(blocks, heads, pooled):
    net = transformer(blocks=blocks, heads=heads, pooled=pooled)
    with torch.no_grad():
        want = naive(net, *inputs())
        torch.testing.assert_close(net(*inputs()), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("blocks", [1, 2])
def test_one_past_for_many_candidates(blocks, pooled):
    net = transformer(blocks=blocks, pooled=pooled)
    target, past, real = inputs()
    with torch.no_grad():
        shared = net(target, past[4:5], real[4:5])
        tiled = net(target, past[4:5].repeat(7, 1, 1), real[4:5].repeat(7, 1))
    torch.testing.assert_close(shared, tiled, rtol=1e-5, atol=1e-5)


def test_order_matters():
    net = transformer()
    target, past, _ = inputs()
    real = torch.ones(7, LENGTH, dtype=torch.bool)
    with torch.no_grad():
        difference = (net(target, past, real) - net(target, past.flip(1), real)).abs().max()
    assert difference > 1e-2


@pytest.mark.parametrize("blocks", [1, 2])
def test_padding_changes_nothing(blocks):
    net = transformer(blocks=blocks)
    target, past, real = inputs()
    with torch.no_grad():
        want = net(target, past, real)
        junk = torch.where(real.unsqueeze(2), past, 1e4)
        torch.testing.assert_close(net(target, junk, real), want, rtol=1e-4, atol=1e-5)
        short = net(target[:4], past[:4, :3], real[:4, :3])
    torch.testing.assert_close(short, want[:4], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize(("b", "length"), [(0, 4), (1, 4), (5, 0), (0, 0), (5, 4)])
def test_empty_pasts_and_small_batches_are_finite(b, length, pooled):
    net = transformer(blocks=2, pooled=pooled).train()
    target, past = torch.randn(b, DIM, requires_grad=True), torch.randn(b, length, DIM)
    out = net(target, past, torch.zeros(b, length, dtype=torch.bool))
    assert out.shape == (b, DIM)
    assert out.isfinite().all()
    out.sum().backward()
    assert target.grad.isfinite().all()


def test_impossible_shapes_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        CandidateTransformer(8, 5, blocks=0)
    with pytest.raises(ValueError, match="make dim a multiple"):
        CandidateTransformer(8, 5, heads=3)
