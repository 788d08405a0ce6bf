"""Every option of [items.text] has an effect on the column of vectors of a project."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import tamis
from tamis.onboarding import examine
from tamis.schema import TextConfig
from tamis.service import ItemTexts

PROJECT = """
name = "shop"
[events]
path = "events.csv"
[items]
path = "items.csv"
[behaviours.click]
positive = true
[cascade.channels.content]
[cascade.rank]
use = "lr"
[items.text]
columns = ["title"]
"""
ITEMS = """item_id,title,about
a,red shoe,warm red coffee
b,Blue Shoe,
c,coffee coffee,blue
d,,red red red
"""
VALUES = {
    "columns": '["title", "about"]',
    "name": '"words"',
    "encoder": '"encoder"',
    "unit": '"words"',
    "lengths": "[3, 3]",
    "projection": '"random"',
    "width": "3",
    "pooling": '"first"',
    "max_tokens": "2",
}


@pytest.fixture
def project(write_model, write_tokenizer):
    """`project(folder, **options)`: an untrained project with an encoder in its folder."""

    def make(folder: Path, **options: str) -> tamis.Project:
        opened = write_project(folder, options)
        write_model(folder / "encoder" / "model.onnx")
        write_tokenizer(folder / "encoder")
        return opened

    return make


def write_project(folder: Path, options: dict[str, str]) -> tamis.Project:
    lines = [f"{key} = {value}\n" for key, value in options.items() if key != "columns"]
    text = PROJECT.replace('["title"]', options.get("columns", '["title"]')) + "".join(lines)
    folder.mkdir()
    (folder / "tamis.toml").write_text(text, "utf-8")
    (folder / "items.csv").write_text(ITEMS, "utf-8")
    events = [f"u{k % 3},{item},{1_600_000_000 + k}" for k, item in enumerate("abcdabcd")]
    (folder / "events.csv").write_text("user_id,item_id,time\n" + "\n".join(events) + "\n", "utf-8")
    return tamis.open(folder)


@pytest.mark.parametrize("option", TextConfig.model_fields)
def test_another_value_of_an_option_changes_the_vectors(option, tmp_path, project):
    base = {"encoder": '"encoder"'} if option in ("pooling", "max_tokens") else {}
    frames = [
        project(tmp_path / str(k), **given).data.items.frame
        for k, given in enumerate((base, base | {option: VALUES[option]}))
    ]
    plain, changed = (f.drop("title", "about").to_dict(as_series=False) for f in frames)
    assert plain != changed


def test_an_item_without_a_text_has_no_vector(tmp_path, project):
    assert project(tmp_path / "shop").data.items.frame["text_vector"].null_count() == 1
    both = project(tmp_path / "both", columns='["title", "about"]')
    assert both.data.items.frame["text_vector"].null_count() == 0


def test_a_sentence_encoder_of_a_project_is_stored_with_its_version(tmp_path, project):
    opened = project(tmp_path / "shop", encoder='"encoder"')
    text = opened.config.items.text
    texts = ItemTexts.of(opened.data.items, text, opened.text_encoder, seed=0)
    texts.save(tmp_path / "saved")
    shutil.rmtree(tmp_path / "shop")
    again = ItemTexts.load(tmp_path / "saved")
    np.testing.assert_array_equal(again.index.vectors, texts.index.vectors)
    item, score = again.index.search(again.encoder.encode(opened.data.items.frame["title"][:1]), 2)
    assert item[0].tolist() == [0, 1]
    assert score[0, 0] == pytest.approx(1)


def test_doctor_compares_the_width_of_a_declared_feature(tmp_path, project):
    feature = '\n[[features]]\nkind = "dense"\nname = "text_vector"\nwidth = {}\n'
    for width, found in ((3, False), (128, True)):
        opened = project(tmp_path / str(width), encoder='"encoder"')
        declared = opened.root / "tamis.toml"
        declared.write_text(declared.read_text("utf-8") + feature.format(width), "utf-8")
        whats = [f.what for f in examine(tamis.open(opened.root).config, opened.root)]
        assert any("3 numbers where the feature declares width=128" in w for w in whats) == found


def test_doctor_reports_an_encoder_that_cannot_be_opened(tmp_path, project):
    opened = project(tmp_path / "shop", encoder='"encoder"')
    (opened.root / "encoder" / "tokenizer.json").unlink()
    whats = [f.what for f in examine(opened.config, opened.root)]
    assert any("has no tokenizer.json: give the folder of a sentence encoder" in w for w in whats)
