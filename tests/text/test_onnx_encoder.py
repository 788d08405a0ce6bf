"""A sentence encoder in an ONNX file, with a model and a tokenizer made here."""

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tamis.schema import ConfigError, MissingExtraError, TextConfig, VersionError, parse_config
from tamis.text import OnnxEncoder, TextEncoder, declared_width, load_text_encoder, text_encoder


@pytest.fixture
def folder(tmp_path, write_model, write_tokenizer) -> Path:
    made = tmp_path / "encoder"
    made.mkdir()
    write_tokenizer(made)
    write_model(made / "model.onnx")
    return made


def unit(rows) -> np.ndarray:
    rows = np.array(rows, np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


TEXTS = pl.Series(["Red shoe", "blue", None, " ", "red unknown coffee"])


def test_vectors_are_the_mean_of_the_tokens(folder):
    encoder = OnnxEncoder(folder).fit(TEXTS)
    assert isinstance(encoder, TextEncoder)
    expected = [[2, 1, 1], [0, 1, 1], [0, 0, 0], [0, 0, 0], [1, 0, -1]]
    np.testing.assert_allclose(encoder.encode(TEXTS), unit(expected), atol=1e-6)
    assert encoder.width == 3
    assert encoder.encode(TEXTS.clear()).shape == (0, 3)


def test_batches_do_not_change_the_vectors(folder, monkeypatch):
    expected = OnnxEncoder(folder).encode(TEXTS)
    monkeypatch.setattr("tamis.text.onnx_encoder.BATCH", 2)
    np.testing.assert_allclose(OnnxEncoder(folder).encode(TEXTS), expected, atol=1e-6)


def test_pooling_by_the_first_token_and_texts_that_are_cut(folder):
    first = OnnxEncoder(folder, pooling="first").encode(TEXTS)
    np.testing.assert_allclose(first, unit([[0, 0, 1]] * 2 + [[0, 0, 0]] * 2 + [[0, 0, 1]]))
    cut = OnnxEncoder(folder, max_tokens=2).encode(TEXTS)  # [CLS] and one word
    np.testing.assert_allclose(cut[0], unit([[1, 0, 1]])[0], atol=1e-6)


def test_a_model_that_pools_itself(folder, write_model):
    write_model(folder / "model.onnx", pooled=True)
    found = OnnxEncoder(folder, max_tokens=3).encode(TEXTS[:2])
    # texts of one batch are padded, so the last token of the shorter text is the padding
    np.testing.assert_allclose(found, unit([[1, 1, 0], [9, 9, 9]]), atol=1e-6)


def test_a_saved_encoder_needs_no_other_file(folder, tmp_path, write_model):
    (folder / "model.onnx").unlink()
    write_model(
        folder / "onnx" / "model.onnx",
        ("input_ids", "attention_mask", "token_type_ids"),
        save_as_external_data=True,
        location="model.onnx_data",
        size_threshold=8,
    )
    encoder = OnnxEncoder(folder, pooling="first", max_tokens=7)
    expected = encoder.encode(TEXTS)
    encoder.save(tmp_path / "saved")
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            file.unlink()
    opened = load_text_encoder(tmp_path / "saved")
    assert opened.config == encoder.config
    np.testing.assert_array_equal(opened.encode(TEXTS), expected)
    (tmp_path / "saved" / "model.onnx_data").unlink()
    with pytest.raises(VersionError, match=r"saved is missing or damaged.*model.onnx"):
        load_text_encoder(tmp_path / "saved")


def test_the_encoder_that_a_project_declares(folder, tmp_path):
    config = TextConfig(columns=("title",), encoder="encoder", max_tokens=9)
    made = text_encoder(config, tmp_path)
    assert (made.name, made.config.max_tokens, declared_width(config, tmp_path)) == ("onnx", 9, 3)
    missing = TextConfig(columns=("title",), encoder="ngram")
    with pytest.raises(ConfigError, match=r'encoder = "ngram": neither "ngrams" nor a folder.*Did'):
        text_encoder(missing, tmp_path)


def test_options_of_the_other_encoder_are_refused():
    def declared(**text):
        return {
            "name": "x",
            "events": {"path": "e.csv"},
            "items": {"path": "i.csv", "text": {"columns": ["title"], **text}},
            "behaviours": {"click": {"positive": True}},
            "cascade": {"channels": {"hot": {}}, "rank": {"use": "lr"}},
        }

    with pytest.raises(
        ConfigError, match=r"width = 64 has no effect: it needs encoder = \"ngrams\""
    ):
        parse_config(declared(encoder="folder", width=64))
    with pytest.raises(
        ConfigError, match=r"pooling = 'first' has no effect: it needs encoder other"
    ):
        parse_config(declared(pooling="first"))


def test_errors(folder, monkeypatch, write_model, write_tokenizer):
    with pytest.raises(ConfigError, match=r"'no folder' is not a folder: give the folder"):
        OnnxEncoder("no folder").encode(TEXTS)
    write_model(folder / "model.onnx", ("input_ids", "position_ids"))
    with pytest.raises(ConfigError, match=r"has the inputs position_ids; a sentence encoder reads"):
        OnnxEncoder(folder).fit(TEXTS)
    (folder / "model.onnx").write_bytes(b"garbage")
    with pytest.raises(ConfigError, match=r"model.onnx cannot be opened: .* Export it again"):
        OnnxEncoder(folder).fit(TEXTS)
    write_model(folder / "model.onnx")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"tokenizer.json is no tokenizer: "):
        OnnxEncoder(folder).fit(TEXTS)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match=r"has no tokenizer.json: give the folder"):
        OnnxEncoder(folder).fit(TEXTS)
    write_tokenizer(folder)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingExtraError, match=r'pip install "tamis\[text\]"'):
        OnnxEncoder(folder).fit(TEXTS)
