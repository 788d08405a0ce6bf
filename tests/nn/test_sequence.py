"""Sequence encoders against definitions: attention by loops, causality, padding, empty rows."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.nn import (
    ByteDropout,
    GRUEncoder,
    SelfAttention,
    TransformerEncoder,
    causal_mask,
    last_state,
    masked_mean,
    time_buckets,
)

DIM = 8


def generator():
    return torch.Generator().manual_seed(5)


def transformer(**options):
    model = TransformerEncoder(DIM, dropout=0.3, generator=generator(), **options)
    for weight in model.parameters():  # zeros would hide what the biases and gates do
        if not weight.any():
            torch.nn.init.normal_(weight, generator=generator())
    return model.eval()


ENCODERS = {
    "causal": lambda: transformer(positions=6),
    "full": lambda: transformer(causal=False),
    "swiglu-gated": lambda: transformer(swiglu=True, gated=True, heads=4),
    "time": lambda: transformer(time_bias=True, positions=6),
    "time-full": lambda: transformer(time_bias=True, causal=False),
    "gru": lambda: GRUEncoder(DIM, layers=2, hidden=5, generator=generator()).eval(),
}
CAUSAL = ["causal", "swiglu-gated", "time", "gru"]


def moments(shape, seed=0):
    """Event times of (B, L) events, and the query time of each state: the next event's."""
    random = np.random.default_rng(seed)
    times = torch.from_numpy(np.cumsum(random.integers(1, 10**9, (shape[0], shape[1] + 1)), 1))
    return times[:, :-1], times[:, 1:]


def states(model, x, lengths, times=None, query_time=None, **options):
    """The encoder's states; an encoder without a time bias is given no times."""
    with torch.inference_mode():
        if getattr(model, "time_bias", False):
            return model(x, lengths, times, query_time, **options)
        return model(x, lengths, **options)


@pytest.mark.parametrize("causal", [True, False])
def test_attention_is_the_definition(causal):
    layer = SelfAttention(DIM, 2, causal=causal, time_bias=True, generator=generator())
    torch.nn.init.normal_(layer.time_bias, generator=generator())
    x = torch.randn(1, 4, DIM, generator=generator())
    times, query_time = moments((1, 4))
    buckets = time_buckets(query_time.unsqueeze(2), times.unsqueeze(1))
    with torch.no_grad():
        found = layer(x, None, buckets)
        q, k, v = layer.inputs(x[0]).chunk(3, -1)
        mixed = torch.zeros(4, DIM)
        for head in range(2):
            part = slice(4 * head, 4 * head + 4)
            for t in range(4):
                keys = range(t + 1) if causal else range(4)
                weights = []
                for s in keys:
                    elapsed = max(0, int(query_time[0, t] - times[0, s])) / 1000
                    bucket = min(63, int(math.log1p(elapsed) / 0.301))
                    score = float(q[t, part] @ k[s, part]) / 2 + float(
                        layer.time_bias[bucket, head]
                    )
                    weights.append(math.exp(score))
                for s, weight in zip(keys, weights, strict=True):
                    mixed[t, part] += weight / sum(weights) * v[s, part]
        torch.testing.assert_close(found[0], layer.output(mixed), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [True, False])
def test_the_fast_path_is_the_biased_path_with_a_zero_bias(causal):
    plain = SelfAttention(DIM, 2, causal=causal, generator=generator())
    biased = SelfAttention(DIM, 2, causal=causal, time_bias=True, generator=generator())
    x = torch.randn(3, 5, DIM, generator=generator())
    visible = torch.tensor([5, 2, 1]).unsqueeze(1) > torch.arange(5)
    times, query_time = moments((3, 5))
    buckets = time_buckets(query_time.unsqueeze(2), times.unsqueeze(1))
    for mask in (None, visible):
        torch.testing.assert_close(plain(x, mask), biased(x, mask, buckets), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("visible", [None, torch.tensor([5, 2, 1]).unsqueeze(1) > torch.arange(5)])
def test_gradients_are_those_of_autograd(visible):
    """The layer's own backward pass, its time bias's included, against torch's attention."""
    layer = SelfAttention(DIM, 2, time_bias=True, generator=generator())
    torch.nn.init.normal_(layer.time_bias, generator=generator())
    x = torch.randn(3, 5, DIM, generator=generator(), requires_grad=True)
    times, query_time = moments((3, 5))
    buckets = time_buckets(query_time.unsqueeze(2), times.unsqueeze(1))
    weights, found = [x, *layer.parameters()], layer(x, visible, buckets)
    q, k, v = layer.inputs(x).view(3, 5, 3, 2, 4).permute(2, 0, 3, 1, 4)
    mask = causal_mask(5) if visible is None else causal_mask(5) & visible[:, None, None]
    bias = layer.time_bias[buckets].permute(0, 3, 1, 2).masked_fill(~mask, -torch.inf)
    mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    wanted = layer.output(mixed.transpose(1, 2).reshape(3, 5, DIM))
    torch.testing.assert_close(found, wanted)
    ours = torch.autograd.grad(found.square().sum(), weights)
    theirs = torch.autograd.grad(wanted.square().sum(), weights)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CAUSAL)
def test_a_later_event_never_changes_an_earlier_state(name):
    model, (times, query_time) = ENCODERS[name](), moments((2, 6))
    x, lengths = torch.randn(2, 6, DIM, generator=generator()), torch.tensor([6, 6])
    before = states(model, x, lengths, times, query_time)
    for t in range(1, 6):
        x2, times2, asked2 = x.clone(), times.clone(), query_time.clone()
        x2[:, t:] = torch.randn(2, 6 - t, DIM)
        times2[:, t + 1 :] += 10**10
        asked2[:, t:] += 10**10
        after = states(model, x2, lengths, times2, asked2)
        torch.testing.assert_close(after[:, :t], before[:, :t])
        assert (after[:, t] - before[:, t]).abs().max() > 1e-3


@pytest.mark.parametrize("name", ENCODERS)
@settings(max_examples=12, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=5),
    more=st.integers(0, 9),
    seed=st.integers(0, 99),
)
def test_padding_changes_nothing(name, lengths, more, seed):
    """Any amount and value of padding on either side; a row alone equals the row in a batch."""
    model, random = ENCODERS[name](), torch.Generator().manual_seed(seed)
    n, width = len(lengths), max(lengths) + more
    size = torch.tensor(lengths)
    rows = [torch.randn(k, DIM, generator=random) for k in lengths]
    times, query_time = moments((n, 6), seed)
    right = torch.full((n, width, DIM), torch.nan)
    left = torch.full((n, width, DIM), torch.nan)
    right_times, left_times = torch.zeros(2, n, width, dtype=torch.long)
    right_asked, left_asked = torch.zeros(2, n, width, dtype=torch.long)
    for b, (row, k) in enumerate(zip(rows, lengths, strict=True)):
        right[b, :k], left[b, width - k :] = row, row
        right_times[b, :k], left_times[b, width - k :] = times[b, :k], times[b, :k]
        right_asked[b, :k], left_asked[b, width - k :] = query_time[b, :k], query_time[b, :k]
    by_right = states(model, right, size, right_times, right_asked)
    by_left = states(model, left, size, left_times, left_asked, padding="left")
    for b, (row, k) in enumerate(zip(rows, lengths, strict=True)):
        alone = states(
            model, row[None], torch.tensor([k]), times[b : b + 1, :k], query_time[b : b + 1, :k]
        )[0]
        torch.testing.assert_close(by_right[b, :k], alone, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(by_left[b, width - k :], alone, rtol=1e-4, atol=1e-5)
        assert not by_right[b, k:].any()
        assert not by_left[b, : width - k].any()
    for pool in (last_state, masked_mean):
        pooled = pool(by_right, size)
        for b, k in enumerate(lengths):
            assert bool(pooled[b].any()) == (k > 0)
            if k:
                wanted = by_right[b, k - 1] if pool is last_state else by_right[b, :k].mean(0)
                torch.testing.assert_close(pooled[b], wanted)


def test_buckets_of_time():
    hour = 3_600_000
    query_time = torch.tensor([0, 500, 1000, hour, 24 * hour, 10**15, 5])
    found = time_buckets(query_time, torch.tensor([0, 0, 0, 0, 0, 0, 10**6]))
    day = int(math.log(86_401) / 0.301)
    assert found.tolist() == [0, 1, 2, int(math.log(3601) / 0.301), day, 63, 0]


def test_a_batch_without_rows_or_columns_is_legal():
    for name, make in ENCODERS.items():
        for shape in ((0, 4), (0, 0), (3, 0)):
            times, query_time = torch.zeros(2, *shape, dtype=torch.long)
            lengths = torch.zeros(shape[0], dtype=torch.long)
            found = states(make(), torch.zeros(*shape, DIM), lengths, times, query_time)
            assert found.shape == (*shape, DIM), name
            assert last_state(found, lengths).shape == (shape[0], DIM)


def test_impossible_shapes_and_missing_times_are_refused():
    with pytest.raises(ValueError, match="3 heads cannot split a width of 8"):
        TransformerEncoder(8, heads=3)
    with pytest.raises(ValueError, match="a row has 7 positions, but only 6"):
        ENCODERS["causal"]()(torch.zeros(1, 7, DIM), torch.tensor([7]))
    with pytest.raises(ValueError, match="needs `times` and `query_time`"):
        ENCODERS["time"]()(torch.zeros(1, 2, DIM), torch.tensor([2]))


def test_weights_come_from_the_generator_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = [ENCODERS[n]() for n in ("causal", "gru")]
    second = [ENCODERS[n]() for n in ("causal", "gru")]
    assert torch.equal(torch.get_rng_state(), before)
    for a, b in zip(first, second, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_dropout_by_bytes():
    """Rate, scale and independence are those of dropout; the gradient is the mask."""
    torch.manual_seed(3)
    layer, x = ByteDropout(0.25), torch.ones(500, 203, requires_grad=True)
    y = layer(x)
    assert y.detach().unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert float((y.detach() == 0).float().mean()) == pytest.approx(0.25, abs=0.006)
    kept = (y.detach() > 0).float()
    assert abs(float(torch.corrcoef(torch.stack([kept[:, 0], kept[:, 8]]))[0, 1])) < 0.2
    (grad,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(grad, y.detach())
    assert layer(x.bfloat16()).dtype == torch.bfloat16
    assert layer.eval()(x) is x
    assert not torch.equal(layer.train()(x), y)
