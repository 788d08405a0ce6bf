"""The fusion language: what it computes and what it refuses."""

import numpy as np
import pytest

from tamis.cascade.fusion import Fusion
from tamis.schema import ConfigError

P = {"click": np.array([0.5, 0.2], np.float32), "like": np.array([0.1, 0.4], np.float32)}
TASKS = ["click", "like"]


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("", [0.5, 0.2]),
        ("like", [0.1, 0.4]),
        ("click + 2 * like", [0.7, 1.0]),
        ("click * (1 + 0.5 * like)", [0.525, 0.24]),
        ("click ** 2 * like ** 0.5", [0.25 * 0.1**0.5, 0.04 * 0.4**0.5]),
        ("-click + +like", [-0.4, 0.2]),
        ("like / click", [0.2, 2.0]),
        ("max(click, like) - min(click, like)", [0.4, 0.2]),
        ("log1p(click)", np.log1p([0.5, 0.2])),
        ("exp(log(like)) + sqrt(click)", [0.1 + 0.5**0.5, 0.4 + 0.2**0.5]),
        ("3", [3.0, 3.0]),
    ],
)
def test_values(text, want):
    got = Fusion(text, TASKS)(P)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_empty_is_the_first_task_whatever_its_name():
    assert Fusion("", ["add-to-cart"])({"add-to-cart": np.ones(2)}).tolist() == [1, 1]


def test_names_used():
    assert Fusion("2 * like", TASKS).names == {"like"}


def test_no_candidates():
    none = {"click": np.zeros(0, np.float32), "like": np.zeros(0, np.float32)}
    assert Fusion("click + 1", TASKS)(none).shape == (0,)


def test_what_cannot_be_computed_is_not_finite_and_does_not_warn():
    zeros = {"click": np.zeros(2), "like": np.zeros(2)}
    assert not np.isfinite(Fusion("log(click)", TASKS)(zeros)).any()
    assert not np.isfinite(Fusion("click / like", TASKS)(zeros)).any()
    assert not np.isfinite(Fusion("9 ** 9 ** 9 ** 9", TASKS)(zeros)).any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clik + like", r"\[cascade\] fusion = 'clik \+ like': at column 1.*did you mean 'click'"),
        ("click + share", "at column 9: unknown name 'share'.*Tasks: click, like"),
        ("click +", "not an arithmetic expression"),
        ("lgo(click)", "unknown function 'lgo'; did you mean 'log'"),
        ("max(click)", "max takes 2 values, not 1"),
        ("__import__('os').system('true')", "not allowed"),
        ("click.__class__", "not allowed"),
        ("[c for c in click]", "not allowed"),
        ("click if like else 0", "not allowed"),
        ("click > like", "not allowed"),
        ("lambda: click", "not allowed"),
        ("click[0]", "not allowed"),
        ("'click'", "not allowed"),
        ("True", "not allowed"),
        ("1j", "not allowed"),
        ("click // like", "not allowed"),
        ("log(x=click)", "not allowed"),
        ("max(*click)", "max takes 2 values"),
        ("-" * 150 + "click", "deeper"),
        ("click + " * 400 + "click", "longer than"),
        ("(" * 900 + "click" + ")" * 900, "not an arithmetic expression"),
        ("click\x00", "not an arithmetic expression"),
    ],
)
def test_faults_name_place_and_cure(text, message):
    with pytest.raises(ConfigError, match=message):
        Fusion(text, TASKS)


def test_no_task_at_all():
    with pytest.raises(ConfigError, match="declare"):
        Fusion("", [])
