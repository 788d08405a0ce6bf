"""Writes answers to the journal in a thread of its own: no answer waits for a disk."""

from __future__ import annotations

import logging
import queue
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import isfinite
from typing import NamedTuple

import msgspec

from tamis.cascade import RankerInputs, drawn_rejections, recorded
from tamis.journal import Journal, Recommendation, Recommended
from tamis.schema import AnswersConfig, StoreError
from tamis.service.recommender import Answered
from tamis.service.request import Request

log = logging.getLogger("tamis.service")

FLUSH = 5.0
"""Seconds that a question for an earlier answer waits for those that are being written."""
TRACED = 100
"""Answers that may wait with their candidates; those that come while more wait have no trace."""
DELETED = 10_000
"""Latest deletions of users that are known to the writer: their earlier answers may still wait."""
REJECTED = 10
"""Most items of an answer that each stage rejected which are kept."""
REJECTED_BYTES = 500
"""Most bytes that the ids of a stage's rejected items take; ids may have 1,024 characters."""
WAITING = 10_000
"""Answers that may wait to be written; more are counted as lost, so that memory stays bounded."""


class AnswerLog:
    """Takes answers with the journal's position that they took into account, and writes them."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._waiting: queue.Queue[_Waiting | threading.Event | None] = queue.Queue(WAITING)
        self._deleted: OrderedDict[str, int] = OrderedDict()
        self._writing = threading.Lock()
        self.lost = 0
        """Answers that could not be written."""
        self._thread = threading.Thread(target=self._run, name="answers", daemon=True)
        self._thread.start()

    def add(self, answered: Answered, position: int, keep: AnswersConfig) -> None:
        """Queues an answer.

        Args:
            position: number of the last entry that it took into account.
            keep: the shares of answers with a trace, the ranker's inputs and rejected items.
        """
        drawn = zlib.crc32(answered.answer.recommendation_id.encode("utf-8", "replace")) / 2**32
        few = self._waiting.qsize() < TRACED
        one = _Waiting(
            _entry(answered, position),
            answered if few and drawn < max(keep.traces, keep.rejected) else None,
            drawn < keep.traces,
            drawn < keep.rejected,
            _inputs(answered) if few and drawn < keep.inputs else None,
        )
        try:
            self._waiting.put_nowait(one)
        except queue.Full:
            self._lose(1, "the journal is too slow")

    def flush(self) -> None:
        """Waits until the answers added so far are written. Raises StoreError after a while."""
        done = threading.Event()
        try:
            self._waiting.put(done, timeout=FLUSH)
        except queue.Full:
            done = threading.Event()
        if not done.wait(FLUSH):
            raise StoreError(
                f"answers wait for the journal for more than {FLUSH:g} seconds: see the log for "
                "what holds it up, and try again"
            )

    def forget_user(self, user_id: str, before: int) -> None:
        """From now on writes no answer to a user that does not take into account the entry of
        number `before`, which deletes the user; waits for those that are being written."""
        with self._writing:
            self._deleted[user_id] = before
            self._deleted.move_to_end(user_id)
            if len(self._deleted) > DELETED:
                self._deleted.popitem(last=False)

    def close(self) -> None:
        """Writes what waits and ends the thread."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        ending = False
        while not ending:
            batch = [self._waiting.get()]
            while not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            self._write([one for one in batch if isinstance(one, _Waiting)])
            for one in batch:
                if isinstance(one, threading.Event):
                    one.set()
            ending = None in batch

    def _write(self, answers: Sequence[_Waiting]) -> None:
        try:
            complete = [one.complete() for one in answers]
            with self._writing:
                kept = [one for one in complete if self._is_kept(one)]
                if kept:
                    self._journal.answers.append(kept)
        except Exception as error:  # whatever it is: the thread must go on for later answers
            self._lose(len(answers), f"{type(error).__name__}: {error}")

    def _is_kept(self, answer: Recommendation) -> bool:
        return answer.position >= self._deleted.get(answer.user_id or "", 0)

    def _lose(self, answers: int, why: str) -> None:
        self.lost += answers
        log.warning("%d answers were not written to the journal: %s", answers, why)


class _Waiting(NamedTuple):
    """An answer that waits to be written."""

    entry: Recommendation
    answered: Answered | None
    """What its trace and its rejected items are made of; None: it has neither."""
    traced: bool
    """Whether it has a trace."""
    rejecting: bool
    """Whether it has rejected items."""
    inputs: RankerInputs | None
    """What the ranker read; None: it is not kept."""

    def complete(self) -> Recommendation:
        """The entry with its trace, what was rejected and what the ranker read."""
        trace, inputs, rejected = None, None, {}
        try:
            answered = self.answered
            if answered is not None and self.traced:
                trace = recorded(
                    answered.cascade, answered.outcome, answered.excluded, answered.new_ids
                )
            if answered is not None and self.rejecting:
                rejected = _rejected(answered)
            if self.inputs is not None:
                inputs = self.inputs.encoded()
        except Exception:  # the answer itself must not be lost with its trace
            log.exception("answer %s is written without its trace", self.entry.recommendation_id)
        return msgspec.structs.replace(self.entry, trace=trace, inputs=inputs, rejected=rejected)


def _rejected(answered: Answered) -> dict[str, list[str]]:
    """Stage → ids of items that it rejected, drawn at random; none of an unknown user, and none
    where fewer candidates than usual took part."""
    if not answered.answer.known or answered.effort < 1:
        return {}
    drawn = drawn_rejections(answered.cascade, answered.outcome, REJECTED)
    return {stage: _short(map(answered.id_of, rows.tolist())) for stage, rows in drawn.items()}


def _short(ids: Iterable[str]) -> list[str]:
    """The first of the ids, as many as take `REJECTED_BYTES`."""
    listed = list(ids)
    sizes = accumulate(len(one.encode("utf-8", "replace")) for one in listed)
    return [one for one, size in zip(listed, sizes, strict=True) if size <= REJECTED_BYTES]


def _inputs(answered: Answered) -> RankerInputs | None:
    """A copy of what the ranker read: the next events change it in place."""
    outcome = answered.outcome
    try:
        if outcome.rows is not None:
            return RankerInputs.read(outcome.rows, outcome.preranked.item)
    except Exception:  # the answer goes on without them
        log.exception(
            "answer %s is written without what the ranker read", answered.answer.recommendation_id
        )
    return None


_NOT_KEPT = ("user_id", "recommendation_id", "session_id", "scene", "explain", "why_not")
"""Fields of a request that an explanation does not need, or that the answer has itself."""


def _entry(answered: Answered, position: int) -> Recommendation:
    answer, fields = answered.answer, msgspec.structs.asdict(answered.request)
    default = Request()
    return Recommendation(
        recommendation_id=answer.recommendation_id,
        time=answer.time,
        user_id=answer.user_id,
        version=answer.version,
        position=position,
        delta=answer.delta,
        slate=[
            Recommended(p.item_id, p.place, p.score if isfinite(p.score) else None, p.propensity)
            for p in answer.items
        ],
        degraded=list(answer.degraded),
        broken_rules=list(answer.broken_rules),
        session_id=answer.session_id,
        scene=answer.scene,
        arms=dict(answer.arms),
        teams=list(answer.teams),
        took_ms=answer.took_ms,
        request={
            name: value
            for name, value in fields.items()
            if name not in _NOT_KEPT and value != getattr(default, name)
        },
    )
