"""Off-policy estimates from the answers of a running service: `tamis estimate`."""

import json

import numpy as np
import pytest

from tamis.jobs import estimate_policy, train
from tamis.journal import Event, open_journal
from tamis.schema import ConfigError, DataError
from tamis.service import LiveRecommender
from tamis.testing import corner_shop

SAMPLE = "\n[cascade.rerank.sample]\ntemperature = 0.4\ntop = 20\n"
PLACES = 3


def a_policy(folder, text, name="other.toml"):
    path = folder / name
    path.write_text(text, "utf-8")
    return path


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A service that answers 900 times with drawn slates; even items are liked more often."""
    folder = tmp_path_factory.mktemp("estimate") / "shop"
    corner_shop(folder)
    toml = folder / "tamis.toml"
    toml.write_text(toml.read_text("utf-8") + SAMPLE, "utf-8")
    train(folder)
    random = np.random.default_rng(0)
    answered = []
    live = LiveRecommender.open(folder)
    for k in range(900):
        answered.append(live.recommend(f"u{k % 60}", n=PLACES))
    live.close()
    journal = open_journal(folder, "corner")
    now = max(answer.time for answer in answered) + 1
    events = [
        Event(
            event_id=f"new{k}-{place.place}",
            user_id=answer.user_id,
            item_id=place.item_id,
            behaviour="like",
            time=now + k,
            arrival=now + k,
            recommendation_id=answer.recommendation_id,
            position=place.place,
            value=2.0,
        )
        for k, answer in enumerate(answered)
        for place in answer.items
        if random.random() < (0.5 if int(place.item_id[1:]) % 4 == 0 else 0.1)
    ]
    journal.append(events)
    journal.close()
    return folder, answered, len(events)


def test_the_same_policy_earns_what_was_logged(shop):
    folder, answered, likes = shop
    same = a_policy(folder, f'[cascade]\nfusion = "like"\n{SAMPLE}')
    found = estimate_policy(folder, same, "like")
    assert (found.answers, found.places, found.users) == (len(answered), PLACES, 60)
    assert found.logged == pytest.approx(likes / len(answered))
    assert found.agreement < 0.01, "values of the journal give the logged probabilities again"
    assert found.note == ""
    for one in found.estimates:
        assert one.value == pytest.approx(found.logged, rel=0.03)
        assert one.low < found.logged < one.high
        assert one.effective > 0.98 * len(answered) * PLACES
    assert all(place.mean_weight == pytest.approx(1.0, abs=0.02) for place in found.weights)
    twice = estimate_policy(folder, same, "sum(like)")
    assert twice.logged == pytest.approx(2 * found.logged)


def test_another_temperature_weighs_the_answers(shop):
    folder, _, _ = shop
    other = a_policy(folder, SAMPLE.replace("0.4", "0.25"))
    found = estimate_policy(folder, other, "like")
    ips, snips, dr = found.estimates
    assert ips.effective < 0.9 * found.answers * PLACES
    assert snips.value == pytest.approx(dr.value, rel=0.25)
    assert [place.effective for place in found.weights] == sorted(
        (place.effective for place in found.weights), reverse=True
    )
    first = estimate_policy(folder, other, "like", places=1)
    assert (first.places, len(first.weights)) == (1, 1)
    assert first.weights[0].effective == pytest.approx(found.weights[0].effective)


def test_another_fusion_is_computed_from_the_predictions(shop):
    folder, _, _ = shop
    other = a_policy(folder, f'[cascade]\nfusion = "like ** 2"\n{SAMPLE}')
    found = estimate_policy(folder, other, "like", places=2)
    assert found.fusion == "like ** 2"
    assert found.weights[0].mean_weight == pytest.approx(1.0, abs=0.1)
    assert 400 < found.weights[0].effective < 899
    upside_down = a_policy(folder, f'[cascade]\nfusion = "1 - like"\n{SAMPLE}')
    with pytest.raises(DataError, match="of what the policy would show was never shown"):
        estimate_policy(folder, upside_down, "like")


def test_the_command_prints_words_and_json(shop, tamis_cli):
    folder, _, _ = shop
    other = a_policy(folder, SAMPLE.replace("0.4", "0.3"))
    said = tamis_cli("estimate", folder, "--policy", other, "--metric", "like")
    assert said.code == 0, said
    for words in ("like per answer", "temperature 0.3", "as logged", "SNIPS", "doubly robust"):
        assert words in said.out
    assert "not clipped" in said.out
    found = tamis_cli("estimate", folder, "--policy", other, "--metric", "like", "--json").json
    assert [one["method"] for one in found["estimates"]] == ["ips", "snips", "dr"]
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("policy", "metric", "match"),
    [
        ("[cascade.channels.hot]\nquota = 5", "like", r"\[cascade\] changes channels"),
        ("[cascade.rerank.mmr]", "like", r"\[cascade\.rerank\.mmr\].*cannot be computed"),
        ("[cascade]\nfusion = 'lke'", "like", "lke"),
        ("[cascade]\nfusion = 'like + default(hot, 0)'", "like", "reads the channels hot"),
        ("name = 'x'", "like", r"has no \[cascade\]"),
        ("[cascade", "like", "cannot be read as TOML"),
        (SAMPLE, "like / answers", "give one term"),
        (SAMPLE, "likes", "no behaviour 'likes'"),
    ],
)
def test_what_cannot_be_estimated_is_refused(shop, policy, metric, match):
    folder, _, _ = shop
    with pytest.raises(ConfigError, match=match):
        estimate_policy(folder, a_policy(folder, policy), metric)


def test_slates_without_support_are_refused(shop, tmp_path):
    folder, _, _ = shop
    sharp = a_policy(folder, SAMPLE.replace("0.4", "0.001"))
    with pytest.raises(DataError, match="effective decisions"):
        estimate_policy(folder, sharp, "like", most=60)
    plain = tmp_path / "plain"
    corner_shop(plain)
    with pytest.raises(DataError, match="deterministic slates say nothing"):
        estimate_policy(plain, sharp, "like")
