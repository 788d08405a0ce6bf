"""tamis.toml: every fault is reported with its line, key, value and how to fix it."""

import json
from pathlib import Path
from typing import Any

import pytest

from tamis.schema import (
    ConfigError,
    ProjectConfig,
    dump_config,
    load_config,
    parse_config,
    read_stored_config,
    suggest,
    write_config,
)

GOOD = """\
name = "shop"
[events]
path = "events.csv"
value = "rating"
[items]
path = "items.csv"
id = "item_id"
[behaviours.like]
positive = true
min_value = 4
[behaviours.rate]
[[features]]
kind = "sparse"
name = "user_id"
[[features]]
kind = "varlen"
name = "history"
history = ["like"]
[tasks.like]
behaviour = ["like"]
[cascade.channels.itemcf]
quota = 100
neighbours = 5
[cascade.rank]
use = "deepfm"
hidden_units = [256, 128]
"""


def message(tmp_path: Path, text: str) -> str:
    path = tmp_path / "tamis.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load_config(path)
    return str(error.value)


def good() -> dict[str, Any]:
    import tomllib

    return tomllib.loads(GOOD)


def test_a_whole_file_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "tamis.toml").write_text(GOOD, encoding="utf-8")
    config = load_config(tmp_path)
    assert config.behaviours["like"].name == "like"
    assert config.cascade.channels["itemcf"].options == {"neighbours": 5}
    assert config.cascade.rank.options == {"hidden_units": [256, 128]}
    assert config.features[1].name == "history"


@pytest.mark.parametrize(
    ("old", "new", "line", "parts"),
    [
        (
            "[behaviours.rate]",
            "[behaviour.rate]",
            11,
            ["`behaviour`", "Did you mean `behaviours`?"],
        ),
        ('value = "rating"', 'valeu = "rating"', 4, ["`events.valeu`", "Did you mean `value`?"]),
        ("positive = true", "slate = 3", 9, ["`behaviours.like.slate`", "belongs in [cascade]"]),
        (
            "quota = 100",
            'quota = "many"',
            22,
            ['`cascade.channels.itemcf.quota` = "many"', "whole"],
        ),
        ("quota = 100", "quota = 0", 22, ["quota` = 0", "at least 1"]),
        ('id = "item_id"', "id = 7", 7, ["`items.id` = 7", "text in quotes"]),
        ('kind = "sparse"', 'kind = "sprse"', 12, ["`features[user_id].kind`", "mean `sparse`"]),
        ('name = "user_id"', 'name = "u"\nmincount = 2', 15, ["[u].mincount", "mean `min_count`"]),
        ('history = ["like"]', 'history = ["lik"]', 18, ['"lik" is not declared', "like, rate"]),
        ('behaviour = ["like"]', 'behaviour = ["x"]', 20, ["`tasks.like.behaviour`", '"x"']),
        ('name = "history"', 'name = "user_id"', 14, ['"user_id" is used more than once']),
        ("positive = true", "positive = false", 8, ["no behaviour is positive", "like, rate"]),
        ('value = "rating"', "", 8, ["`behaviours.like` has bounds", "`events.value`"]),
        ("min_value = 4", "", 11, ["`behaviours.rate` gets no event", "`like` comes before"]),
        ("min_value = 4", "min_value = 4\nmax_value = 3", 10, ["4 is above its `max_value` = 3"]),
        ("[tasks.like]", "[split]\nvalid_from = 0.95\n[tasks.like]", 20, ["0.95 must be less"]),
        ("[tasks.like]", "[split]\nwindows = 12\n[tasks.like]", 20, ["at most 8 fit"]),
        ('use = "deepfm"', "use = 3", 25, ["`cascade.rank.use` = 3"]),
    ],
)
def test_a_fault_is_reported(
    tmp_path: Path, old: str, new: str, line: int, parts: list[str]
) -> None:
    assert old in GOOD
    text = message(tmp_path, GOOD.replace(old, new, 1))
    assert "tamis.toml: 1 problem" in text
    assert f"line {line}: " in text
    for part in parts:
        assert part in text


def test_all_faults_are_listed_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = GOOD.replace('path = "items.csv"', "path = 1").replace("quota", "quota = 0 #")
    found = message(tmp_path, text.replace('name = "shop"\n', 'name = "shop"\nsed = 1\n'))
    assert "3 problems" in found
    assert found.index("`sed`") < found.index("items.path") < found.index("quota` = 0")


def test_missing_sections_say_what_to_add(tmp_path: Path) -> None:
    found = message(tmp_path, 'name = "shop"\n')
    for section in ("events", "behaviours", "cascade"):
        assert f"`{section}` is missing" in found


def test_without_a_table_of_items_the_section_may_be_absent(tmp_path: Path) -> None:
    section = '[items]\npath = "items.csv"\nid = "item_id"\n'
    assert section in GOOD
    (tmp_path / "tamis.toml").write_text(GOOD.replace(section, ""), "utf-8")
    items = load_config(tmp_path).items
    assert (items.path, items.id) == (None, "item_id")


def test_the_id_is_named_as_in_the_events_if_omitted(tmp_path: Path) -> None:
    text = GOOD.replace('id = "item_id"\n', "").replace("[items]", 'item = "sku"\n[items]')
    (tmp_path / "tamis.toml").write_text(text, "utf-8")
    assert load_config(tmp_path).items.id == "sku"


def test_roles_of_a_table_without_a_file_are_refused(tmp_path: Path) -> None:
    text = GOOD.replace('path = "items.csv"', 'category = "genre"')
    found = message(tmp_path, text.replace("[items]", '[users]\nid = "uid"\n[items]'))
    assert "`users.path` is missing" in found
    assert "`items.category` is given, but `items.path` names no table of items" in found


def test_keys_without_effect_are_refused(tmp_path: Path) -> None:
    head, stages = GOOD.split("[cascade.channels.itemcf]")
    cases = {
        head + '[users]\npath = "users.csv"\ntitle = "name"\n[cascade.channels.itemcf]' + stages: (
            "`users.title` has no effect: only items have it"
        ),
        GOOD + '[cascade.merge]\nnormalise = "zscore"\n': (
            '`cascade.merge.normalise` = "zscore" has no effect: a snake merge reads no scores'
        ),
        head + "[cascade]\nprerank_keep = 50\n[cascade.channels.itemcf]" + stages: (
            "`cascade.prerank_keep` = 50 has no effect without a pre-ranker"
        ),
        GOOD.replace("[events]", '[events]\nposition = "place"'): (
            '`events.position` = "place" has no effect: it is the place of an impression, and no '
            "behaviour is one"
        ),
        'windows = []\ngroups = ["own:genre"]\n' + GOOD: (
            "`groups` = ['own:genre'] has no effect: `windows` = [] means no statistics"
        ),
        GOOD.replace('name = "user_id"', 'name = "user_id"\nbuckets = 50'): (
            'buckets = 50 has no effect: it needs vocabulary = "hash"'
        ),
        GOOD.replace("[tasks.like]", '[tasks.like]\nkind = "regression"\nnegatives = 0.5'): (
            "negatives does not apply to a regression task (only binary): remove it"
        ),
    }
    for text, expected in cases.items():
        assert expected in message(tmp_path, text)


def test_a_stored_configuration_loses_keys_without_effect(tmp_path: Path) -> None:
    saved = good()
    saved["features"][0] |= {"buckets": 50, "embedding_dim": 8}  # as an earlier release wrote them
    (tmp_path / "config.json").write_text(json.dumps(saved), "utf-8")
    config, dropped = read_stored_config(tmp_path / "config.json")
    assert sorted(dropped) == ["features.0.buckets", "features.0.embedding_dim"]
    assert config.features[0].name == "user_id"


def test_an_experiment_named_plan_is_refused_in_the_file_but_not_in_a_version(
    tmp_path: Path,
) -> None:
    """The name was allowed in earlier releases: their versions still open."""
    data = good()
    one = {"control": "a", "goal": "click", "arms": {"a": {}, "b": {}}}
    data["experiments"] = {"plan": {"layer": "rerank", **one}}
    with pytest.raises(ConfigError, match=r"`experiments\.plan`: .* may not be named 'plan'"):
        parse_config(data)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(data), "utf-8")
    config, unknown = read_stored_config(file)
    assert (list(config.experiments), unknown) == (["plan"], [])


def test_invalid_toml_is_reported_with_its_line(tmp_path: Path) -> None:
    assert "line 2: path = events.csv" in message(tmp_path, "[events]\npath = events.csv\n")


def test_a_missing_file_points_to_init(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tamis init"):
        load_config(tmp_path)


def test_latin1_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tamis.toml").write_bytes('name = "café"'.encode("latin-1"))
    with pytest.raises(ConfigError, match="Save the file as UTF-8"):
        load_config(tmp_path)


def test_inline_lists_of_features_keep_their_lines(tmp_path: Path) -> None:
    inline = 'features = [\n  {kind = "sparse", name = "a"},\n  {kind = "dense", nam = "b"},\n]\n'
    found = message(tmp_path, inline + 'name = "x"\n')
    assert "line 3: `features[1].nam` is not a key" in found


def test_shares_must_lead_to_an_owner() -> None:
    data = good()
    data["features"] += [{"kind": "sparse", "name": "a", "shares": "nobody"}]
    with pytest.raises(ConfigError, match=r'`features\[a\].shares` = "nobody": must be another'):
        parse_config(data)
    data["features"][-1]["shares"] = "user_id"
    data["features"] += [{"kind": "sparse", "name": "b", "shares": "a"}]
    with pytest.raises(ConfigError, match="itself shares `user_id`"):
        parse_config(data)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"transform": "bucket"}, "needs ascending boundaries"),
        ({"transform": "bucket", "boundaries": [3, 1]}, "must be strictly ascending"),
        ({"boundaries": [1, 2]}, 'set transform = "bucket"'),
    ],
)
def test_boundaries(options: dict[str, Any], match: str) -> None:
    data = good()
    data["features"] += [{"kind": "dense", "name": "price", **options}]
    with pytest.raises(ConfigError, match=match):
        parse_config(data)


def test_suggest_is_empty_without_a_close_name() -> None:
    assert suggest("quoat", ["quota", "weight"]) == " Did you mean `quota`?"
    assert suggest("zzz", ["quota"]) == ""


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    config = parse_config(good())
    notes = {
        "": "the head",
        "behaviours.like": "the good ones",
        "cascade.channels.itemcf.quota": "how many",
        "features[history]": "the past",
        "cascade.rank": "the ranker",
    }
    write_config(config, tmp_path / "tamis.toml", notes)
    text = (tmp_path / "tamis.toml").read_text(encoding="utf-8")
    assert load_config(tmp_path) == config
    for note in notes.values():
        assert f"# {note}\n" in text
    assert text.startswith("# the head\n")
    assert text.index("# how many") == text.index("quota = 100") - len("# how many\n")
    assert not list(tmp_path.glob("*.part"))


def test_defaults_are_not_written() -> None:
    text = dump_config(parse_config(good()))
    assert "prerank_keep" not in text
    assert isinstance(parse_config(good()), ProjectConfig)
