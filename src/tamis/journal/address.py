"""Opens the journal of a project by its address: a file of the project, or a Redis server."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from tamis.journal.embedded import EmbeddedJournal
from tamis.journal.protocol import Journal
from tamis.schema import ConfigError, MissingExtraError

JOURNAL = Path("journal") / "journal.sqlite"
"""The file of an embedded journal, in the project's folder."""


def open_journal(
    folder: Path, project: str, address: str = "", *, may_be_away: bool = False
) -> Journal:
    """Opens a journal, which is made if it is not there.

    Args:
        folder: the project's folder.
        project: the project's name, the prefix of its keys on a server.
        address: "" for the file `journal/journal.sqlite` of the project, or `redis://host:port/db`.
        may_be_away: whether it is opened while the server does not answer; calls of it then raise
            JournalAwayError until the server does.

    Raises:
        ConfigError: the address is invalid.
        StoreError: the journal cannot be opened.
        MissingExtraError: the package redis is not installed.
    """
    if not address:
        return EmbeddedJournal(folder / JOURNAL)
    scheme = urlsplit(address).scheme
    if scheme not in ("redis", "rediss", "unix"):
        raise ConfigError(
            f"store = {address!r}: not the address of a journal. Leave it out for a file in the "
            "project's folder, or give redis://host:port/db, rediss:// (TLS) or unix:///path.sock"
        )
    try:
        from tamis.journal.redis import RedisJournal
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        raise MissingExtraError(
            "a journal on a Redis server needs the package redis, which is not installed: "
            'pip install "tamis[redis]"'
        ) from error
    return RedisJournal(address, project, may_be_away=may_be_away)
