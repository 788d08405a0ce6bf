"""What an update reads of the serving version's manifest."""

from __future__ import annotations

from typing import Any

import pytest

from tamis.bundle import Kind, Manifest
from tamis.jobs._former_version import carried_auc, recorded_auc
from tamis.schema import TaskConfig

TASKS = tuple(TaskConfig(name=name, behaviour=(name,)) for name in ("click", "cart"))


def manifest(update: dict[str, Any]) -> Manifest:
    metrics = {"validation": {"rank": {"auc": 0.6}}}
    return Manifest("v", Kind.SERVING, "", "", 0, 1, metrics=metrics, update=update)


def test_a_task_that_was_not_judged_keeps_the_auc_of_when_it_was() -> None:
    """Two updates with too few carts, after one with enough."""
    judged = {"click": {"auc": 0.71, "rarer": 40}, "cart": {"auc": 0.8, "rarer": 12}}
    few = {"click": {"auc": 0.72, "rarer": 44}, "cart": {"auc": 0.1, "rarer": 9}}
    none = {"click": {"auc": 0.73, "rarer": 41}, "cart": {"auc": None, "rarer": 0}}
    found = {}
    for tasks in (judged, few, none):
        update = {"quality": {"tasks": tasks}, "judged_auc": carried_auc(found, {"tasks": tasks})}
        found = recorded_auc(manifest(update), TASKS)
    assert found == {"click": 0.73, "cart": 0.8}


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ({"click": {"auc": 0.7, "rarer": 40}}, {"click": 0.7}),
        ({"click": {"auc": 0.7, "rarer": 9}}, {"click": 0.6}),
        ({}, {"click": 0.6}),
    ],
)
def test_versions_without_the_key_have_what_their_update_or_training_judged(
    tasks: dict[str, Any], expected: dict[str, float]
) -> None:
    assert recorded_auc(manifest({"quality": {"tasks": tasks}}), TASKS[:1]) == expected


def test_training_says_nothing_about_single_ones_of_several_tasks() -> None:
    assert recorded_auc(manifest({}), TASKS) == {}
