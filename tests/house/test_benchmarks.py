"""The benchmarks' harness: the suites' lines, their last line of JSON, their pages."""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def harness():
    sys.path.insert(0, str(ROOT))
    yield importlib.import_module("benchmarks.harness")
    sys.path.remove(str(ROOT))


@pytest.fixture(params=["recall", "rank"])
def suite(harness, request):
    return importlib.import_module(f"benchmarks.bench_{request.param}").SUITE


@pytest.fixture
def run(tmp_path):
    """A suite's command; its results go into a file of the test."""

    def it(*words, suite="recall", **environment):
        command = [sys.executable, "-m", f"benchmarks.bench_{suite}", *words]
        return subprocess.run(
            [*command, "--results", str(tmp_path / "results" / "lines.jsonl")],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment},
            check=False,
        )

    return it


def test_every_line_has_a_protocol(suite):
    for name in suite.names():
        line = importlib.import_module(f"benchmarks.{suite.name}.{name.replace('-', '_')}")
        assert len(line.PROTOCOL) > 20, name
        assert callable(line.run)


def test_every_listed_line_exists(suite):
    assert tuple(suite.names()[: len(suite.promised)]) == suite.promised


def test_the_summary_is_the_mean_over_the_seeds(harness):
    runs = [
        {"metrics": {"hit@10": 0.5, "users_per_second": 1234.567}, "protocol": "p", "peak_mb": 10},
        {"metrics": {"hit@10": 0.7, "users_per_second": 1000.0}, "protocol": "p", "peak_mb": 30},
    ]
    told = harness.summary("beauty-ease", runs, 12.34)
    assert list(told)[:5] == ["name", "metrics", "protocol", "seconds", "seeds"]
    assert told["metrics"] == {"hit@10": 0.6, "users_per_second": 1117.28}
    assert told["sd"]["hit@10"] == pytest.approx(0.14142, abs=1e-5)
    assert (told["seconds"], told["seeds"], told["peak_mb"]) == (12.3, 2, 30)
    assert harness.summary("x", runs[:1], 1)["sd"] == {"hit@10": 0.0, "users_per_second": 0.0}


def test_a_metric_of_the_first_seed_alone_has_no_deviation(harness):
    runs = [
        {"metrics": {"auc": 0.5, "auc_rechub": 0.4}, "protocol": "p", "peak_mb": 1},
        {"metrics": {"auc": 0.7}, "protocol": "p", "peak_mb": 1},
    ]
    told = harness.summary("x", runs, 1)
    assert told["metrics"] == {"auc": 0.6, "auc_rechub": 0.4}
    assert list(told["sd"]) == ["auc"]
    assert harness.table([told]).row_count == 1


def test_values_that_are_not_finite_are_null(harness):
    runs = [{"metrics": {"s": value}, "protocol": "p", "peak_mb": 1} for value in (2.0, np.inf)]
    told = harness.summary("x", runs, 1)
    assert json.dumps(told["metrics"]) == '{"s": null}'
    assert told["sd"] == {"s": 0.0}
    assert harness.table([told]).row_count == 1


def test_a_line_on_another_file_ends_in_json(tmp_path, run):
    """The whole way, with ItemCF on a little split that lies beside the file given."""
    rows = [f"{u} " + " ".join(str((u + 2 * i) % 20) for i in range(9)) for u in range(40)]
    (tmp_path / "train.txt").write_text("\n".join(rows) + "\n")
    (tmp_path / "test.txt").write_text("\n".join(f"{u} {(u + 18) % 20}" for u in range(40)) + "\n")
    done = run("--only", "gowalla-itemcf", "--seeds", "1", "--data", str(tmp_path / "train.txt"))
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["name"] == "gowalla-itemcf"
    assert told["seeds"] == 1
    assert 0 < told["metrics"]["recall@20"] <= 1
    assert 0 < told["metrics"]["ndcg@20"] <= 1
    written = (tmp_path / "results" / "lines.jsonl").read_text().splitlines()
    assert [json.loads(line)["name"] for line in written] == ["gowalla-itemcf"]


def test_missing_data_is_an_error(tmp_path, run):
    done = run("--only", "beauty-ease", "--seeds", "1", TAMIS_DATA=str(tmp_path / "nowhere"))
    assert done.returncode == 1
    assert "not run: its data is missing" in done.stdout
    assert "Beauty.txt" in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--only", "beauty-eas"), "there is no line 'beauty-eas'"),
        (("--only", "beauty-ease", "--seeds", "0"), "--seeds 0: at least 1"),
        (("--data", "x.txt"), "DATA= is for one line"),
        (("--only", "beauty-ease", "--data", "x.txt", "--keep"), "leave DATA= or KEEP= out"),
    ],
)
def test_wrong_arguments_are_errors(words, told, run):
    done = run(*words)
    assert done.returncode == 2
    assert told in " ".join(done.stderr.split())


@pytest.fixture(scope="module")
def writer():
    spec = importlib.util.spec_from_file_location("writer", ROOT / "docs" / "write_benchmarks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(writer):
    for suite in writer.SUITES:
        text = writer.path(suite).read_text("utf-8")
        assert text == writer.page(suite), "run: .venv/bin/python docs/write_benchmarks.py"


@pytest.mark.parametrize(
    "script", ["write_cold_start", "write_objectives", "write_report", "write_updates"]
)
def test_pages_of_kept_results_are_up_to_date(script):
    spec = importlib.util.spec_from_file_location(script, ROOT / "docs" / f"{script}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = module.PAGE.read_text("utf-8")
    assert written == module.page(), f"run: .venv/bin/python docs/{script}.py"


def test_the_tables_show_mean_and_deviation(writer):
    result = {
        "metrics": {"hit@10": 0.0875, "users_per_second": 1234.5},
        "sd": {"hit@10": 0.0012, "users_per_second": 3.0},
        "protocol": "strict leave-one-out.",
        "seconds": 1234.5,
        "seeds": 3,
        "peak_mb": 2048,
    }
    told = writer.tables("recall", {"beauty-ease": result})
    assert "| [beauty-ease](#beauty-ease) | 0.0875 ± 0.0012 | 3 | 1,234 | 2,048 |" in told
    assert "### beauty-ease\n\nStrict leave-one-out.\n" in told
    assert "| users_per_second | 1,234.5 ± 3.0 |" in told
    assert "± " not in writer.figure({**result, "seeds": 1}, "hit@10")
