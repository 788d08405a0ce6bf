"""Makes the text encoder that a project declares, and opens a saved one."""

from __future__ import annotations

from pathlib import Path

from tamis.schema import NGRAMS, ConfigError, TextConfig, VersionError, read_json, suggest
from tamis.text.ngrams import NGramEncoder
from tamis.text.onnx_encoder import OnnxEncoder
from tamis.text.protocols import ABOUT, TextEncoder

KINDS: dict[str, type[TextEncoder]] = {
    NGramEncoder.name: NGramEncoder,
    OnnxEncoder.name: OnnxEncoder,
}
"""Name of a kind → its class."""


def text_encoder(config: TextConfig, root: Path | str) -> TextEncoder:
    """The encoder that `[items.text]` declares, to be fitted.

    Args:
        config: the declaration.
        root: the project's folder, to which the path of an encoder is relative.

    Raises ConfigError where `encoder` is neither "ngrams" nor a folder.
    """
    if config.encoder == NGRAMS:
        return NGramEncoder(config.ngram_options)
    folder = Path(root) / config.encoder
    if not folder.is_dir():
        raise ConfigError(
            f'[items.text] encoder = "{config.encoder}": neither "{NGRAMS}" nor a folder in '
            f"{root}.{suggest(config.encoder, [NGRAMS])} Give the folder of a sentence encoder, "
            "with model.onnx and tokenizer.json"
        )
    return OnnxEncoder(folder, config.onnx_options)


def declared_width(config: TextConfig, root: Path | str) -> int:
    """Number of coordinates of the vectors that `[items.text]` declares. Opens the model of a
    sentence encoder; raises as it does."""
    return config.width if config.encoder == NGRAMS else text_encoder(config, root).width


def load_text_encoder(directory: Path) -> TextEncoder:
    """Opens a saved encoder of any kind. Raises VersionError where it is missing or damaged."""
    name = read_json(directory / ABOUT, name=str)["name"]
    if name not in KINDS:
        raise VersionError(
            f"{directory / ABOUT}: {name!r} is no text encoder of this release, which has "
            f"{', '.join(KINDS)}: upgrade tamis"
        )
    return KINDS[name].load(directory)
