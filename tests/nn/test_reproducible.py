"""Functions whose rounding does not depend on the number of threads, and equal torch's."""

import pytest
import torch
from torch import nn

from tamis.nn import BatchNorm, LayerNorm, SelfAttention, TargetAttention, row_softmax
from tamis.nn.reproducible import total


def run_softmax():
    x = torch.randn(512, 50, requires_grad=True)
    (row_softmax(x) * torch.randn(512, 50)).sum().backward()
    return [x.grad]


def run_module(make, *shape):
    module = make()
    x = torch.randn(*shape, requires_grad=True)
    (module(x) * torch.randn(*shape)).sum().backward()
    return [x.grad, *(p.grad for p in module.parameters()), *module.buffers()]


def run_target_attention():
    module = TargetAttention(16, (32,), softmax=True, generator=torch.Generator().manual_seed(0))
    target = torch.randn(3000, 16, requires_grad=True)
    past, real = torch.randn(3000, 20, 16), torch.rand(3000, 20) < 0.8
    module(target, past, real).square().sum().backward()
    return [target.grad, *(p.grad for p in module.parameters())]


RUNS = {
    "softmax": run_softmax,
    "sum": lambda: [total(torch.randn(100_001))],
    "layer norm": lambda: run_module(lambda: LayerNorm(64), 128, 50, 64),
    "batch norm": lambda: run_module(lambda: BatchNorm(64), 4096, 64),
    "attention": lambda: run_module(
        lambda: SelfAttention(32, 2, generator=torch.Generator().manual_seed(0)), 64, 50, 32
    ),
    "target attention": run_target_attention,
}


@pytest.mark.parametrize("name", RUNS)
def test_results_do_not_depend_on_the_number_of_threads(name):
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            torch.manual_seed(0)
            found.append(RUNS[name]())
    finally:
        torch.set_num_threads(before)
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("own", "theirs", "shape"),
    [
        (LayerNorm(12), nn.LayerNorm(12), (5, 7, 12)),
        (BatchNorm(12), nn.BatchNorm1d(12), (50, 12)),
        (BatchNorm(12, affine=False), nn.BatchNorm1d(12, affine=False), (50, 12)),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_normalisation_equals_that_of_torch(own, theirs, shape, training):
    for module in (own, theirs):
        module.train(training)
    with torch.no_grad():
        for k, (mine, other) in enumerate(zip(own.parameters(), theirs.parameters(), strict=True)):
            mine.copy_(torch.linspace(0.5, 1.5, 12) * (k + 1))
            other.copy_(mine)
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(1)) * 3 + 2
    y = x.clone()
    out = []
    for module, data in ((own, x.requires_grad_()), (theirs, y.requires_grad_())):
        value = module(data)
        (value * torch.linspace(-1, 1, 12)).square().sum().backward()
        out.append([value, data.grad, *(p.grad for p in module.parameters()), *module.buffers()])
        module.zero_grad()
    for mine, other in zip(*out, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


def test_softmax_and_its_gradient_equal_those_of_torch():
    x = torch.randn(6, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    x[0, 3:] = -torch.inf
    weights = torch.randn(6, 9, dtype=torch.float64)
    gradients = []
    for function in (row_softmax, lambda z: torch.softmax(z, -1)):
        leaf = x.clone().requires_grad_()
        value = function(leaf)
        torch.testing.assert_close(value, torch.softmax(x, -1))
        (value * weights).sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("n", [0, 1, 1023, 1024, 2047, 2048, 5000, 3_000_000])
def test_total_is_the_sum(n):
    x = torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(total(x), x.sum())
    assert total(x.view(-1, 1)).dim() == 0
