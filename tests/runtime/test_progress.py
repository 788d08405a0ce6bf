"""Progress on a terminal and in logs."""

import re
import sys
import threading
import time

import pytest

from tamis.runtime import Progress, progress
from tamis.runtime.progress import _Display, _Row


def without_seconds(text: str) -> list[str]:
    return re.sub(r"\d+\.\d s", "N s", text).splitlines()


def test_a_log_has_one_line_per_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("train") as shown:
        shown.begin("read the tables")
        assert capsys.readouterr().err == "train: read the tables … "  # seen while it runs
        shown.begin("fit rank")
        shown.update(1, 10, "loss 0.5")
        shown.message("20 labels are missing")
        shown.begin("write")
    assert without_seconds(capsys.readouterr().err) == [
        "N s",
        "train: fit rank … N s",
        "train: 20 labels are missing",
        "train: write … N s",
    ]


def test_a_stage_that_fails_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with Progress("train") as shown:
            shown.begin("fit rank")
            raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        fail()
    assert without_seconds(capsys.readouterr().err) == ["train: fit rank … failed after N s"]


def test_nothing_is_shown_if_not_wanted_or_not_entered(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Progress("train", wanted=False) as shown:
        shown.begin("fit")
        shown.message("text")
        with Progress("fit", wanted=False) as inner:
            inner.begin("epochs")
    Progress("train").begin("fit")
    assert capsys.readouterr() == ("", "")


def test_an_inner_job_logs_no_lines_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("train") as shown:
        shown.begin("fit rank")
        with Progress("fit") as inner:
            inner.begin("10 epochs")
            inner.update(1, 10)
            inner.message("text")
        shown.begin("write")
    with Progress("fit") as shown:  # the outer job has ended
        shown.begin("10 epochs")
    assert without_seconds(capsys.readouterr().err) == [
        "train: fit rank … N s",
        "train: write … N s",
        "fit: 10 epochs … N s",
    ]


def test_another_thread_has_its_own_progress(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        with Progress("other") as shown:
            shown.begin("stage")

    with Progress("train"):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert without_seconds(capsys.readouterr().err) == ["other: stage … N s"]


def make_stderr_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)


def test_a_terminal_shows_nothing_of_a_short_job(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_stderr_a_terminal(monkeypatch)
    with Progress("train") as shown:
        shown.begin("fit [rank]")
        shown.update(1, 2, "loss 0.5")
    assert capsys.readouterr().err == ""


def test_a_terminal_shows_stage_bar_and_inner_job(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_stderr_a_terminal(monkeypatch)
    monkeypatch.setattr(progress, "DELAY", 0.0)
    with Progress("train") as shown:
        view = shown._view
        assert isinstance(view, _Row)
        display = view._display
        assert isinstance(display, _Display)
        shown.begin("fit [rank]")
        with Progress("fit") as inner:
            inner.begin("10 epochs")
            inner.update(3, 10, "loss 0.5")
            rows = display.rows.tasks
            assert [row.description for row in rows] == ["fit [rank]", "10 epochs  loss 0.5"]
            assert [(row.completed, row.total) for row in rows] == [(0, None), (3, 10)]
            deadline = time.monotonic() + 30
            while not display._started and time.monotonic() < deadline:
                time.sleep(0.01)
            display.rows.refresh()
        assert [row.description for row in display.rows.tasks] == ["fit [rank]"]
        shown.update(3, 0, "0.3 MB")
        assert display.rows.tasks[0].total is None
    out = capsys.readouterr().err
    assert "fit [rank]" in out
    assert "10 epochs  loss 0.5" in out
    assert not display.rows.live.is_started
