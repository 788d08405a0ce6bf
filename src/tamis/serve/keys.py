"""API keys: who may read, write and administer; stored as hashes, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, get_args

from tamis.schema import ConfigError, suggest

Scope = Literal["read", "write", "admin"]
"""read: answers and their explanation; write: events, users and items; admin: everything."""
SCOPES: tuple[Scope, ...] = get_args(Scope)
ENVIRONMENT = "TAMIS_KEYS"
"""Environment variable with the lines of a file of keys."""
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
HEAD = "# API keys of Tamis, one a line: NAME SCOPE,SCOPE SHA256-OF-THE-KEY\n"


@dataclass(frozen=True)
class StoredKey:
    """A key as it is stored."""

    name: str
    """For logs."""
    scopes: frozenset[Scope]
    digest: bytes
    """SHA-256 of the key, which is 256 random bits: a slow hash would protect it no better."""

    def allows(self, scope: Scope) -> bool:
        """Whether the key has a scope; admin has all."""
        return scope in self.scopes or "admin" in self.scopes


@dataclass(frozen=True)
class Keys:
    """The keys of a service."""

    keys: tuple[StoredKey, ...]

    def find(self, presented: str) -> StoredKey | None:
        """The key that a client presents, or None.

        Every stored key is compared, each in constant time, so that the time says nothing about
        which of them is close.
        """
        digest, found = _digest(presented), None
        for key in self.keys:
            if hmac.compare_digest(digest, key.digest):
                found = key
        return found

    @classmethod
    def parse(cls, lines: Iterable[str], place: str) -> Self:
        """Reads lines `NAME SCOPE,SCOPE SHA256`; empty lines and comments (#) are left out.

        Raises ConfigError naming `place` and the line at fault, and where there is no key.
        """
        keys: list[StoredKey] = []
        for number, line in enumerate(lines, start=1):
            text = line.partition("#")[0].strip()
            if text:
                keys.append(_stored(text, f"{place}, line {number}"))
        names = [key.name for key in keys]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"{place} has two keys of the name {name}: remove one of them")
        if not keys:
            raise ConfigError(f"{place} holds no key: add one by `tamis keys FILE --name web`")
        return cls(tuple(keys))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a file of keys. Raises ConfigError where it is missing or damaged."""
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{path}: the file of API keys cannot be read ({error}): `tamis keys {path} --name "
                "web` makes one"
            ) from error
        return cls.parse(text.splitlines(), str(path))


def keys_of(file: Path | None) -> Keys | None:
    """The keys of a file, else those of the environment; None where there are none."""
    if file is not None:
        return Keys.read(file)
    lines = os.environ.get(ENVIRONMENT, "")
    return Keys.parse(lines.splitlines(), ENVIRONMENT) if lines.strip() else None


def add_key(path: Path, name: str, scopes: Sequence[str]) -> str:
    """Makes a key, appends its hash to a file (created for its owner alone), and returns the key.

    Raises ConfigError for a name that is taken or not a word, and for an unknown scope.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"name = {name!r}: give 1 to 64 letters, digits, dots, - or _")
    for scope in scopes:
        _scope(scope, "scope")
    if not scopes:
        raise ConfigError(f"a key needs a scope: give one of {', '.join(SCOPES)}")
    known = Keys.read(path).keys if path.exists() and path.stat().st_size else ()
    if any(key.name == name for key in known):
        raise ConfigError(f"{path} has a key {name} already: choose another name, or remove it")
    key = f"tamis_{secrets.token_urlsafe(32)}"
    line = f"{name} {','.join(dict.fromkeys(scopes))} {_digest(key).hex()}\n"
    if known and not path.read_text("utf-8").endswith("\n"):  # as an editor may leave it
        line = "\n" + line
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a") as file:
        file.write(line if known else HEAD + line)
    return key


def _stored(text: str, place: str) -> StoredKey:
    parts = text.split()
    if len(parts) != 3 or not _NAME.fullmatch(parts[0]) or not _DIGEST.fullmatch(parts[2]):
        raise ConfigError(
            f"{place}: not a key: a line is NAME SCOPE,SCOPE SHA256; `tamis keys FILE --name web` "
            "adds one"
        )
    scopes: frozenset[Scope] = frozenset(_scope(word, place) for word in parts[1].split(","))
    return StoredKey(parts[0], scopes, bytes.fromhex(parts[2]))


def _scope(word: str, place: str) -> Scope:
    for scope in SCOPES:
        if word == scope:
            return scope
    raise ConfigError(
        f"{place}: {word!r} is no scope: give {', '.join(SCOPES)}.{suggest(word, SCOPES)}"
    )


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
