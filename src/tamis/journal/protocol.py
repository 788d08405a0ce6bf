"""The contract of a journal: ordered, durable, idempotent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from tamis.journal.entries import Entry, ExperimentStep, Recommendation
from tamis.schema import StoreError


class Appended(NamedTuple):
    """What became of one entry."""

    sequence: int
    """Its sequence number; of a duplicate, the number of the entry that was first."""
    duplicate: bool
    """True: an entry of the same key was there already, and this one was not written."""


class Numbered(NamedTuple):
    """An entry and its sequence number."""

    sequence: int
    entry: Entry


class NumberedAnswer(NamedTuple):
    """An answer and its number among the answers."""

    number: int
    answer: Recommendation


class Lines(NamedTuple):
    """Entries or answers as JSON, for jobs that read all of them and need a few fields of each."""

    content: bytes
    """One JSON object a line, in order, in UTF-8; empty where there is none."""
    last: int
    """Number of the last one; that after which was read where there is none."""


@dataclass(frozen=True)
class Durability:
    """What an acknowledged entry survives."""

    process_killed: bool
    """The service, or the server that holds the journal, is killed."""
    power_lost: bool
    """The machine that holds the journal loses its power."""
    text: str
    """The same in words, with what would have to be set for more."""


class Answers(Protocol):
    """The answers of a service, with numbers 1, 2, … of their own, the same for all readers.

    They are no part of the state: a service that catches up with the journal reads none of them.
    Every method may be called from any thread; failures are StoreError.
    """

    def append(self, answers: Sequence[Recommendation]) -> None:
        """Writes answers; they survive `kill -9`, and may be lost with the machine's power.

        Of two answers of one id, the first is kept.
        """
        ...

    def find(self, recommendation_id: str) -> Recommendation | None:
        """The answer of an id, or None."""
        ...

    def read(self, after: int, limit: int) -> list[NumberedAnswer]:
        """At most `limit` answers with numbers above `after`, in order."""
        ...

    def lines(self, after: int, limit: int, *, slates: bool = True) -> Lines:
        """The same answers as JSON. What makes them large (`trace`, `inputs`, `rejected`) may be
        left out, and `slate` where it is not needed (`slates`)."""
        ...

    @property
    def head(self) -> int:
        """The highest number that was ever given; 0 without answers."""
        ...

    def trim(self, before: int) -> int:
        """Deletes the answers that were written before a time (ms); returns how many."""
        ...

    def forget_user(self, user_id: str, before: int) -> int:
        """Deletes the answers of a user that do not take into account the entry of number `before`,
        which deletes the user; returns how many. Answers of a user who came back later stay."""
        ...


class ExperimentLog(Protocol):
    """The steps of all experiments, in order, the same for all readers: their audit trail.

    They are no part of the state that versions hold, and are never trimmed. Every method may be
    called from any thread; failures are StoreError.
    """

    @property
    def head(self) -> int:
        """Number of steps."""
        ...

    def read(self) -> list[ExperimentStep]:
        """All steps, the oldest first."""
        ...

    def append(self, step: ExperimentStep, after: int) -> bool:
        """Writes a step, durably, if there are exactly `after` steps; whether it was written.

        Two who decide at once on what they have read cannot both write.
        """
        ...


class JournalAwayError(StoreError):
    """The server of a journal does not answer: it may do so later."""


class Journal(Protocol):
    """An ordered log with sequence numbers 1, 2, …, the same for all readers.

    A number may be skipped; numbers never decrease and are never used twice. Every method may be
    called from any thread. Failures are StoreError, and then nothing of the call was acknowledged.
    """

    @property
    def durability(self) -> Durability:
        """What an entry survives once `append` has returned."""
        ...

    def append(self, entries: Sequence[Entry]) -> list[Appended]:
        """Writes the entries in their order; when it returns they are durable.

        Entries of a key (`key_of`) that the journal knows already, or that came before in
        `entries`, are not written again. Keys outlive their entries: see `forget_keys`.
        """
        ...

    def read(self, after: int, limit: int) -> list[Numbered]:
        """At most `limit` entries with numbers above `after`, in order."""
        ...

    def lines(self, after: int, limit: int) -> Lines:
        """The same entries as JSON (`encoded`)."""
        ...

    def find(self, key: str) -> Numbered | None:
        """The entry of a key (`key_of`), or None where it never came or was trimmed."""
        ...

    @property
    def head(self) -> int:
        """The highest sequence number that was ever given; 0 for a new journal."""
        ...

    @property
    def start(self) -> int:
        """The entries up to this number have been trimmed; 0: none."""
        ...

    def trim(self, upto: int) -> int:
        """Deletes the entries up to and including number `upto`; returns how many.

        Their keys stay known: an event that is sent again is a duplicate. Raises StoreError where
        `upto` is beyond `head`.
        """
        ...

    def forget_keys(self, before: int) -> int:
        """Forgets the keys of trimmed entries that were written before a time (ms); returns how
        many. An event of such a key that is sent again is a new event."""
        ...

    @property
    def answers(self) -> Answers:
        """The answers of the service, which this object closes."""
        ...

    @property
    def experiments(self) -> ExperimentLog:
        """The steps of the experiments, which this object closes."""
        ...

    def close(self) -> None:
        """Frees files and connections; everything acknowledged is durable already."""
        ...
