"""The ordered, durable log of a running service: events, changes of users and items, answers."""

from tamis.journal.address import JOURNAL, open_journal
from tamis.journal.embedded import EmbeddedJournal
from tamis.journal.entries import (
    Cell,
    Entry,
    Event,
    ItemDelete,
    ItemHide,
    ItemPatch,
    ItemPut,
    ItemShow,
    Recommendation,
    Recommended,
    UserDelete,
    UserPatch,
    UserPut,
    Value,
    key_of,
)
from tamis.journal.protocol import Appended, Durability, Journal, Numbered

__all__ = [
    "JOURNAL",
    "Appended",
    "Cell",
    "Durability",
    "EmbeddedJournal",
    "Entry",
    "Event",
    "ItemDelete",
    "ItemHide",
    "ItemPatch",
    "ItemPut",
    "ItemShow",
    "Journal",
    "Numbered",
    "Recommendation",
    "Recommended",
    "UserDelete",
    "UserPatch",
    "UserPut",
    "Value",
    "key_of",
    "open_journal",
]
