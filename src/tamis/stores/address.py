"""Which store an address means: "" beside the project, redis://… a server, env:NAME a variable."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tamis.schema import ConfigError, MissingExtraError
from tamis.stores.embedded import EmbeddedLeftovers, EmbeddedRecall
from tamis.stores.protocols import Leftovers, RecallStore

if TYPE_CHECKING:
    from tamis.stores.redis import Server

_FORMS = (
    'an address is "" (files in the project\'s folder), redis://host:port/db, rediss:// (TLS), '
    "unix:///path/of.sock, or env:NAME for a variable that holds one of these"
)


def open_recall(address: str, folder: Path, project: str) -> RecallStore:
    """The store of recalled lists and vectors of a project.

    address: "", `redis://host:port/db` or `env:NAME`; folder: the project's; project: its name,
    which begins every key on a shared server. A server is first spoken to when something is read.
    Raises ConfigError for an address that is none, MissingExtraError without redis-py.
    """
    url = _resolved(address)
    if not url:
        return EmbeddedRecall(folder / "stores" / "recall")
    server = _server(url, address)
    from tamis.stores.redis import RedisRecall

    return RedisRecall(server, project)


def open_leftovers(address: str, folder: Path, project: str, queue: str) -> Leftovers:
    """The queues named `queue` (the channel that reads them) of a project; see `open_recall`."""
    url = _resolved(address)
    if not url:
        return EmbeddedLeftovers(folder / "stores" / "leftovers" / f"{queue}.sqlite")
    server = _server(url, address)
    from tamis.stores.redis import RedisLeftovers

    return RedisLeftovers(server, project, queue)


def _resolved(address: str) -> str:
    """The address behind `env:NAME`."""
    if not address.startswith("env:"):
        return address
    name = address.removeprefix("env:")
    if name not in os.environ:
        raise ConfigError(
            f"store = {address!r}: the variable {name} is not set; {_FORMS}. For instance: "
            f"export {name}=redis://127.0.0.1:6379/0"
        )
    return os.environ[name]


def _server(url: str, said: str) -> Server:
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss", "unix") or not (parts.hostname or parts.path):
        shown = url if said == url and "@" not in url else said.split("@")[-1]
        raise ConfigError(f"store = {shown!r}: no store can be opened by that; {_FORMS}")
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
    """One server object a process and address: its connections and its rests are shared."""
    from tamis.stores.redis import Server

    return Server(url)
