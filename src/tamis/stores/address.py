"""Opens a store by its address: files of the project, a Redis server, or a variable."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tamis.schema import ConfigError, MissingExtraError
from tamis.stores.embedded import EmbeddedLeftovers, EmbeddedRecall
from tamis.stores.protocols import Leftovers, RecallStore, RowIds

if TYPE_CHECKING:
    from tamis.stores.redis import Server

_FORMS = (
    'an address is "" (files in the project\'s folder), redis://host:port/db, rediss:// (TLS), '
    "unix:///path/of.sock, or env:NAME for a variable that holds one of these"
)


def open_recall(
    address: str, folder: Path, project: str, users: RowIds, items: RowIds
) -> RecallStore:
    """Opens the store of recalled lists and vectors of a project.

    Args:
        address: "" for files in the project's folder, `redis://host:port/db`, or `env:NAME`.
        folder: the project's folder.
        project: the project's name, the prefix of all keys on a shared server.
        users: the users of the version whose lists are read or written.
        items: its items.

    A server is contacted at the first read or write only.

    Raises:
        ConfigError: the address is invalid.
        MissingExtraError: the package redis is not installed.
    """
    url = _resolved(address)
    if not url:
        return EmbeddedRecall(folder / "stores" / "recall", len(users), len(items))
    server = _server(url, address)
    from tamis.stores.redis import RedisRecall

    return RedisRecall(server, project, users, items)


def open_leftovers(address: str, folder: Path, project: str, queue: str) -> Leftovers:
    """Opens the queues `queue` (the name of the channel that reads them); see `open_recall`."""
    url = _resolved(address)
    if not url:
        return EmbeddedLeftovers(folder / "stores" / "leftovers" / f"{queue}.sqlite")
    server = _server(url, address)
    from tamis.stores.redis import RedisLeftovers

    return RedisLeftovers(server, project, queue)


def _resolved(address: str) -> str:
    """The address; that in the variable NAME for `env:NAME`."""
    if not address.startswith("env:"):
        return address
    name = address.removeprefix("env:")
    if name not in os.environ:
        raise ConfigError(
            f"store = {address!r}: the variable {name} is not set; {_FORMS}. For instance: "
            f"export {name}=redis://127.0.0.1:6379/0"
        )
    return os.environ[name]


def _server(url: str, address: str) -> Server:
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss", "unix") or not (parts.hostname or parts.path):
        shown = url if address == url and "@" not in url else address.split("@")[-1]
        raise ConfigError(f"store = {shown!r}: not the address of a store; {_FORMS}")
    try:
        return _connected(url)
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        raise MissingExtraError(
            "a store on a Redis server needs the package redis, which is not installed: "
            'pip install "tamis[redis]"'
        ) from error


@cache
def _connected(url: str) -> Server:
    """One server per process and address: its connections and its pauses are shared."""
    from tamis.stores.redis import Server

    return Server(url)
