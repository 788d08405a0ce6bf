"""The examples, by the commands of their READMEs, on little files of the same format."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
USERS, ITEMS = 120, 60


def walks(random):
    """Per user a walk through the items of a clan, most steps to the next one."""
    for u in range(USERS):
        place = random.integers(0, ITEMS // 3)
        steps = np.cumsum(random.integers(1, 3, random.integers(6, 12))) + place
        yield u, (steps % (ITEMS // 3)) * 3 + u % 3


def write_beauty(folder, random):
    lines = [f"{u + 1} " + " ".join(str(i + 1) for i in walk) for u, walk in walks(random)]
    (folder / "Beauty.txt").write_text("\n".join(lines) + "\n")
    attributes = {str(i + 1): [i % 3, 3 + i % 5] for i in range(ITEMS)}
    (folder / "Beauty_item2attributes.json").write_text(json.dumps(attributes))


def write_gowalla(folder, random):
    lists = {u: list(dict.fromkeys(walk.tolist())) for u, walk in walks(random)}
    for name, part in (("train", slice(0, -2)), ("test", slice(-2, None))):
        lines = [f"{u} " + " ".join(map(str, walk[part])) for u, walk in lists.items()]
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")


def write_foursquare(folder, random):
    rows: list[tuple[int, int, int]] = []
    for u, walk in walks(random):
        times = np.sort(random.integers(0, 10**6, len(walk)))
        rows += [(int(t), u, int(i)) for t, i in zip(times, walk, strict=True)]
    text = "".join(f"{u}\t{i}\t{1_333_447_200 + t}.0\n" for t, u, i in sorted(rows))
    (folder / "Foursquare_checkins.txt").write_text(text)
    places = [f"{i}\t{40 + i % 3 + i * 1e-3:.6f}\t{-73 - i % 3:.6f}\n" for i in range(ITEMS)]
    (folder / "Foursquare_poi_coos.txt").write_text("".join(places))


WRITERS = {
    "amazon-beauty": write_beauty,
    "gowalla": write_gowalla,
    "foursquare": write_foursquare,
}


def commands(name):
    """The `tamis` lines of an example's README, in words."""
    text = (EXAMPLES / name / "README.md").read_text("utf-8")
    (block,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [line.split()[1:] for line in block.splitlines() if line.startswith("tamis ")]


@pytest.fixture(scope="module", params=WRITERS)
def example(request, tmp_path_factory, tamis_cli):
    """An example's name, its project filled by its README's first command, and the others."""
    name = request.param
    given = tmp_path_factory.mktemp("given")
    WRITERS[name](given, np.random.default_rng(5))
    project = tmp_path_factory.mktemp("project") / name
    project.mkdir()
    declared = (EXAMPLES / name / "tamis.toml").read_text("utf-8")
    quick = declared.replace("channels.sasrec]", "channels.sasrec]\nepochs = 2")
    (project / "tamis.toml").write_text(quick, "utf-8")
    places = {"FOLDER": given, f"examples/{name}": project}
    fetch, *others = [[places.get(word, word) for word in line] for line in commands(name)]
    said = tamis_cli(*fetch)
    assert said.code == 0, said.err
    assert "no licence is stated" in said.out
    return name, project, others


def test_the_channels_are_evaluated(example, tamis_cli):
    _, project, others = example
    words = next(line for line in others if "channels" in line)
    said = tamis_cli(*words, "--json")
    assert said.code == 0, said.err
    told = said.json
    protocol = told["protocol"]
    wanted = words[words.index("--protocol") + 1] if "--protocol" in words else "time"
    assert protocol["name"] == wanted
    assert protocol["seen_masked"] == ("--keep-seen" not in words)
    names = list(told["channels"])
    for channel in told["channels"].values():
        assert 0 <= channel["hit@10"] <= channel["hit@50"] <= 1
        assert channel["users_per_second"] > 0
        assert channel["fit_seconds"] >= 0
        interval = channel["marginal"]
        assert interval["low"] <= interval["mean"] <= interval["high"]
        assert interval["mean"] <= told["merged"]["recall@limit"]
    best = max(told["channels"][n]["recall@50"] for n in names if n != "hot")
    assert told["merged"]["recall@limit"] >= best - 1e-9  # the merge holds every list whole
    matrix = np.array(told["overlap"]["matrix"])
    assert told["overlap"]["names"] == names
    assert (matrix == matrix.T).all()
    assert (np.diag(matrix) == 1).all()
    page = (project / "channels.html").read_text("utf-8")
    assert all(name in page for name in names)
    assert '<svg role="img"' in page
    assert protocol["words"] in page


def test_the_table_states_the_protocol(example, tamis_cli):
    _, project, _ = example
    said = tamis_cli("evaluate", "channels", project, "--protocol", "leave-one-out-refit")
    assert said.code == 0, said.err
    assert "Protocol: leave-one-out: the last event of each user, after a refit" in said.out
    assert "count as misses" in said.out
    assert "Overlap of the first 50 items" in said.out


def test_the_cascade_is_trained_and_answers(example, tamis_cli):
    name, _, others = example
    for words in others:
        if "channels" not in words:
            said = tamis_cli(*words)
            assert said.code == 0, (name, words, said.err)


def test_wrong_options_of_the_evaluation_of_channels_are_errors(ratings, tamis_cli):
    for words, told in (
        (["--protocol", "loo"], "give one of time, leave-one-out"),
        (["--protocol", "given"], "takes two event files"),
        (["--train", "a.csv", "--test", "b.csv"], "the others take none"),
        (["--protocol", "given", "--train", "a.csv", "--test", "b.csv"],
         "a.csv: there is no such file"),
    ):  # fmt: skip
        said = tamis_cli("evaluate", "channels", ratings, *words)
        assert said.code == 1
        assert told in " ".join(said.err.split())
