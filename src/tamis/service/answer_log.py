"""Writes answers to the journal in a thread of its own: no answer waits for a disk."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Sequence
from math import isfinite

from tamis.journal import Journal, Recommendation, Recommended
from tamis.schema import StoreError
from tamis.service.answer import Answer

log = logging.getLogger("tamis.service")

FLUSH = 5.0
"""Seconds that a question for an earlier answer waits for those that are being written."""
WAITING = 10_000
"""Answers that may wait to be written; more are counted as lost, so that memory stays bounded."""


class AnswerLog:
    """Takes answers with the journal's position that they took into account, and writes them."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._waiting: queue.Queue[Recommendation | threading.Event | None] = queue.Queue(WAITING)
        self.lost = 0
        """Answers that could not be written."""
        self._thread = threading.Thread(target=self._run, name="answers", daemon=True)
        self._thread.start()

    def add(self, answer: Answer, position: int) -> None:
        """Queues an answer; `position`: number of the last entry that it took into account."""
        try:
            self._waiting.put_nowait(_entry(answer, position))
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
            self._write([one for one in batch if isinstance(one, Recommendation)])
            for one in batch:
                if isinstance(one, threading.Event):
                    one.set()
            ending = None in batch

    def _write(self, answers: Sequence[Recommendation]) -> None:
        try:
            if answers:
                self._journal.answers.append(answers)
        except Exception as error:  # whatever it is: the thread must go on for later answers
            self._lose(len(answers), f"{type(error).__name__}: {error}")

    def _lose(self, answers: int, why: str) -> None:
        self.lost += answers
        log.warning("%d answers were not written to the journal: %s", answers, why)


def _entry(answer: Answer, position: int) -> Recommendation:
    return Recommendation(
        recommendation_id=answer.recommendation_id,
        time=answer.time,
        user_id=answer.user_id,
        version=answer.version,
        position=position,
        slate=[
            Recommended(p.item_id, p.place, p.score if isfinite(p.score) else None)
            for p in answer.items
        ],
        degraded=list(answer.degraded),
        session_id=answer.session_id,
        scene=answer.scene,
    )
