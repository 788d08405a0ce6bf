"""Texts as vectors of a sentence encoder in a local ONNX file."""

from __future__ import annotations

import json
import shutil
from functools import cached_property
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.runtime import Float32, threads
from tamis.schema import (
    Component,
    ConfigError,
    MissingExtraError,
    OnnxTextConfig,
    known_options,
    read_json,
    reading,
)
from tamis.text.protocols import ABOUT

MODEL, TOKENIZER = "model.onnx", "tokenizer.json"
BATCH = 64
"""Texts that the model encodes at once, of about the same length."""
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""Names of the model's inputs that are known, all (B, L) int64."""


class OnnxEncoder(Component):
    """Texts as unit vectors of a sentence encoder that was exported to ONNX.

    Reads a folder with `model.onnx` (or `onnx/model.onnx`) and `tokenizer.json`, as sentence
    encoders are published; nothing is downloaded. An output (B, d) is the vector; of an output
    (B, L, d), the vectors of the tokens are pooled. A saved encoder holds a copy of the files.

        OnnxEncoder("models/e5-small").encode(titles)

    Needs `tamis[text]` (the package tokenizers). Cost: that of the model, on the processor.

    Source: Reimers & Gurevych 2019, Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks.

    Raises ConfigError where files are missing or cannot be used, MissingExtraError without
    tokenizers; both when the encoder is first used.
    """

    name = "onnx"
    Config = OnnxTextConfig
    config: OnnxTextConfig

    def __init__(
        self, folder: Path | str, config: OnnxTextConfig | None = None, **options: Any
    ) -> None:
        super().__init__(config, **options)
        self.folder = Path(folder)

    @property
    def width(self) -> int:
        """Number of coordinates of a vector."""
        return self._width

    @cached_property
    def _width(self) -> int:
        last = self._session.get_outputs()[self._output].shape[-1]
        return last if isinstance(last, int) else self._encoded(["text"]).shape[1]

    def fit(self, texts: pl.Series, seed: int = 0) -> Self:
        """Opens the files; the model is used as it is. Returns self."""
        _ = self._tokenizer, self.width
        return self

    def encode(self, texts: pl.Series) -> Float32:
        """(n, width) float32 unit vectors of texts (n,); zero where a text is missing or blank.

        A text's vector depends on the other texts by rounding only.
        """
        out = np.zeros((len(texts), self.width), np.float32)
        plain = texts.cast(pl.String).fill_null("").str.strip_chars()
        length = plain.str.len_chars().to_numpy()
        order = np.argsort(length, kind="stable")
        order = order[length[order] > 0]
        for begin in range(0, len(order), BATCH):
            rows = order[begin : begin + BATCH]
            out[rows] = self._encoded(plain.gather(rows).to_list())
        return out

    def _encoded(self, texts: list[str]) -> Float32:
        """(B, d) unit vectors of texts."""
        tokens = self._tokenizer.encode_batch(texts)
        mask = np.array([t.attention_mask for t in tokens], np.int64)
        given = {
            "input_ids": np.array([t.ids for t in tokens], np.int64),
            "attention_mask": mask,
            "token_type_ids": np.array([t.type_ids for t in tokens], np.int64),
        }
        names = [tensor.name for tensor in self._session.get_inputs()]
        found = self._session.run(None, {name: given[name] for name in names})[self._output]
        vectors = self._pooled(np.asarray(found, np.float32), mask)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

    def _pooled(self, found: Float32, mask: NDArray[np.int64]) -> Float32:
        """(B, d) of the model's output (B, d) or (B, L, d)."""
        if found.ndim == 2:
            return found
        if self.config.pooling == "first":
            return found[:, 0]
        weight = mask[:, :, None].astype(np.float32)
        return (found * weight).sum(axis=1) / np.maximum(weight.sum(axis=1), 1.0)

    @cached_property
    def _files(self) -> tuple[Path, Path]:
        """The model's and the tokenizer's file."""
        folder = self.folder
        places = [folder / MODEL, folder / "onnx" / MODEL]
        model = next((place for place in places if place.is_file()), None)
        tokenizer = folder / TOKENIZER
        if model is None or not tokenizer.is_file():
            lacking = MODEL if model is None else TOKENIZER
            what = f"has no {lacking}" if folder.is_dir() else "is not a folder"
            raise ConfigError(
                f"text encoder {str(folder)!r} {what}: give the folder of a sentence encoder, with "
                f'{MODEL} and {TOKENIZER}, or "ngrams"'
            )
        return model, tokenizer

    @cached_property
    def _tokenizer(self) -> Any:
        path = self._files[1]
        try:
            from tokenizers import Tokenizer
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"the text encoder {str(self.folder)!r} needs the package tokenizers, which is not "
                'installed: pip install "tamis[text]"'
            ) from error
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises bare exceptions
            raise ConfigError(f"{path} is no tokenizer: {_line(error)}. Export it again") from error
        padding = cast("dict[str, Any]", tokenizer.padding or {})
        kept = {k: padding[k] for k in ("pad_id", "pad_token", "pad_type_id") if k in padding}
        tokenizer.enable_padding(**kept)  # to the longest text of a batch
        tokenizer.enable_truncation(self.config.max_tokens)
        return tokenizer

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        path = self._files[0]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads()
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises errors of many types
            raise ConfigError(
                f"{path} cannot be opened: {_line(error)}. Export it again"
            ) from error
        unknown = [t.name for t in session.get_inputs() if t.name not in INPUTS]
        if unknown:
            raise ConfigError(
                f"{path} has the inputs {', '.join(unknown)}; a sentence encoder reads some of "
                f"{', '.join(INPUTS)}"
            )
        return session

    @cached_property
    def _output(self) -> int:
        """Place of the output that is read: `sentence_embedding`, else the first one."""
        outputs = self._session.get_outputs()
        names = [tensor.name for tensor in outputs]
        place = names.index("sentence_embedding") if "sentence_embedding" in names else 0
        rank = len(outputs[place].shape)
        if rank not in (2, 3):
            raise ConfigError(
                f"{self._files[0]}: the output {names[place]} has {rank} dimensions; a sentence "
                "encoder returns (texts, d) or (texts, tokens, d)"
            )
        return place

    def save(self, directory: Path) -> None:
        """Writes a copy of the model, with its weights, and of the tokenizer."""
        model, tokenizer = self._files
        directory.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(model, directory / MODEL)
        shutil.copyfile(tokenizer, directory / TOKENIZER)
        for name in _weight_files(model):
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(model.parent / name, directory / name)
        about = {"name": self.name, "options": self.config.model_dump(mode="json")}
        (directory / ABOUT).write_text(json.dumps(about, indent=1), "utf-8")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Opens what `save` wrote. Raises VersionError where files are missing or damaged."""
        about = read_json(directory / ABOUT, options=dict)
        with reading(directory):
            encoder = cls(directory, **known_options(cls.Config, about["options"]))
            return encoder.fit(pl.Series([], dtype=pl.String))


def _weight_files(model: Path) -> list[str]:
    """Paths, relative to the model, of the files that hold its large tensors; usually none."""
    import onnx

    graph = onnx.load(str(model), load_external_data=False).graph
    found = {
        entry.value
        for tensor in graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return sorted(found)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(". ")
