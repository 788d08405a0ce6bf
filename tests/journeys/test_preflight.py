"""What is wrong with a declaration in view of the data is found before anything is fitted."""

from pathlib import Path

import pytest

from tamis.jobs import doctor, train
from tamis.jobs._preflight import FITTED_CHANNELS, TRIED_CHANNELS
from tamis.schema import ConfigError
from tamis.service import registry


@pytest.fixture
def project(ratings_tables, tamis_cli, tmp_path) -> Path:
    folder = ratings_tables(tmp_path / "shop", users=60, items=40, each=12)
    assert tamis_cli("init", folder).code == 0
    return folder


def declare(project: Path, more: str = "", **replaced: str) -> None:
    path = project / "tamis.toml"
    text = path.read_text("utf-8")
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text + more, "utf-8")


FAULTS = {
    "a filter's default behaviour": (
        "[cascade.filters.bought]\n",
        ["[cascade.filters.bought]", "'purchase' is not declared"],
    ),
    "a filter's behaviour": (
        '[cascade.filters.hidden]\nbehaviours = ["dislike"]\n',
        ["[cascade.filters.hidden]", "'dislike' is not declared"],
    ),
    "a filter's column": (
        "[cascade.filters.out_of_stock]\n",
        ["[cascade.filters.out_of_stock]", "stock"],
    ),
    "a filter's column of the users": (
        '[cascade.filters.region]\ncolumn = "genres"\nuser_column = "land"\n',
        ["[cascade.filters.region]", "land"],
    ),
    "a rule's column": (
        '[cascade.rerank.at_most_two]\nuse = "at_most"\ncolumn = "brand"\n',
        ["[cascade.rerank.at_most_two]", "brand"],
    ),
    "a channel's role": ("[cascade.channels.geohash]\n", ["geohash", "latitude"]),
    "a channel's column": (
        '[cascade.channels.popular]\nuse = "hot"\nby = "category"\ncolumn = "brand"\n',
        ["popular", "brand"],
    ),
    "a channel's behaviour": (
        '[cascade.channels.sasrec]\nbehaviours = ["lik"]\n',
        ["[cascade.channels.sasrec]", "'lik' is not a declared behaviour", "Did you mean `like`"],
    ),
    "a pre-ranker's channel": (
        '[cascade.prerank]\nuse = "stored"\nchannel = "itemcf"\n',
        ["[cascade.prerank] channel = 'itemcf' has no vectors"],
    ),
    "a ranker's feature": (
        '[cascade.rank]\nuse = "wide_deep"\ncrosses = [["genres", "city"]]\n',
        ["[cascade.rank] crosses: 'city' is not a declared feature"],
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_doctor_and_train_find_it_before_the_first_fit(name, project, monkeypatch):
    more, texts = FAULTS[name]
    section = more[1 : more.index("]")]
    if section in ("cascade.prerank", "cascade.rank"):
        text = (project / "tamis.toml").read_text("utf-8")
        begin = text.index(f"[{section}]")
        end = text.index("\n[", begin)
        (project / "tamis.toml").write_text(text[:begin] + more + text[end:], "utf-8")
    else:
        declare(project, "\n" + more)
    errors = [f.what for f in doctor(project) if f.severity == "error"]
    assert len(errors) == 1, errors
    for text in texts:
        assert text in errors[0]
    monkeypatch.setattr("tamis.recall.neighbours.ItemCF.fit", None)  # nothing is fitted
    with pytest.raises(ConfigError) as caught:
        train(project)
    for text in texts:
        assert text in str(caught.value)


def test_all_faults_are_reported_together(project):
    declare(project, "\n[cascade.filters.bought]\n[cascade.filters.out_of_stock]\n")
    assert sum(f.severity == "error" for f in doctor(project)) == 2
    with pytest.raises(ConfigError, match=r"(?s)bought.*out_of_stock"):
        train(project)


def test_the_proposed_project_has_no_fault(project):
    assert not [f for f in doctor(project) if f.severity == "error"]


def test_a_column_without_a_value_in_the_sample_is_no_fault(project):
    """The first 2,000 items have no stock; later ones have."""
    lines = (project / "items.csv").read_text("utf-8").splitlines()
    rows = [f"{line}," for line in lines[1:]]
    rows += [f'x{k},"Film x{k}",Drama,' for k in range(2_000)] + ["y,Film y,Drama,5"]
    (project / "items.csv").write_text("\n".join([f"{lines[0]},stock", *rows]) + "\n", "utf-8")
    declare(project, "\n[cascade.filters.out_of_stock]\n")
    assert not [f for f in doctor(project) if f.severity == "error"]


def test_a_log_without_returning_users_is_found_by_doctor(project):
    rows = [f"u{k},m{k % 40},5,{1_600_000_000 + k}" for k in range(400)]
    text = "user_id,item_id,rating,timestamp\n" + "\n".join(rows) + "\n"
    (project / "events.csv").write_text(text, "utf-8")
    found = [f.what for f in doctor(project) if f.severity == "error"]
    assert any("windows before the test cut have users who return" in text for text in found)


def test_every_channel_is_tried_or_named_as_one_that_is_not():
    assert sorted((*TRIED_CHANNELS, *FITTED_CHANNELS)) == sorted(registry.modules("recall"))
