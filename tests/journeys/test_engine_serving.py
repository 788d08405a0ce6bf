"""A version that training wrote is served by the engine, and says so when it cannot be."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tamis.bundle import Kind, Versions, files_of
from tamis.schema import VersionError
from tamis.service import Recommender


def answers(version, users: list[str]):
    recommender = Recommender(version)
    return [recommender.recommend(user) for user in users]


@pytest.mark.parametrize("project", ["ratings", "simulated"])
def test_the_slate_is_the_same_with_and_without_the_engine(request, project, tmp_path):
    folder = Path(shutil.copytree(request.getfixturevalue(project), tmp_path / "project"))
    version = Versions(folder).current(Kind.SERVING)
    graph = version.path / "rank" / "engine" / "scoring.onnx"
    users = Recommender(version).parts.users.ids.to_list()[::40]
    by_engine = answers(version, users)
    assert graph.is_file()
    assert not any(answer.degraded for answer in by_engine)
    graph.unlink()
    with pytest.raises(VersionError, match=r"scoring\.onnx is missing"):
        Recommender(version)
    without = replace(version.manifest, files=files_of(version.path))  # written without an engine
    by_torch = answers(replace(version, manifest=without), users)
    for one, other in zip(by_engine, by_torch, strict=True):
        assert [p.item_id for p in one.items] == [p.item_id for p in other.items]
        assert [p.score for p in one.items] == pytest.approx(
            [p.score for p in other.items], rel=1e-5
        )
        assert len(other.degraded) == 1
        assert "rank: scored by PyTorch" in other.degraded[0]
        assert "scoring.onnx is missing" in other.degraded[0]
