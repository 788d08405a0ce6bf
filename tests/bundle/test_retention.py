"""Old versions: kept until enough are newer, never removed while open; equal files are one file."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tamis.bundle import Kind, Version, Versions
from tamis.schema import VersionError


def write(project: Path, kind: Kind = Kind.SERVING, **files: str) -> Version:
    versions = Versions(project)
    with versions.write(kind) as draft:
        for name, text in files.items():
            (draft.folder(name) / "weights.bin").write_text(text)
    version = versions.open(draft.name)
    versions.publish(version)
    return version


def names(project: Path, kind: Kind = Kind.SERVING) -> list[str]:
    return [v.name for v in Versions(project) if v.manifest.kind is kind]


def test_versions_are_removed_once_enough_are_newer(tmp_path: Path) -> None:
    evaluation = write(tmp_path, Kind.EVALUATION)
    written = [
        write(tmp_path).name for _ in range(12)
    ]  # 12: the names end in numbers of two digits
    assert Versions(tmp_path).remove_old(Kind.SERVING, keep=3) == written[:-4]
    assert sorted(names(tmp_path)) == sorted(written[-4:])
    assert names(tmp_path, Kind.EVALUATION) == [evaluation.name]
    assert Versions(tmp_path).remove_old(Kind.SERVING, keep=3) == []


def test_the_current_version_stays_however_old_it_is(tmp_path: Path) -> None:
    first, second, *_ = (write(tmp_path) for _ in range(6))
    versions = Versions(tmp_path)
    versions.publish(first)
    assert versions.remove_old(Kind.SERVING, keep=3) == [second.name]
    assert versions.current(Kind.SERVING).name == first.name


def test_a_version_stays_while_it_is_open_here(tmp_path: Path) -> None:
    first, *_ = (write(tmp_path) for _ in range(5))
    versions = Versions(tmp_path)
    held = [first.hold(), first.hold()]
    assert versions.remove_old(Kind.SERVING, keep=3) == []
    held[0].release()
    held[0].release()
    assert versions.remove_old(Kind.SERVING, keep=3) == []
    held.clear()
    gc.collect()
    assert versions.remove_old(Kind.SERVING, keep=3) == [first.name]
    with pytest.raises(VersionError, match=r"cannot be opened.*tamis versions"):
        first.hold()


def test_a_version_stays_while_another_process_has_it_open(tmp_path: Path) -> None:
    first, *_ = (write(tmp_path) for _ in range(5))
    code = (
        "import sys; from pathlib import Path; from tamis.bundle import Versions\n"
        "held = Versions(Path(sys.argv[1])).open(sys.argv[2]).hold()\n"
        "print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), first.name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        assert Versions(tmp_path).remove_old(Kind.SERVING, keep=3) == []
        process.kill()
    assert Versions(tmp_path).remove_old(Kind.SERVING, keep=3) == [first.name]


def test_damaged_folders_are_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, *_ = (write(tmp_path) for _ in range(6))
    (first.path / "version.json").write_text("{")
    with caplog.at_level(logging.WARNING):
        assert len(Versions(tmp_path).remove_old(Kind.SERVING, keep=3)) == 1
    assert first.path.is_dir()
    assert "version.json" in caplog.text


def test_rolling_back_goes_to_the_version_before(tmp_path: Path) -> None:
    first, second = write(tmp_path), write(tmp_path)
    write(tmp_path, Kind.EVALUATION)
    versions = Versions(tmp_path)
    assert versions.before_current(Kind.SERVING).name == first.name
    versions.publish(first)
    with pytest.raises(VersionError, match=f"{first.name} is the oldest serving version"):
        versions.before_current(Kind.SERVING)
    assert second.name in names(tmp_path)


def test_equal_files_of_versions_are_one_file(tmp_path: Path) -> None:
    old = write(tmp_path, rank="weights", channels="vectors")
    new = write(tmp_path, Kind.EVALUATION, rank="other weights", channels="vectors")
    file = Path("channels") / "weights.bin"
    assert (old.path / file).samefile(new.path / file)
    assert not (old.path / "rank" / "weights.bin").samefile(new.path / "rank" / "weights.bin")
    for version in (old, new):
        version.verify()
    versions = Versions(tmp_path)
    for k in range(4):
        write(tmp_path, rank=f"newer {k}")
    assert versions.remove_old(Kind.SERVING, keep=3) == [old.name]
    new.verify()


def test_a_damaged_file_is_not_linked(tmp_path: Path) -> None:
    old = write(tmp_path, rank="weights")
    (old.path / "rank" / "weights.bin").write_text("WEIGHTS")
    write(tmp_path, rank="weights").verify()


def test_without_hard_links_files_are_copies(tmp_path: Path, monkeypatch) -> None:
    def refused(*_: object) -> None:
        raise OSError("this file system has no links")

    write(tmp_path, rank="weights")
    monkeypatch.setattr(os, "link", refused)
    new = write(tmp_path, rank="weights")
    new.verify()
    assert [p.name for p in (new.path / "rank").iterdir()] == ["weights.bin"]
