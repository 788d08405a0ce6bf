"""Arms of experiments in a running service: what they change, for whom, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tamis.bundle import Version, Versions
from tamis.journal import ExperimentStep
from tamis.schema import ConfigError, ExperimentConfig, RequestError
from tamis.service import (
    LiveRecommender,
    ProjectExperiments,
    Serving,
    versions_of_experiments,
)

USERS = [str(user) for user in range(60)]


@pytest.fixture
def serving(numbered: Path, tmp_path: Path) -> Iterator[Serving]:
    shutil.copytree(numbered, tmp_path / "shop")
    opened = Serving(LiveRecommender.open(tmp_path / "shop"), tmp_path / "shop", interval=None)
    yield opened
    opened.close()


def design(treatment: dict[str, Any], **fields: Any) -> dict[str, Any]:
    arms = {"old": fields.pop("old", {}), "new": treatment}
    return {"control": "old", "arms": arms, "goal": "like", **fields}


def started(serving: Serving, name: str, treatment: dict[str, Any], **fields: Any) -> None:
    live = serving.live
    assert isinstance(live, LiveRecommender)
    traffic = fields.pop("traffic", 1.0)
    found = ProjectExperiments(live.project, live.journal.experiments, live.check_arms)
    found.start(name, traffic, "ann", design=design(treatment, **fields))
    serving.look()


def items(live: Any, user: str, **fields: Any) -> list[str]:
    return [place.item_id for place in live.recommend(user, **fields).items]


def test_each_user_gets_the_slate_of_his_arm_and_the_journal_says_so(serving: Serving) -> None:
    plain = {user: items(serving.live, user) for user in USERS}
    started(
        serving, "upside_down", {"cascade": {"order": "rank", "fusion": "-positive", "slate": 7}}
    )
    seen: dict[str, int] = {"old": 0, "new": 0}
    for user in USERS:
        answer = serving.live.recommend(user)
        arm = answer.arms["upside_down"]
        seen[arm] += 1
        slate = [place.item_id for place in answer.items]
        assert not answer.degraded
        if arm == "old":
            assert slate == plain[user]
        else:
            assert slate != plain[user]
            assert len(slate) == 7
        logged = serving.live.answered(answer.recommendation_id)
        assert logged is not None
        assert logged.arms == {"upside_down": arm}
        assert logged.took_ms > 0
    assert min(seen.values()) > 10


def test_a_tester_sees_the_arm_that_he_asks_for(serving: Serving) -> None:
    started(serving, "short", {"cascade": {"slate": 3}}, traffic=0.01)
    for user in USERS[:5]:
        assert len(items(serving.live, user, arms={"short": "new"})) == 3
    answer = serving.live.recommend("1", arms={"short": "old"})
    logged = serving.live.answered(answer.recommendation_id)
    assert logged is not None
    assert logged.request["arms"] == {"short": "old"}
    with pytest.raises(RequestError, match=r"no experiment .shot. is running"):
        serving.live.recommend("1", arms={"shot": "new"})
    with pytest.raises(RequestError, match="its arms are old, new"):
        serving.live.recommend("1", arms={"short": "newer"})


def test_channels_are_left_out_and_weighed_for_an_arm(serving: Serving) -> None:
    channels = {"itemcf": False, "hot": {"quota": 5}}
    started(serving, "fewer", {"cascade": {"channels": channels}})
    answer = serving.live.recommend("1", explain=True, arms={"fewer": "new"})
    found = {c["channel"] for place in answer.items for c in place.reasons.channels}
    assert "itemcf" not in found
    assert not answer.degraded
    before = serving.live.recommend("1", explain=True, arms={"fewer": "old"})
    assert "itemcf" in {c["channel"] for place in before.items for c in place.reasons.channels}


def test_experiments_of_two_layers_change_one_answer_together(serving: Serving) -> None:
    started(serving, "short", {"cascade": {"slate": 3}}, layer="rerank")
    started(
        serving, "upside_down", {"cascade": {"order": "rank", "fusion": "-positive"}}, layer="rank"
    )
    both = {"short": "new", "upside_down": "new"}
    upside_down = items(serving.live, "1", arms={"short": "old", "upside_down": "new"})
    assert items(serving.live, "1", arms=both) == upside_down[:3]


def test_new_items_reach_the_arms_too(serving: Serving) -> None:
    """A fusion over an item column knows items that came before and after its arm was made."""
    live = serving.live
    ids = [f"new{k}" for k in range(2)]
    live.put_items([{"item_id": ids[0], "title": "x", "genres": "Drama"}])
    started(serving, "short", {"cascade": {"slate": 40, "order": "rank", "fusion": "-positive"}})
    live.recommend("1", arms={"short": "new"})
    live.put_items([{"item_id": ids[1], "title": "y", "genres": "Drama"}])
    answer = live.recommend("1", arms={"short": "new"}, pins={ids[0]: 1, ids[1]: 2})
    assert [place.item_id for place in answer.items[:2]] == ids
    assert not answer.degraded


def test_a_closed_experiment_changes_nothing_any_more(serving: Serving) -> None:
    plain = items(serving.live, "1")
    started(serving, "short", {"cascade": {"slate": 3}})
    assert len(items(serving.live, "1", arms={"short": "new"})) == 3
    live = serving.live
    ProjectExperiments(live.project, live.journal.experiments).close("short", "ann")
    serving.look()
    answer = live.recommend("1")
    assert answer.arms == {}
    assert [place.item_id for place in answer.items] == plain
    assert live._recommender.arms.own == 0  # what the arm needed is freed


def test_another_process_takes_up_the_steps(serving: Serving) -> None:
    project = serving.live.project
    other = Serving(LiveRecommender.open(project), project, interval=None)
    try:
        started(serving, "short", {"cascade": {"slate": 3}})
        other.look()
        for user in USERS:
            assert other.live.recommend(user).arms == serving.live.recommend(user).arms
    finally:
        other.close()


@pytest.mark.parametrize(
    ("cascade", "message"),
    [
        ({"rank": {"epochs": 99}}, r"arms.new.cascade.rank\]: rank is learnt in training"),
        ({"channels": {"itemcf": {"neighbours": 7}}}, "neighbours: it is learnt in training"),
        ({"rerank": {"mmr": {"column": "title"}}}, r"column acts in training; of mmr an arm"),
        ({"rerank": 5}, "rerank = 5: give a table"),
        ({"slate": float("inf")}, "no finite number"),
        ({"channels": {"swing": {}}}, "the version has no such stage"),
        ({"fusion": "lke"}, "lke"),
        ({"slat": 3}, "slat"),
        ({"slate": 0}, "slate"),
        ({"channels": dict.fromkeys(("itemcf", "two_tower", "hot", "content"), False)}, "arm"),
    ],
)
def test_what_an_arm_cannot_change_is_refused_at_the_start(
    serving: Serving, cascade: dict[str, Any], message: str
) -> None:
    if "channels" in cascade and len(cascade["channels"]) > 1:
        live = serving.live
        names = live._recommender.parts.config.cascade.channels
        cascade = {"channels": dict.fromkeys(names, False)}
    with pytest.raises((ConfigError, RequestError), match=message):
        started(serving, "wrong", {"cascade": cascade})
    assert serving.live.experiments.state.experiments == {}


REFUSED = [
    pytest.param({"rerank": {"mmr": False}}, 0.9, "is free", id="no room"),
    pytest.param({"rank": {"epochs": 99}}, 0.1, "learnt in training", id="impossible"),
]


@pytest.mark.parametrize(("refused", "traffic", "message"), REFUSED)
def test_a_refused_start_decides_nothing_of_a_later_one(
    serving: Serving, refused: dict[str, Any], traffic: float, message: str
) -> None:
    started(serving, "first", {"cascade": {"slate": 9}}, traffic=0.6)
    live = serving.live
    wanted = {"cascade": {"rerank": {"mmr": {"theta": 0.3}}, "slate": 7}}
    with pytest.raises(ConfigError, match=message):
        started(serving, "again", {"cascade": refused}, traffic=traffic)
    assert live._recommender.arms.own == 0
    started(serving, "fresh", wanted, traffic=0.1)
    started(serving, "again", wanted, traffic=0.1)
    for user in USERS[:10]:
        answer = live.recommend(user, arms={"again": "new"})
        assert answer.arms == {"again": "new"}
        slate = [place.item_id for place in answer.items]
        assert slate == items(live, user, arms={"fresh": "new"})
        assert len(slate) == 7


def test_a_refused_start_keeps_no_stage_of_its_own(serving: Serving) -> None:
    started(serving, "first", {"cascade": {"slate": 9}}, traffic=0.6)
    with pytest.raises(ConfigError, match="is free"):
        started(serving, "second", {"cascade": {"rerank": {"mmr": {"theta": 0.3}}}}, traffic=0.9)
    assert serving.live._recommender.arms.own == 0


def test_both_arms_fill_an_interleaved_slate(serving: Serving) -> None:
    changed = {"cascade": {"rerank": {"mmr": {"theta": 0.2}}}}
    started(serving, "drafted", changed, interleaving=True)
    for user in USERS[:10]:
        answer = serving.live.recommend(user)
        slate = [place.item_id for place in answer.items]
        alone = {a: items(serving.live, user, arms={"drafted": a}) for a in ("old", "new")}
        assert answer.arms == {"drafted": "interleaved"}
        assert not answer.degraded
        assert len(slate) == len(set(slate)) == 20
        for arm in ("old", "new"):
            own = [i for i, team in zip(slate, answer.teams, strict=True) if team == arm]
            assert 5 <= len(own) <= 15
            assert own == [item for item in alone[arm] if item in own]
        logged = serving.live.answered(answer.recommendation_id)
        assert logged is not None
        assert logged.teams == list(answer.teams)
        assert serving.live.explained(logged).items[0].reasons is not None


def test_interleaved_arms_order_the_same_candidates() -> None:
    with pytest.raises(ValueError, match="change fusion, order, rerank alone"):
        ExperimentConfig.model_validate(design({"cascade": {"prerank_keep": 5}}, interleaving=True))


def test_a_broken_arm_leaves_out_its_experiment_alone(serving: Serving) -> None:
    """As after the publication of a version without the rule; others go on."""
    started(serving, "shorter", {"cascade": {"slate": 3}}, layer="rank")
    live = serving.live
    step = ExperimentStep(
        experiment="broken",
        step="start",
        time=1,
        by="ann",
        traffic=1.0,
        design=design({"cascade": {"rerank": {"gone": {"x": 1}}}}, layer="rerank"),
    )
    assert live.journal.experiments.append(step, after=1)
    serving.look()
    seen = []
    for user in USERS:
        answer = live.recommend(user)
        assert set(answer.arms) == {"shorter"}
        assert any(why.startswith("experiment broken: ") for why in answer.degraded)
        seen.append(answer.arms["shorter"])
    assert min(seen.count("old"), seen.count("new")) > 15


def test_layers_may_not_change_the_same_key(serving: Serving) -> None:
    started(serving, "short", {"cascade": {"slate": 3}}, layer="rank")
    with pytest.raises(ConfigError, match="slate: experiment 'short' of another layer changes it"):
        started(serving, "shorter", {"cascade": {"slate": 2}}, layer="rerank")


def test_a_tester_is_in_no_other_experiment_of_the_layer(serving: Serving) -> None:
    started(serving, "short", {"cascade": {"slate": 3}}, traffic=0.5)
    started(serving, "plain", {"cascade": {"rerank": {"mmr": False}}}, traffic=0.5)
    for user in USERS[:20]:
        assert serving.live.recommend(user, arms={"plain": "new"}).arms == {"plain": "new"}


def test_stages_of_arms_are_shared_by_combinations(serving: Serving) -> None:
    for k, change in enumerate(({"slate": 7}, {"rerank": {"mmr": {"theta": 0.5}}})):
        started(serving, f"e{k}", {"cascade": change}, layer=f"l{k}")
    for user in USERS:
        serving.live.recommend(user)
    assert serving.live._recommender.arms.own == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"arms": {"a b": {}, "c": {}}}, "letters, digits"),
        ({"arms": {"interleaved": {}, "old": {}}}, "may not be named"),
        ({"min_days": float("inf")}, "min_days"),
        ({"goal": "clck / / nonsense("}, "clck"),
        ({"guardrails": ["zzz"]}, "zzz"),
    ],
)
def test_a_design_that_could_not_be_read_later_is_refused(
    serving: Serving, wrong: dict[str, Any], message: str
) -> None:
    live = serving.live
    found = ProjectExperiments(live.project, live.journal.experiments)
    with pytest.raises((ConfigError, RequestError), match=message):
        found.start("e", 0.5, "ann", design={**design({}), **wrong})
    assert found.lines() == []


def test_a_step_of_a_later_release_does_not_stop_the_others(serving: Serving) -> None:
    step = ExperimentStep(
        experiment="later",
        step="start",
        time=1,
        by="ann",
        traffic=1.0,
        design={**design({"cascade": {"slate": 3}, "new_key": 1}), "other_key": 2},
    )
    assert serving.live.journal.experiments.append(step, after=0)
    serving.look()
    assert "later" in serving.live.recommend("1").arms


class TestVersions:
    """Arms that are versions of their own."""

    @pytest.fixture
    def two(
        self, numbered: Path, another_version: Callable[..., Version], tmp_path: Path
    ) -> Iterator[Serving]:
        shutil.copytree(numbered, tmp_path / "shop")
        first, _ = (
            another_version(tmp_path / "shop", f"2999-{x}", 5 + k) for k, x in enumerate("ab")
        )
        Versions(tmp_path / "shop").publish(first)
        opened = Serving(LiveRecommender.open(tmp_path / "shop"), tmp_path / "shop", interval=None)
        yield opened
        opened.close()

    def test_one_process_answers_by_both(self, two: Serving) -> None:
        started(two, "better", {"version": "2999-b"}, old={"version": "2999-a"})
        versions = set()
        for user in USERS:
            answer = two.live.recommend(user)
            expected = {"old": "2999-a", "new": "2999-b"}[answer.arms["better"]]
            assert answer.version == expected
            assert {p.title.partition(" ")[0] for p in answer.items} == {expected}
            versions.add(expected)
        assert versions == {"2999-a", "2999-b"}

    def test_both_versions_know_what_happens(self, two: Serving) -> None:
        started(two, "better", {"version": "2999-b"}, old={"version": "2999-a"})
        hidden = items(two.live, "1", arms={"better": "new"})[0]
        two.live.hide(hidden)
        for arm in ("old", "new"):
            assert hidden not in items(two.live, "1", arms={"better": arm})

    def test_the_serving_version_may_become_that_of_the_arm(self, two: Serving) -> None:
        started(two, "better", {"version": "2999-b"}, old={"version": "2999-a"})
        versions = Versions(two.live.project)
        versions.publish(versions.open("2999-b"))
        assert two.look()
        two.look()
        assert two.live.version == "2999-b"
        for user in USERS:
            answer = two.live.recommend(user)
            assert answer.version == {"old": "2999-a", "new": "2999-b"}[answer.arms["better"]]
            assert not answer.degraded

    def test_a_version_that_is_gone_is_named_and_counts_for_no_arm(self, two: Serving) -> None:
        started(two, "better", {"version": "2999-b"}, old={"version": "2999-a"})
        two.live.experiments.versions = {}
        answer = two.live.recommend("1", arms={"better": "new"})
        assert answer.version == "2999-a"
        assert answer.arms == {}
        assert any("version 2999-b is not open" in why for why in answer.degraded)
        # the control counts no more either: results of one arm would mislead
        assert two.live.recommend("1", arms={"better": "old"}).arms == {}

    def test_a_version_that_could_not_be_opened_is_tried_again(
        self, two: Serving, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(_: object) -> None:
            raise OSError("a disk was away")

        with monkeypatch.context() as broken:
            broken.setattr(two, "_opened", fails)
            started(two, "better", {"version": "2999-b"}, old={"version": "2999-a"})
        assert two.live.recommend("1", arms={"better": "new"}).arms == {}
        monkeypatch.setattr(two, "_unopened", {})  # `RETRY` seconds have passed
        two.look()
        assert two.live.recommend("1", arms={"better": "new"}).version == "2999-b"

    def test_training_keeps_the_versions_that_run(self, two: Serving) -> None:
        started(two, "better", {"version": "2999-b"}, old={"version": "2999-a"})
        config = two.live._recommender.parts.config
        assert versions_of_experiments(two.live.project, config) == {"2999-a", "2999-b"}
        versions = Versions(two.live.project)
        kept = {"2999-a", "2999-b"}
        versions.publish(versions.open("2999-a"), keep=0, needed=kept)
        assert kept <= {version.name for version in versions}

    def test_every_arm_names_a_version_or_none_does(self, two: Serving) -> None:
        with pytest.raises(RequestError, match="some arms name a version, others none"):
            started(two, "better", {"version": "2999-b"})

    def test_an_unknown_version_is_refused(self, two: Serving) -> None:
        with pytest.raises(ConfigError, match=r"arms.new\] version"):
            started(two, "better", {"version": "2999-c"}, old={"version": "2999-a"})
