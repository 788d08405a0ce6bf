"""Makes the text encoder that a project declares, and opens a saved one."""

from __future__ import annotations

from pathlib import Path

from tamis.schema import TextConfig, VersionError, read_json
from tamis.text.ngrams import NGramEncoder
from tamis.text.protocols import ABOUT, TextEncoder

KINDS: dict[str, type[TextEncoder]] = {NGramEncoder.name: NGramEncoder}
"""Name of a kind → its class."""


def text_encoder(config: TextConfig, root: Path | str) -> TextEncoder:
    """The encoder that `[items.text]` declares, to be fitted.

    Args:
        config: the declaration.
        root: the project's folder.
    """
    return NGramEncoder(config.ngram_options)


def declared_width(config: TextConfig, root: Path | str) -> int:
    """Number of coordinates of the vectors that `[items.text]` declares."""
    return config.width


def load_text_encoder(directory: Path) -> TextEncoder:
    """Opens a saved encoder of any kind. Raises VersionError where it is missing or damaged."""
    name = read_json(directory / ABOUT, name=str)["name"]
    if name not in KINDS:
        raise VersionError(
            f"{directory / ABOUT}: {name!r} is no text encoder of this release, which has "
            f"{', '.join(KINDS)}: upgrade tamis"
        )
    return KINDS[name].load(directory)
