"""The shared softmax and its gradients against the definition and autograd, in chunks and whole."""

import pytest
import torch

from tamis.nn import listwise, shared_softmax


def problem(scale=1.0, seed=0):
    g = torch.Generator().manual_seed(seed)
    queries = (torch.randn(5, 3, generator=g) * scale).requires_grad_()
    items = torch.randn(7, 3, generator=g).requires_grad_()
    owner, target = torch.tensor([0, 0, 2, 3, 4]), torch.tensor([1, 5, 2, 0, 6])
    weights = torch.tensor([0.5, 0.5, 1.0, 2.0, 0.25])
    row = torch.tensor([0, 0, 0, 2, *[3] * 7, 4])
    excluded = (row, torch.tensor([1, 5, 3, 2, *range(7), 6]))
    return queries, items, owner, target, weights, excluded


def by_definition(
    queries, items, owner, target, weights, excluded, shift, pair_shift, other_log_sum
):
    logits = queries @ items.T
    positive = logits[owner, target]
    if shift is not None:
        logits = logits + shift
    if pair_shift is not None:
        logits = logits.index_put(pair_shift[:2], pair_shift[2], accumulate=True)
    mask = torch.zeros_like(logits, dtype=torch.bool)
    mask[excluded] = True
    rest = logits.masked_fill(mask, -torch.inf)
    if other_log_sum is not None:
        rest = torch.cat([rest, other_log_sum.unsqueeze(1)], 1)
    loss = torch.zeros(())
    for k, b in enumerate(owner.tolist()):
        whole = torch.cat([positive[k : k + 1], rest[b][rest[b] > -torch.inf]])
        loss = loss + weights[k] * (torch.logsumexp(whole, 0) - positive[k])
    return loss / weights.sum()


@pytest.mark.parametrize("scale", [1.0, 60.0])
@pytest.mark.parametrize("chunk", [7, 15, 10**6])
@pytest.mark.parametrize("extras", [False, True])
def test_value_and_gradients(scale, chunk, extras, monkeypatch):
    monkeypatch.setattr(listwise, "CHUNK", chunk)
    queries, items, owner, target, weights, excluded = problem(scale)
    shift = torch.linspace(-2, 1, 7) if extras else None
    pairs = (torch.tensor([0, 1, 4]), torch.tensor([2, 2, 0]), torch.tensor([0.7, -0.2, 1.1]))
    other = torch.tensor([0.3, -torch.inf, 1.0, 0.1, -2.0]) if extras else None
    inputs = [queries, items]
    if other is not None:
        other.requires_grad_()
        inputs.append(other)
    given = {"shift": shift, "pair_shift": pairs if extras else None, "other_log_sum": other}
    expected = by_definition(queries, items, owner, target, weights, excluded, **given)
    wanted = torch.autograd.grad(expected, inputs)
    positive = (queries[owner] * items[target]).sum(1)
    loss = shared_softmax(queries, items, positive, owner, weights, excluded, **given)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-6)
    for found, right in zip(torch.autograd.grad(loss, inputs), wanted, strict=True):
        torch.testing.assert_close(found, right.nan_to_num(0.0), rtol=1e-3, atol=1e-5)
