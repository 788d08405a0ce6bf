"""Measures of memory and of the stages of a job."""

import time

import numpy as np
import pytest

from tamis.runtime import Meter, memory, peak_mb, reset_peak, resident_mb

MB = 2**20 // 8
"""Float64 values in one MB."""


def test_the_peak_outlasts_an_array_and_is_in_mb() -> None:
    before = resident_mb()
    held = np.ones(200 * MB)
    assert resident_mb() == 0 or resident_mb() - before > 150
    del held
    assert peak_mb() > before + 150


@pytest.mark.skipif(not memory._CLEAR_REFS.exists(), reason="needs /proc/self/clear_refs")
def test_the_peak_is_reset() -> None:
    held = np.ones(200 * MB)
    top = peak_mb()
    del held
    reset_peak()
    assert peak_mb() < top - 150


def test_without_proc_the_peak_of_the_process_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "missing")
    monkeypatch.setattr(memory, "_CLEAR_REFS", tmp_path / "missing" / "too")
    reset_peak()
    assert 10 < peak_mb() < 1e6
    assert resident_mb() == 0.0


def test_a_stage_measured_twice_adds_up() -> None:
    meter = Meter()
    for _ in range(2):
        with meter.stage("fit") as noted:
            noted["samples"] = 50
            time.sleep(0.01)
    with meter.stage("write"):
        time.sleep(0.001)
    report = meter.report()
    assert list(report) == ["fit", "write"]
    seconds, rate = report["fit"]["seconds"], report["fit"]["samples_per_second"]
    assert seconds is not None
    assert seconds >= 0.02
    assert rate == pytest.approx(100 / meter.stages["fit"]["seconds"], abs=0.1)
    assert report["fit"]["peak_mb"] == round(meter.stages["fit"]["peak_mb"], 1)
    assert report["write"]["samples_per_second"] is None
