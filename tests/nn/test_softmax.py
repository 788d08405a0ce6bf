"""The chunked cross entropy and its gradients against F.cross_entropy."""

import pytest
import torch
from torch.nn import functional as F

from tamis.nn import Workspace, chunked_cross_entropy


def problem(p, n, scale=1.0, dim=6):
    random = torch.Generator().manual_seed(p + n)
    queries = (torch.randn(p, dim, generator=random) * scale).requires_grad_()
    items = (torch.randn(n, dim, generator=random) * scale).requires_grad_()
    return queries, items, torch.randint(n, (p,), generator=random)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("scale", [0.5, 3.0, 30.0])  # the last: logits in the thousands
@pytest.mark.parametrize("chunk", [10**6, 100, 1])
def test_loss_and_gradients(smoothing, scale, chunk):
    queries, items, target = problem(11, 37, scale)
    found = chunked_cross_entropy(
        queries, items, target, label_smoothing=smoothing, chunk=chunk, workspace=Workspace()
    )
    wanted = F.cross_entropy(queries @ items.T, target, label_smoothing=smoothing)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    ours = torch.autograd.grad(3 * found, [queries, items])
    theirs = torch.autograd.grad(3 * wanted, [queries, items])
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * scale)


def test_logits_far_below_the_bound_do_not_vanish():
    """A query orthogonal to the longest item: |query| · max |item| is far above its logits."""
    items = torch.tensor([[1e4, 0.0], [0.0, 1.0], [0.0, 2.0]])
    queries = torch.tensor([[0.0, 1.0]]).requires_grad_()
    found = chunked_cross_entropy(queries, items, torch.tensor([1]))
    torch.testing.assert_close(found, F.cross_entropy(queries @ items.T, torch.tensor([1])))


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_in_bfloat16_under_autocast(scale):
    queries, items, target = problem(64, 200, scale, 16)
    with torch.autocast("cpu", torch.bfloat16):
        found = chunked_cross_entropy(queries, items, target, chunk=2000)
    wanted = F.cross_entropy(queries @ items.T, target)
    torch.testing.assert_close(found, wanted, rtol=1e-2, atol=1e-2)
    assert found.dtype == torch.float32
    ours = torch.autograd.grad(found, [queries, items])
    theirs = torch.autograd.grad(wanted, [queries, items])
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).norm() < 0.05 * b.norm()


def test_memory_is_reused():
    workspace = Workspace()
    first = workspace.take(4, 5, torch.zeros(0))
    assert workspace.take(2, 7, torch.zeros(0)).data_ptr() == first.data_ptr()
    assert workspace.take(5, 5, torch.zeros(0)).shape == (5, 5)


def test_no_rows():
    queries, items, _ = problem(0, 5)
    loss = chunked_cross_entropy(queries, items, torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert float(loss.detach()) == 0
    assert not items.grad.any()
