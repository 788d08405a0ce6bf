"""Every kind of damage to every file of a trained version is a VersionError that names the place;
versions of other releases open."""

import json
import logging
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tamis.bundle import MANIFEST, Kind, Manifest, Version, Versions, files_of
from tamis.schema import VersionError
from tamis.service import FORMATS, STORED_CONFIG, Parts, Recommender
from tamis.service.assembly import part_readers, read_config, read_part

PROJECTS = ("ratings", "simulated")
DEFAULTED: dict[str, set[str]] = {
    "config.json": {
        *("seed", "features", "windows", "clock", "split", "tasks", "users", "items", "repeats"),
        *("time_zone", "holidays", "groups", "follows", "keep_versions", "answers", "journal"),
        *("serve", "update", "gate", "online", "metrics", "layers", "experiments"),
    },
    "estimator.json": {"chosen", "squares", "scales"},
    "recipes.json": {"published", "groups", "pairs"},
    "space.json": {
        *("statistics", "own", "distance", "calendar", "group_scales", "pair_scales", "position"),
        "category_vocabularies",
    },
    "filter.json": {"facts"},
    "index.json": {"lists", "probes", "rescored", "k", "recall", "target"},
}
"""File name → top-level keys that may be absent: with a default, or not in earlier releases."""


def fixed_clock() -> int:
    """A fixed "now" in ms."""
    return 1_900_000_000_000


@pytest.fixture(scope="module", params=PROJECTS)
def version(request, tmp_path_factory) -> Version:
    """A copy of the project's serving version; each test restores the files that it damages."""
    source = request.getfixturevalue(request.param)
    folder = tmp_path_factory.mktemp("damaged") / "project"
    shutil.copytree(source, folder)
    return Versions(folder).current(Kind.SERVING)


def on_disk(version: Version) -> list[Path]:
    """The files of a version except its manifest."""
    return [version.path / relative for relative in sorted(version.manifest.files)]


@contextmanager
def damaged(file: Path, content: bytes | None) -> Iterator[None]:
    """The file with another content (None: removed) during a block."""
    whole = file.read_bytes()
    try:
        file.unlink() if content is None else file.write_bytes(content)
        yield
    finally:
        file.write_bytes(whole)


def found(step: Callable[[], Any], name: str) -> bool:
    """Whether a step raises a VersionError that names a file and says what to do."""
    try:
        step()
    except VersionError as error:
        return name in str(error) and "`tamis" in str(error)
    return False


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def damages(content: bytes) -> dict[str, bytes | None]:
    """Each kind of damage → the content of the damaged file."""
    size = len(content)
    return {
        "removed": None,
        "emptied": b"",
        "truncated": content[: size // 2],
        "a bit flipped at the start": flipped(content, 0),
        "a bit flipped in the middle": flipped(content, size // 2),
        "a bit flipped at the end": flipped(content, size - 1),
    }


def test_any_damage_to_any_file_is_found_when_the_version_is_opened(version):
    count, missed = 0, []
    for file in [*on_disk(version), version.path / MANIFEST]:
        relative = str(file.relative_to(version.path))
        # The manifest lists one file only, so that each damage does not check all of them again.
        listed = version.manifest.files.get(relative)
        alone = Version(version.path, replace(version.manifest, files={relative: listed}))
        versions = Versions(version.path.parent.parent)
        step = partial(Parts.open, alone) if listed else partial(versions.current, Kind.SERVING)
        for kind, content in damages(file.read_bytes()).items():
            with damaged(file, content):
                if not found(step, file.name):
                    missed.append((relative, kind))
                count += 1
    assert not missed
    assert count >= 500
    Parts.open(version)


def test_opening_checks_every_file_of_the_manifest(version):
    for relative in ("rank/estimator.json", "state/histories/item.npy", STORED_CONFIG):
        file = version.path / relative
        flip = damaged(file, flipped(file.read_bytes(), 300))
        with flip, pytest.raises(VersionError, match=relative):
            Recommender(version)


def test_damage_to_the_pointer_is_found(version):
    versions = Versions(version.path.parent.parent)
    pointer = versions.root / "serving"
    for content in (None, b"", b"\xff\xfe\0", b"../..", b"nosuch", pointer.read_bytes()[:9]):
        with damaged(pointer, content), pytest.raises(VersionError, match="tamis"):
            versions.current(Kind.SERVING)


# Below, the checksums are not verified: the readers of the parts must find the damage themselves.


@pytest.fixture(scope="module")
def open_part(version) -> Callable[[Path], Any]:
    """Opens the one part that a file of the version belongs to."""
    readers = part_readers(read_config(version))

    def open_it(file: Path) -> Any:
        relative = str(file.relative_to(version.path))
        if relative == STORED_CONFIG:
            return read_config(version)
        (part,) = (p for p in readers if relative == p or relative.startswith(f"{p}/"))
        return read_part(version.path / part, readers[part])

    return open_it


def wrong_types(value: Any) -> list[Any]:
    """JSON values of another type than `value`."""
    return [other for other in ("text", 3, [3], {"a": 3}) if not isinstance(other, type(value))]


def test_readers_find_damage_in_json(version, open_part):
    count, missed = 0, []
    files = [f for f in on_disk(version) if f.suffix == ".json"]
    for file in files:
        saved = json.loads(file.read_bytes())
        bad: dict[str, Any] = {"truncated": file.read_bytes()[:-20], "not JSON": b"\x93NUMPY"}
        bad["another type"] = b"3"
        defaulted = DEFAULTED.get(file.name, set())
        if isinstance(saved, dict):
            for key, value in saved.items():
                rest = {k: v for k, v in saved.items() if k != key}
                if key not in defaulted:
                    bad[f"without {key}"] = json.dumps(rest).encode()
                if value is not None and not isinstance(value, bool | float):
                    other = wrong_types(value)[0]
                    bad[f"{key} = {other}"] = json.dumps({**saved, key: other}).encode()
        for kind, content in bad.items():
            with damaged(file, content):
                if not found(partial(open_part, file), file.name):
                    missed.append((str(file.relative_to(version.path)), kind))
                count += 1
    assert not missed
    assert count >= 150


def test_readers_accept_what_other_releases_write_in_json(version, open_part):
    for file in on_disk(version):
        saved = json.loads(file.read_bytes()) if file.suffix == ".json" else None
        if isinstance(saved, dict):
            for key in DEFAULTED.get(file.name, set()) & set(saved):
                rest = {k: v for k, v in saved.items() if k != key}
                with damaged(file, json.dumps(rest).encode()):
                    open_part(file)
            if file.name != "exposure.json":
                with damaged(file, json.dumps({**saved, "added_later": 1}).encode()):
                    open_part(file)


def other_arrays(array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Arrays of another type, number of dimensions and number of columns."""
    other = np.float64 if array.dtype != np.float64 else np.float32
    texts = array.dtype.kind == "U"
    yield "another type", np.zeros(array.shape) if texts else array.astype(other)
    yield "one dimension more", array[None]
    if array.ndim > 1:
        yield "one dimension", array.ravel()
    yield "text", np.full(array.shape, "a" if not texts else "another")


def npy(array: np.ndarray, path: Path) -> bytes:
    np.save(path, array)
    return path.read_bytes()


def test_readers_find_damage_in_arrays(version, open_part, tmp_path):
    count, missed = 0, []
    # one file of each name and kind of folder: vocabularies, for example, are all read alike, and
    # so are history2.npy and history3.npy
    arrays = [f for f in on_disk(version) if f.suffix == ".npy"]
    alike = {(f.parent.parent.name, re.sub(r"\d+", "", f.name)): f for f in arrays}
    files = sorted(alike.values())
    for file in files:
        whole, array = file.read_bytes(), np.load(file)
        bad = {kind: npy(a, tmp_path / "other.npy") for kind, a in other_arrays(array)}
        bad |= {"truncated": whole[:-1], "longer": whole + b"\0", "header only": whole[:20]}
        bad["not an array"] = b"PK\x03\x04" + whole[4:]
        for kind, content in bad.items():
            with damaged(file, content):
                if not found(partial(open_part, file), file.name):
                    missed.append((str(file.relative_to(version.path)), kind))
                count += 1
    assert not missed
    assert count >= 200


def test_readers_find_damage_in_tables_and_models(version, open_part):
    count, missed = 0, []
    for file in on_disk(version):
        if file.suffix in (".json", ".npy", ".onnx"):
            continue  # a ranker whose engine is damaged is scored by PyTorch, and reports it
        whole = file.read_bytes()
        for content in (b"garbage" * 40, whole[: len(whole) // 2], b""):
            with damaged(file, content):
                if not found(partial(open_part, file), file.name):
                    missed.append((str(file.relative_to(version.path)), content[:8]))
                count += 1
    assert not missed
    assert count >= 18


def test_a_newer_format_of_a_part_is_refused(version):
    for part, number in FORMATS.items():
        formats = {**version.manifest.formats, part: number + 1}
        newer = Version(version.path, replace(version.manifest, formats=formats, files={}))
        found = rf"part {part} is in format {number + 1}.*upgrade tamis"
        with pytest.raises(VersionError, match=found):
            Parts.open(newer)
    # Earlier releases can read the features where there are no statistics by attributes, features
    # of own items or features of the request's context, and scorers that an update has not changed.
    new = bool(read_config(version).groups)
    own = {"features": 2 if new else 1, "rank": 1, "prerank": 1}
    assert version.manifest.formats == {**FORMATS, **own}
    unknown = replace(version.manifest, formats={**FORMATS, "journal": 9}, files={})
    Parts.open(Version(version.path, unknown))


# Versions of other releases


@pytest.fixture
def copied(version, tmp_path) -> Version:
    """A version to rewrite."""
    folder = tmp_path / "project" / "versions" / version.name
    shutil.copytree(version.path, folder)
    return Version(folder, version.manifest)


def rewritten(version: Version, **changes: Any) -> Version:
    """The version with a manifest of its present files."""
    manifest = replace(version.manifest, files=files_of(version.path), **changes)
    manifest.write(version.path / MANIFEST)
    return reopened(version)


def reopened(version: Version) -> Version:
    return Version(version.path, Manifest.read(version.path / MANIFEST))


def test_added_and_removed_keys_of_the_configuration_open(copied, caplog):
    file = copied.path / STORED_CONFIG
    saved = json.loads(file.read_text())
    expected = [p.item_id for p in Recommender(copied, clock=fixed_clock).recommend(None).items]
    added = ("added", "events.added", "cascade.added", "cascade.merge.added", "split.added")
    for place in added:
        section = saved
        *path, key = place.split(".")
        for name in path:
            section = section[name]
        section[key] = {"nested": 1}
    first = next(iter(saved["cascade"]["channels"]))
    behaviour = next(iter(saved["behaviours"]))
    saved["behaviours"][behaviour]["added"] = 1
    saved["cascade"]["channels"][first]["added_option"] = 2
    saved["cascade"]["rank"]["added_option"] = 3
    for feature in saved["features"]:
        feature["added"] = 4
    for task in saved["tasks"].values():
        task["added"] = 5
    for name in ("windows", "seed"):
        del saved[name]
    saved["cascade"]["merge"].pop("limit")
    file.write_text(json.dumps(saved))
    with caplog.at_level(logging.WARNING):
        recommender = Recommender(rewritten(copied, code="9.8.7"), clock=fixed_clock)
    warnings = [r.getMessage() for r in caplog.records if "does not know" in r.getMessage()]
    assert len(warnings) == 1
    assert "written by Tamis 9.8.7" in warnings[0]
    places = (
        *added,
        f"behaviours.{behaviour}.added",
        f"cascade.channels.{first}.added_option",
        "cascade.rank.added_option",
    )
    for place in places:
        assert place in warnings[0]
    assert [p.item_id for p in recommender.recommend(None).items] == expected
    assert recommender.recommend(recommender.parts.users.ids[3], n=5).items


def test_parts_that_do_not_fit_together_are_found(copied):
    """Where every file is whole, but one is that of another version."""
    for table in ("users", "items"):
        file = copied.path / "tables" / f"{table}.parquet"
        whole = file.read_bytes()
        pl.read_parquet(file).head(7).write_parquet(file)
        with pytest.raises(
            VersionError, match=rf"{table}.parquet is damaged: it has 7 rows, .* ha"
        ):
            Recommender(rewritten(copied))
        file.write_bytes(whole)
    file = copied.path / STORED_CONFIG
    saved = json.loads(file.read_text())
    saved["cascade"]["fusion"] = "nosuch * 2"
    file.write_text(json.dumps(saved))
    with pytest.raises(VersionError, match=r"config.json is .* unknown name 'nosuch'"):
        Recommender(rewritten(copied))


def test_unknown_keys_and_a_missing_checksum_of_the_manifest(copied, caplog):
    file = copied.path / MANIFEST
    saved = json.loads(file.read_text())
    former = {k: v for k, v in saved.items() if k not in ("checksum", "formats")}
    file.write_text(json.dumps({**former, "format": 1, "added": 1}))
    with caplog.at_level(logging.WARNING):
        Recommender(reopened(copied))
    assert "ignoring unknown keys" in caplog.text
    assert "added" in caplog.text
    file.write_text(json.dumps({**former, "format": 2}))
    with pytest.raises(VersionError, match="differs from its checksum"):
        reopened(copied)


def test_files_that_the_manifest_does_not_list_are_ignored(copied):
    (copied.path / "filters" / "seen" / "other.npy").write_bytes(b"garbage")
    (copied.path / "notes.txt").write_text("mine")
    assert Recommender(copied).recommend(None, n=3).items
