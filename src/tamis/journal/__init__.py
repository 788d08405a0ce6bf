"""The ordered, durable log of a running service: events, changes of users and items, answers."""

from tamis.journal.address import JOURNAL, open_journal
from tamis.journal.embedded import EmbeddedJournal
from tamis.journal.entries import (
    Entry,
    Event,
    ItemHide,
    ItemShow,
    Recommendation,
    Recommended,
    Value,
    key_of,
)
from tamis.journal.protocol import Appended, Durability, Journal, Numbered

__all__ = [
    "JOURNAL",
    "Appended",
    "Durability",
    "EmbeddedJournal",
    "Entry",
    "Event",
    "ItemHide",
    "ItemShow",
    "Journal",
    "Numbered",
    "Recommendation",
    "Recommended",
    "Value",
    "key_of",
    "open_journal",
]
