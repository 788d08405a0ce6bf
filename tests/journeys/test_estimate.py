"""Off-policy estimates from the answers of a running service: `tamis estimate`."""

import json
import shutil
from typing import Any

import numpy as np
import pytest

from tamis.bundle import Kind, Versions
from tamis.cascade import CandidateOrder, Record
from tamis.jobs import estimate_policy, train
from tamis.jobs._other_policy import PolicyValues, read_policy
from tamis.journal import Event, ItemPatch, ItemPut, open_journal
from tamis.schema import ConfigError, DataError, VersionError
from tamis.service import AnsweredItems, LiveRecommender, ProjectFolder
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


PRICED = "like * default(price, 1)"


@pytest.fixture(scope="module")
def priced(tmp_path_factory):
    """A service that orders by a column of the items, whose values change while it answers:
    (folder, answers, their prices by item)."""
    folder = tmp_path_factory.mktemp("priced") / "shop"
    corner_shop(folder)
    prices = {f"i{k}": 1.0 + k % 5 for k in range(29)}  # i29 has none
    rows = [f"i{k},Item {k},{'ab'[k % 2]},{prices.get(f'i{k}', '')}" for k in range(30)]
    (folder / "items.csv").write_text("item_id,name,kind,price\n" + "\n".join(rows), "utf-8")
    toml = folder / "tamis.toml"
    config = toml.read_text("utf-8").replace('fusion = "like"', f'fusion = "{PRICED}"')
    config = config.replace("[items]", '[items]\npath = "items.csv"')
    toml.write_text(config + SAMPLE, "utf-8")
    journal = open_journal(folder, "corner")  # it has put the items without a price
    journal.append([ItemPatch(item_id=i, columns={"price": p}) for i, p in prices.items()])
    train(folder)
    version = Versions(folder).current(Kind.SERVING).name
    answered, known = [], []
    live = LiveRecommender.open(folder)
    for k in range(240):
        if k and k % 60 == 0:  # cheaper and dearer, an item with a first price, and a new one
            changes = {f"i{j}": 1.0 + (j + k) % 7 for j in range(k // 20, 30, 3)}
            prices |= changes
            journal.append([ItemPatch(item_id=i, columns={"price": p}) for i, p in changes.items()])
            journal.append([ItemPut(item_id=f"new{k}", columns={"name": "new", "price": 3.5})])
            prices[f"new{k}"] = 3.5
        answered.append(live.recommend(f"u{k % 60}", n=PLACES))
        known.append(dict(prices))
    live.close()
    journal.close()
    return folder, version, answered, known


def test_columns_of_items_are_those_at_the_answer(priced):
    """The values of a fusion that reads a column, by the prices that the test has put; and the
    service's own, which had the same fusion."""
    folder, version, answered, known = priced
    other = a_policy(folder, f'[cascade]\nfusion = "{PRICED}"\n{SAMPLE}')
    config = ProjectFolder(folder).config
    policy = read_policy(config, folder, other)
    assert (policy.of_items, policy.logged) == (True, False)
    table = AnsweredItems.of_version(Versions(folder).open(version))
    journal = open_journal(folder, "corner")
    values = PolicyValues(policy, folder, journal)
    number = {answer.recommendation_id: k for k, answer in enumerate(answered)}
    changed = 0
    for one in journal.answers.read(0, len(answered)):
        assert one.answer.trace is not None
        record = Record.of(one.answer.trace)
        ranked = record.ranked
        new = {row: item for item, row in record.new_items.items()}
        ids = [new.get(row) or table.id_of(row) for row in ranked.items.tolist()]
        prices = known[number[one.answer.recommendation_id]]
        changed += prices != known[0]
        hand = ranked.predictions["like"] * [prices.get(item, 1.0) for item in ids]
        found = values.of(one.answer, record, ranked)
        assert found is not None
        assert found == pytest.approx(hand, rel=1e-5)
        assert found == pytest.approx(ranked.value, rel=0.02)
        shown = ranked.slate
        assert found[shown] == pytest.approx(ranked.value[shown], rel=1e-5)
    assert changed == 180
    journal.close()


def test_a_fusion_of_item_columns_is_estimated(priced):
    folder, _, answered, _ = priced
    same = a_policy(folder, SAMPLE)
    found = estimate_policy(folder, same, "like", places=1)
    assert (found.answers, found.left_out) == (len(answered), {})
    assert found.weights[0].mean_weight == pytest.approx(1.0, abs=0.01)
    assert found.weights[0].effective > 0.98 * len(answered)
    assert found.agreement < 0.01
    squared = "like * default(price, 1) ** 3"
    other = a_policy(folder, f'[cascade]\nfusion = "{squared}"\n{SAMPLE}')
    found = estimate_policy(folder, other, "like", places=1)
    assert found.fusion == squared
    assert 100 < found.weights[0].effective < 0.99 * len(answered)
    assert found.weights[0].mean_weight == pytest.approx(1.0, abs=0.1)
    with pytest.raises(ConfigError, match="items have no price"):
        estimate_policy(folder, a_policy(folder, '[cascade]\nfusion = "like * price"'), "like")
    with pytest.raises(ConfigError, match="unknown name 'prise'; did you mean 'price'"):
        estimate_policy(
            folder, a_policy(folder, '[cascade]\nfusion = "like * default(prise, 1)"'), "like"
        )


def test_answers_of_a_version_that_is_gone_are_left_out(priced, tmp_path):
    folder, version, _, _ = priced
    copy = tmp_path / "shop"
    shutil.copytree(folder, copy)
    train(copy)
    shutil.rmtree(copy / "versions" / version)
    with pytest.raises(VersionError, match=f"{version} is not a version"):
        estimate_policy(copy, a_policy(copy, SAMPLE), "like")


WHOLE = """
cold_start = "recall"
order = "{order}"
[cascade.rerank.at_most]
column = "kind"
slate = 2
[cascade.rerank.mmr]
theta = 0.99
column = "kind"
"""


@pytest.fixture(scope="module", params=["rank", "auto", "channel", "both"])
def whole(request, tmp_path_factory):
    """A service with rules beside the draw and an order that is not the fusion's alone."""
    folder = tmp_path_factory.mktemp("whole") / "shop"
    corner_shop(folder)
    toml = folder / "tamis.toml"
    order = "rank" if request.param == "rank" else "auto"
    given = WHOLE.format(order=order).split("[", 1)
    text = toml.read_text("utf-8").replace('fusion = "like"', f'fusion = "like"{given[0]}')
    toml.write_text(f"{text}\n[{given[1]}{SAMPLE}", "utf-8")
    chosen = {"channel": (0.0, (("itemcf", 1.0),)), "both": (1.0, (("itemcf", 0.5),))}
    save = CandidateOrder.save
    with pytest.MonkeyPatch.context() as patched:
        if request.param in chosen:  # instead of what training chooses
            given_order = CandidateOrder(*chosen[request.param])
            patched.setattr(CandidateOrder, "save", lambda _, path: save(given_order, path))
        train(folder)
    live = LiveRecommender.open(folder)
    boost: dict[str, Any] = {"boost": [{"item_id": "i3", "factor": 2.0}]}
    for k in range(400):
        live.recommend(f"u{k % 61}", n=PLACES, **(boost if k % 7 == 0 else {}))
    live.close()
    return folder, request.param


def test_orders_new_users_boosts_and_rules_do_not_hinder_it(whole):
    """u60 is a new user, whose candidates recall orders."""
    folder, _ = whole
    same = a_policy(folder, SAMPLE)
    found = estimate_policy(folder, same, "like", places=2)
    assert (found.answers, found.left_out) == (400, {})
    assert found.weights[0].mean_weight == pytest.approx(1.0, abs=0.1)
    assert "the rules at_most, mmr" in found.note
    warmer = a_policy(folder, SAMPLE.replace("0.4", "0.6"))
    assert estimate_policy(folder, warmer, "like", places=1).weights[0].effective > 200


def test_the_values_of_the_same_policy_are_those_of_the_service(whole):
    """Also where they are made anew from the predictions, by another fusion of the same order."""
    folder, order = whole
    config = ProjectFolder(folder).config
    journal = open_journal(folder, "corner")
    same, again = (
        PolicyValues(read_policy(config, folder, a_policy(folder, text)), folder, journal)
        for text in (SAMPLE, f'[cascade]\nfusion = "like * 1"\n{SAMPLE}')
    )
    orders = set()
    for one in journal.answers.read(0, 400):
        assert one.answer.trace is not None
        record = Record.of(one.answer.trace)
        ranked = record.ranked
        orders.add(ranked.order)
        assert same.of(one.answer, record, ranked) == pytest.approx(ranked.value, rel=0.02)
        found = again.of(one.answer, record, ranked)
        if order == "channel" or ranked.order != "the ranker":
            close = np.isclose(found, ranked.value, rtol=0.02)
            assert close.mean() > (0.3 if order == "both" else 0.8)
        else:
            assert found == pytest.approx(ranked.value, rel=0.02)
    journal.close()
    assert len(orders) == 2


def test_the_refusal_counts_its_reasons(whole, tmp_path):
    folder, order = whole
    if order != "rank":
        pytest.skip("one order is enough")
    copy = tmp_path / "shop"
    shutil.copytree(folder, copy)
    toml = copy / "tamis.toml"
    declared = toml.read_text("utf-8")
    toml.write_text(declared.replace(SAMPLE, ""), "utf-8")
    train(copy)
    live = LiveRecommender.open(copy)
    for k in range(5):
        pins: dict[str, Any] = {"pins": {"i7": 1}} if k < 2 else {}
        live.recommend(f"u{k}", n=PLACES, **pins)
    live.close()
    match = (
        "none of the 5 answers.*3 have slates that were not drawn.*2 have items that the request"
    )
    with pytest.raises(DataError, match=match):
        estimate_policy(copy, a_policy(copy, SAMPLE), "like", most=5)
    toml.write_text(declared, "utf-8")
    found = estimate_policy(copy, a_policy(copy, SAMPLE), "like", places=1)
    assert list(found.left_out.values()) == [3, 2]


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
