"""Three thousand candidates pre-ranked by three towers: the time, and what survives the cut.

DATA: a trained project, which is judged as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from benchmarks.rank import BUILD, peak_mb, there

from tamis.bundle import Kind, Versions
from tamis.cascade import Candidates, Queries
from tamis.evaluate.prerank_agreement import agreement
from tamis.features import Rows
from tamis.jobs import simulate, train
from tamis.service import Recommender

PROTOCOL = (
    "`tamis simulate` (200,000 items, 50,000 users, 30 days), `tamis train` with the ranker deepfm "
    "and the pre-ranker three_tower, both with their defaults but one epoch, on the impressions of "
    "the last windows (`[split] windows = 2`), the ranker its teacher; three channels of "
    "1,500, merged to 3,000. Requests of random users with a history at the version's end, one "
    "after the other, one thread: p50 of `score_rows` of the pre-ranker on all candidates and of "
    "the ranker on the best 300, features made before. survive: of the ranker's best 20 (50) of "
    "all candidates, by fused value, the share that the cut to 300 lets through"
)
QUOTA, LIMIT, KEEP = 1500, 3000, 300
REQUESTS, WARM_UP = 300, 30
SPLIT = "[split]\nwindows = 2\n\n"
"""Of the log's last days: enough rows to learn from, and half the time."""
PRERANK = """[cascade.prerank]
use = "three_tower"
epochs = 1

"""
Say = Callable[[str], None]


def run(seed: int, data: Path | None, say: Say) -> dict[str, float]:
    """p50_ms, per_candidate_ratio, survive_top20, survive_top50 …"""
    project = there(data) or _made(seed, say)
    recommender = _widened(Recommender(Versions(project).current(Kind.SERVING)))
    users = _users(recommender, seed)
    took = _times(recommender, users, say)
    parts = (users[at : at + 16] for at in range(0, len(users), 16))
    found = agreement(recommender.cascade, (_queries(recommender, part) for part in parts))
    say(
        f"of the ranker's top 20 {found['survive@20']:.1%} survive the cut to {found['keep']} of "
        f"{found['candidates']:,.0f} candidates, of its top 50 {found['survive@50']:.1%}"
    )
    return {
        **took,
        "survive_top20": found["survive@20"],
        "survive_top50": found["survive@50"],
        "candidates": found["candidates"],
        "peak_mb": peak_mb(),
    }


def _made(seed: int, say: Say) -> Path:
    """The simulated project, its tables made once, trained anew with the seed."""
    project = BUILD / "prerank"
    if not (project / "tamis.toml").exists():
        say("simulating 200,000 items")
        simulate(project)
    declared = (project / "tamis.toml").read_text("utf-8")
    wanted = re.sub(r"\[cascade\.prerank\][^\[]*", PRERANK, declared)
    wanted = re.sub(r'(\[cascade\.rank\]\nuse = "deepfm")[^\[]*', r"\1\nepochs = 1\n\n", wanted)
    if "[split]" not in wanted:
        wanted = wanted.replace("[cascade]\n", SPLIT + "[cascade]\n", 1)
    wanted = re.sub(r"(?m)^seed = .*$", f"seed = {seed}", wanted, count=1)
    (project / "tamis.toml").write_text(wanted, "utf-8")
    began = perf_counter()
    told = train(project, only="serving")
    fits = {name: told.training[name]["seconds"] for name in ("rank", "prerank")}
    say(
        f"trained in {perf_counter() - began:.0f} s, of which the version's ranker "
        f"{fits['rank']:.0f} s and pre-ranker {fits['prerank']:.0f} s"
    )
    return project


def _widened(recommender: Recommender) -> Recommender:
    """Every channel brings `QUOTA`, the merge lets `LIMIT` through, pre-rank `KEEP`."""
    retrieval = recommender.cascade.retrieval
    channels = {
        name: channel.model_copy(update={"quota": QUOTA})
        for name, channel in retrieval.config.channels.items()
    }
    merge = retrieval.config.merge.model_copy(update={"limit": LIMIT})
    retrieval.config = retrieval.config.model_copy(
        update={"channels": channels, "merge": merge, "prerank_keep": KEEP}
    )
    return recommender


def _users(recommender: Recommender, seed: int) -> np.ndarray:
    """Rows of users with a history."""
    rows = np.arange(len(recommender.parts.users.ids), dtype=np.int32)
    now = np.full(len(rows), recommender.manifest.data_until, dtype=np.int64)
    known = rows[np.diff(recommender.parts.queries(rows, now).history.indptr) > 0]
    return np.random.default_rng(seed).choice(known, REQUESTS + WARM_UP, replace=False)


def _queries(recommender: Recommender, users: np.ndarray) -> Queries:
    now = np.full(len(users), recommender.manifest.data_until, dtype=np.int64)
    return recommender.parts.queries(users, now)


def _asked(recommender: Recommender, users: np.ndarray) -> Iterator[tuple[Candidates, Rows]]:
    """Each user's candidates and their inputs, as pre-rank meets them."""
    cascade = recommender.cascade
    for user in users:
        queries, candidates = cascade.retrieval.candidates(_queries(recommender, user[None]))
        yield candidates, cascade.hydrate(queries, candidates)


def _times(recommender: Recommender, users: np.ndarray, say: Say) -> dict[str, float]:
    """Milliseconds per request and stage, and what a candidate takes beside the ranker's."""
    cascade = recommender.cascade
    assert cascade.prerank is not None
    took: list[tuple[float, float, float]] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for candidates, rows in _asked(recommender, users):
        began = perf_counter()
        scores = cascade.prerank.score_rows(rows)
        before = perf_counter() - began
        value = cascade.fusion(candidates, dict(scores))
        best = rows.select(np.argsort(-value, kind="stable")[:KEEP])
        began = perf_counter()
        cascade.rank.score_rows(best)
        after = perf_counter() - began
        took.append((before, before / len(candidates), after / len(best)))
    torch.set_num_threads(threads)
    request, prerank, rank = np.percentile(np.array(took[WARM_UP:]), 50, axis=0)
    say(
        f"pre-rank takes {request * 1e3:.2f} ms a request, {prerank * 1e6:.2f} µs a candidate; "
        f"rank {rank * 1e6:.2f} µs a candidate"
    )
    return {
        "p50_ms": request * 1e3,
        "per_candidate_ratio": prerank / rank,
        "prerank_us": prerank * 1e6,
        "rank_us": rank * 1e6,
    }
