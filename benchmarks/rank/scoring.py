"""One request's 500 candidates scored by MMoE with DIN: the engine beside plain PyTorch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from benchmarks.rank._naive import Naive
from numpy.typing import NDArray

from tamis.features import Block, DenseColumn, IdColumn, Layout, Rows, TableRange
from tamis.rank import Gather, MMoE, RequestNetwork
from tamis.rank._network import Network
from tamis.schema import Side

PROTOCOL = (
    "mmoe (4 experts 256-128-64, 4 tasks with a tower of 64, embeddings of 16) with din (64-32) "
    "over 50 past items; 8 user and 8 item id fields, 16 user and 32 candidate numbers; 500 "
    "candidates a request, one thread. engine: `logits(rows)` of a ranker opened from its folder, "
    "gathering included; naive: PyTorch eager in inference mode on the same weights, the user "
    "repeated, its batch of ids made beforehand and not counted; hoisted: PyTorch on the engine's "
    "own form. Each request is scored by all three in turn, their answers compared; p50 and p99 "
    "over the requests"
)
CANDIDATES, PAST, DIM, ITEMS = 500, 50, 16, 200_000
REQUESTS, WARM_UP = 400, 40
TASKS = ["click", "like", "cart", "purchase"]
SIZES = [1_000, 500, 100, 50, 20, 10, 7]
"""Values of the fields beside the item's (or user's) own id."""


def run(seed: int, data: Path | None, say: Callable[[str], None]) -> dict[str, float]:
    """Milliseconds per request of all three, and `ratio_p50`: the engine's over the naive one's."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    layout = _layout()
    model = _trained(layout, rng, seed)
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "rank")
        opened = MMoE.load(Path(folder) / "rank")
        network = model.model
        assert isinstance(network, Network)
        sides = _Sides(layout, network)
        ways = {"engine": opened.logits, "naive": sides.naive, "hoisted": sides.hoisted}
        took, apart = _race(ways, sides, layout, rng)
    result = {f"{way}_{p}_ms": float(np.percentile(t, q)) for way, t in took.items() for p, q in
              (("p50", 50), ("p99", 99))}  # fmt: skip
    for way in ways:
        say(f"{way}: p50 {result[f'{way}_p50_ms']:.2f} ms, p99 {result[f'{way}_p99_ms']:.2f} ms")
    say(f"largest difference of a logit from the naive one's: {apart:.1e}")
    return {
        **result,
        "largest_difference": apart,
        "ratio_p50": result["engine_p50_ms"] / result["naive_p50_ms"],
    }


def _race(
    ways: dict[str, Callable[[Rows], NDArray[np.float32]]],
    sides: _Sides,
    layout: Layout,
    rng: np.random.Generator,
) -> tuple[dict[str, list[float]], float]:
    """Milliseconds of each way per request, and the largest difference between their answers."""
    took: dict[str, list[float]] = {way: [] for way in ways}
    apart, order = 0.0, list(ways)
    for number in range(WARM_UP + REQUESTS):
        rows = _request(layout, rng, 1, CANDIDATES)
        sides.prepare(rows)
        answers = {}
        for way in order:
            start = perf_counter()
            answers[way] = ways[way](rows)
            if number >= WARM_UP:
                took[way].append(1000 * (perf_counter() - start))
        order = [*order[1:], order[0]]
        apart = max(apart, *(float(np.abs(a - answers["naive"]).max()) for a in answers.values()))
    return took, apart


class _Sides:
    """The two ways by PyTorch."""

    def __init__(self, layout: Layout, network: Network) -> None:
        self._gather = Gather(layout, network)
        self._form = RequestNetwork(layout, network).eval()
        names = [c.name for c in layout.ids if not c.ragged]
        self._naive = Naive(network, names.index("item")).eval()
        past = next(c for c in layout.ids if c.ragged)
        single = [c.first for c in layout.ids if not c.ragged]
        self._columns = torch.tensor([*single, *range(past.first, past.first + past.width)])
        self._pad = network.inputs.pads[0]

    def prepare(self, rows: Rows) -> None:
        """Makes the naive way's batch, outside its time."""
        batch = rows.take(torch.arange(len(rows)))
        ids = batch.ids[:, self._columns].long()
        self._batch = ids, batch.dense, ids[:, -PAST:] != self._pad

    def naive(self, rows: Rows) -> NDArray[np.float32]:
        with torch.inference_mode():
            return self._naive(*self._batch).numpy()

    def hoisted(self, rows: Rows) -> NDArray[np.float32]:
        given = self._gather.user(rows, 0) | self._gather.candidates(rows, None)
        with torch.inference_mode():
            return self._form(*(torch.from_numpy(given[k]) for k in self._form.names)).numpy()


def _layout() -> Layout:
    sizes = {"user": 50_000, "item": ITEMS}
    sizes |= {f"{side}_{k}": size for side in sizes for k, size in enumerate(SIZES)}
    tables, start = [], 0
    for name, size in sizes.items():
        tables.append(TableRange(name, start, size + 2))
        start += size + 2
    users = [name for name in sizes if name.startswith("user")]
    items = [name for name in sizes if name.startswith("item")]
    ids = [IdColumn(name, Side.USER, name, k) for k, name in enumerate(users)]
    ids.append(IdColumn("clicked", Side.USER, "item", len(users), PAST, "mean", True))
    after = len(users) + PAST
    ids += [IdColumn(name, Side.ITEM, name, after + k) for k, name in enumerate(items)]
    dense = (
        DenseColumn("user numbers", Side.USER, 0, 16),
        DenseColumn("item numbers", Side.ITEM, 16, 24),
        DenseColumn("cross numbers", Side.CROSS, 40, 8),
    )
    return Layout(tuple(tables), tuple(ids), dense)


def _request(layout: Layout, rng: np.random.Generator, users: int, n: int) -> Rows:
    """n candidates of random users, as the cascade hands them over."""

    def ids(side: Side, count: int) -> NDArray[np.int32]:
        parts = [
            layout.table[c.table].start
            + rng.integers(2, layout.table[c.table].size, (count, c.width))
            for c in layout.ids
            if c.side is side
        ]
        return np.concatenate(parts, 1).astype(np.int32)

    def numbers(side: Side, count: int) -> NDArray[np.float32]:
        width = sum(c.width for c in layout.dense if c.side is side)
        return rng.normal(size=(count, width)).astype(np.float32)

    items = 2 * n
    blocks = [
        Block(ids(Side.USER, users), numbers(Side.USER, users),
              rng.integers(0, users, n).astype(np.int32)),
        Block(ids(Side.ITEM, items), numbers(Side.ITEM, items),
              rng.permutation(items)[:n].astype(np.int32)),
        Block(np.empty((n, 0), np.int32), numbers(Side.CROSS, n)),
    ]  # fmt: skip
    return Rows(layout, blocks, n)


def _trained(layout: Layout, rng: np.random.Generator, seed: int) -> MMoE:
    """One short epoch on noise: scoring costs what it costs, whatever the weights."""
    rows = _request(layout, rng, 256, 4096)
    labels = (rng.random((len(rows), len(TASKS))) < 0.3).astype(np.float32)
    rows = Rows(layout, rows.blocks, len(rows), labels)
    model = MMoE(
        embedding_dim=DIM, hidden_units=(256, 128, 64), sequence="din", epochs=1, seed=seed
    )
    return model.fit(rows, tasks=TASKS)
