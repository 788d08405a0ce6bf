"""Versions: complete or absent, verified by checksum, published by a pointer."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tamis.bundle import Kind, Version, Versions
from tamis.schema import VersionError


def write(project: Path, kind: Kind = Kind.SERVING, text: str = "weights") -> Version:
    versions = Versions(project)
    with versions.write(kind) as draft:
        draft.data_until = 7
        draft.settings = {"rank": {"epochs": 3}}
        (draft.folder("rank") / "weights.bin").write_text(text)
    version = versions.open(draft.name)
    versions.publish(version)
    return version


@contextmanager
def files_no_larger_than(limit: int) -> Iterator[None]:
    """A real OSError in the middle of a write, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_written_version_is_opened_with_its_contents(tmp_path: Path) -> None:
    write(tmp_path)
    current = Versions(tmp_path).current(Kind.SERVING)
    assert current.manifest.data_until == 7
    assert current.manifest.settings == {"rank": {"epochs": 3}}
    assert (current.path / "rank" / "weights.bin").read_text() == "weights"
    current.verify()


def test_the_two_kinds_are_never_confused(tmp_path: Path) -> None:
    serving = write(tmp_path, Kind.SERVING)
    with pytest.raises(VersionError, match="no evaluation version yet: run `tamis train"):
        Versions(tmp_path).current(Kind.EVALUATION)
    evaluation = write(tmp_path, Kind.EVALUATION)
    assert Versions(tmp_path).current(Kind.SERVING).name == serving.name
    assert Versions(tmp_path).current(Kind.EVALUATION).name == evaluation.name


def test_two_versions_of_one_second_have_two_names(tmp_path: Path) -> None:
    names = {write(tmp_path).name for _ in range(3)}
    assert len(names) == 3
    assert {v.name for v in Versions(tmp_path)} == names


def test_a_full_disk_does_not_affect_the_old_version(tmp_path: Path) -> None:
    old = write(tmp_path)
    with (
        pytest.raises(VersionError, match=r"nothing was published.*free space"),
        files_no_larger_than(10_000),
    ):
        write(tmp_path, text="x" * 20_000)
    versions = Versions(tmp_path)
    assert [v.name for v in versions] == [old.name]
    assert versions.current(Kind.SERVING).name == old.name
    versions.current(Kind.SERVING).verify()
    left = {p.name for p in versions.root.iterdir()}
    assert left == {old.name, "serving"}


def test_an_error_of_the_caller_leaves_nothing_behind(tmp_path: Path) -> None:
    def half_written() -> None:
        with Versions(tmp_path).write(Kind.SERVING) as draft:
            (draft.folder("rank") / "weights.bin").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half_written()
    assert list(Versions(tmp_path).root.iterdir()) == []


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_damage_is_named(tmp_path: Path, damage: str) -> None:
    version = write(tmp_path)
    file = version.path / "rank" / "weights.bin"
    if damage == "changed":
        file.write_text("WEIGHTS")
    else:
        file.unlink()
    with pytest.raises(VersionError, match=r"weights\.bin is missing or differs"):
        version.verify()


def test_a_version_of_a_newer_tamis_is_refused(tmp_path: Path) -> None:
    version = write(tmp_path)
    manifest = version.path / "version.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 99}))
    with pytest.raises(VersionError, match=r"format 99.*upgrade tamis"):
        Versions(tmp_path).current(Kind.SERVING)


def test_the_error_of_a_truncated_manifest_explains_how_to_fix_it(tmp_path: Path) -> None:
    version = write(tmp_path)
    manifest = version.path / "version.json"
    manifest.write_text(manifest.read_text()[:40])
    with pytest.raises(VersionError, match=r"damaged.*run `tamis train` again"):
        list(Versions(tmp_path))
