"""Fields of a request that change its answer: boosts, diversity, scene, dry runs."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tamis.cascade import StageBudgets
from tamis.schema import BudgetsConfig, RequestError
from tamis.service import Answer, LiveRecommender, Recommender, Request


@pytest.fixture(scope="module")
def recommender(numbered: Path) -> Recommender:
    return Recommender.open(numbered)


def ask(recommender: Recommender, **fields: object) -> Answer:
    return recommender.recommend(Request.of(user_id=7, n=20, **fields))


def values(answer: Answer) -> dict[str, float]:
    return {place.item_id: place.score for place in answer.items}


def genres_of(recommender: Recommender) -> dict[str, str]:
    items = recommender.parts.items
    return dict(zip(items.ids, items.frame["genres"], strict=True))


def test_a_boosted_item_rises_by_its_factor(recommender: Recommender) -> None:
    plain = values(ask(recommender, diversity=0))
    last = list(plain)[-1]
    boosted = ask(recommender, diversity=0, explain=True, boost=[{"item_id": last, "factor": 1000}])
    first = boosted.items[0]
    assert (first.item_id, first.reasons.boost) == (last, 1000)
    assert first.score == pytest.approx(1000 * plain[last], rel=1e-6)
    others = {p.item_id: p.score for p in boosted.items[1:]}
    assert others == {item: plain[item] for item in others}
    assert {p.reasons.boost for p in boosted.items[1:]} == {1.0}
    assert ask(recommender, explain=True).items[0].reasons.boost is None


def test_factors_of_categories_and_conditions_are_multiplied(recommender: Recommender) -> None:
    rules = [
        {"category": "Comedy", "factor": 2},
        {"where": "genres contains 'Romance'", "factor": 3},
        {"where": "id == request.wanted", "factor": 0.5},
        {"item_id": "no such item", "factor": 9},
    ]
    genres = genres_of(recommender)
    wanted = ask(recommender).items[0].item_id
    answer = ask(recommender, boost=rules, values={"wanted": wanted}, explain=True)
    assert answer.degraded == ()
    for place in answer.items:
        factor = 6.0 if genres[place.item_id] == "Comedy|Romance" else 1.0
        factor *= 0.5 if place.item_id == wanted else 1.0
        assert place.reasons.boost == factor
    assert 6.0 in {place.reasons.boost for place in answer.items}


def test_a_negative_value_is_divided(recommender: Recommender) -> None:
    """A factor above 1 raises an item whatever the sign of its value; -inf stays last."""
    from tamis.cascade import Candidates
    from tamis.cascade.runner import boosted

    values = np.array([4, 1, -1, -4, -np.inf], np.float32)
    given = Candidates(np.array([0, 5], np.int64), np.arange(5, dtype=np.int32), {"value": values})
    out = boosted(given, np.array([1, 8, 0.5, 8, 100], np.float32))
    assert out.item.tolist() == [1, 0, 3, 2, 4]
    assert out.columns["value"].tolist() == [8, 4, -0.5, -2, -np.inf]


@pytest.mark.parametrize(
    ("boost", "message"),
    [
        ({"factor": 2}, r"boost\[0\] has no item: give one of item_id, category, where"),
        (
            {"factor": 2, "item_id": 1, "category": "x"},
            "has item_id, category: give one",
        ),
        ({"factor": 0, "item_id": 1}, r"boost\[0\]\.factor = .*> 0"),
        ({"item_id": 1}, "factor"),
        ({"factor": 2, "item": 1}, "unknown field `item`"),
        ({"factor": 2, "where": "price <"}, r"boost\[0\]\.where: "),
        ({"factor": 2, "where": "prize < 3"}, r"boost\[0\]\.where: .*prize"),
    ],
)
def test_a_wrong_boost_is_refused(
    recommender: Recommender, boost: dict[str, object], message: str
) -> None:
    with pytest.raises(RequestError, match=message) as error:
        ask(recommender, boost=[boost])
    assert error.value.field == "boost"


def test_diversity_is_the_strength_of_mmr(recommender: Recommender) -> None:
    """At 0 the value orders; at 1 each place takes the item most unlike those before."""
    by_value = values(ask(recommender, diversity=0))
    assert list(by_value.values()) == sorted(by_value.values(), reverse=True)
    genres = genres_of(recommender)
    ranked = recommender.recommend(Request.of(user_id=7, n=60, diversity=0))
    kinds = {genres[place.item_id] for place in ranked.items}
    assert len(kinds) > 1
    mixed = [genres[item] for item in values(ask(recommender, diversity=1))]
    assert set(mixed[: len(kinds)]) == kinds
    stored = recommender.parts.rerank["mmr"].config.theta
    assert values(ask(recommender)) == values(ask(recommender, diversity=1 - stored))


def test_diversity_without_a_rule_for_it_is_refused(numbered: Path) -> None:
    recommender = Recommender.open(numbered)
    recommender.cascade.rerank = {}
    with pytest.raises(RequestError, match=r"0\.5: no re-rank rule .*\(it has no rules\)"):
        ask(recommender, diversity=0.5)


def test_pins_of_a_request_stand_at_their_places(recommender: Recommender) -> None:
    """Whatever the project's rules say, recalled or not; filters still hold."""
    plain = [place.item_id for place in ask(recommender).items]
    shown = set(plain)
    other = next(item for item in recommender.parts.items.ids.to_list()[::-1] if item not in shown)
    seen = recommender.parts.items.id_of(
        int(
            recommender.views.queries(
                recommender.views.user_row("7"), recommender.now(), None
            ).history.item[0]
        )
    )
    pins = {int(plain[15]): 1, other: 3}
    answer = ask(recommender, pins=pins, explain=True)
    assert [answer.items[at].item_id for at in (0, 2)] == [plain[15], other]
    assert answer.items[2].reasons.rerank["request.pins"] == 3
    assert len({place.item_id for place in answer.items}) == 20
    assert answer.broken_rules == ()
    filtered = ask(recommender, pins={seen: 2})
    assert filtered.broken_rules == (f"request.pins is broken at place 2: {seen} at place 2",)
    assert seen not in {place.item_id for place in filtered.items}


@pytest.mark.parametrize(
    ("pins", "message"),
    [
        ({"nosuch": 1}, "pins: item 'nosuch' is not in the items' table"),
        ({"1003": 21}, r"pins\[1003\] = 21: the slate has 20 places; give a place from 1 to 20"),
        ({"1003": 0}, r"pins.*>= 1"),
        ({"1003": 1, "1004": 1}, "items '1003' and '1004' are both at place 1"),
        ({1003: 1, "1003": 2}, "item '1003' is pinned twice"),
        ({" ": 1}, "an id is not blank"),
        ({str(k): k for k in range(1, 22)}, "pins.*length <= 20"),
        (["1003"], "pins"),
    ],
)
def test_wrong_pins_are_refused(recommender: Recommender, pins: object, message: str) -> None:
    with pytest.raises(RequestError, match=message) as error:
        ask(recommender, pins=pins)
    assert error.value.field == "pins"


def test_a_scene_is_a_declared_column_of_context() -> None:
    context = Request.of(scene="home").context_for(("scene",))
    assert context.columns["scene"].values.to_list() == ["home"]
    assert Request.of(scene="home").context_for(()) is None
    with pytest.raises(RequestError, match="scene = 'home', but context holds scene = 'detail'"):
        Request.of(scene="home", context={"scene": "detail"}).context_for(("scene",))


def test_session_and_scene_are_kept_and_a_dry_run_is_not(numbered: Path, tmp_path: Path) -> None:
    shutil.copytree(numbered, tmp_path / "shop")
    live = LiveRecommender.open(tmp_path / "shop")
    said = {"session_id": "s1", "scene": "home", "recommendation_id": "kept"}
    live.recommend(Request.of(user_id=7, **said))
    kept = live.answered("kept")
    assert (kept.session_id, kept.scene) == ("s1", "home")
    dry = live.recommend(Request.of(user_id=7, dry_run=True, recommendation_id="dry"))
    assert len(dry.items) > 0
    assert live.answered("dry") is None
    live.close()


def last_slates(recommender: Recommender) -> dict[str, list[int]]:
    """What requests are answered with where all channels fail."""
    fallbacks = recommender.cascade.retrieval.fallbacks
    assert fallbacks is not None
    queries = recommender.views.queries(recommender.views.user_row("7"), recommender.now(), None)
    return {name: items().tolist() for name, items in fallbacks.lists(queries) if "last" in name}


def test_a_warm_up_and_a_dry_run_are_not_remembered(numbered: Path) -> None:
    opened = Recommender.open(numbered)
    budgets = StageBudgets(BudgetsConfig(total=0.001))  # less than any stage takes
    opened.cascade = replace(opened.cascade, budgets=budgets)
    opened.warm_up()
    assert budgets.counts == {}
    assert budgets.refusal("rank", budgets.deadline()) is None
    opened.cascade = replace(opened.cascade, budgets=StageBudgets())
    ask(opened, dry_run=True)
    assert last_slates(opened) == {"the last slate of any user": []}
    rows = opened.parts.items.rows([place.item_id for place in ask(opened).items]).tolist()
    assert last_slates(opened) == dict.fromkeys(
        ("the user's last slate", "the last slate of any user"), rows
    )
