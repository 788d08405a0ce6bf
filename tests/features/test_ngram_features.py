"""Features of texts: the n-grams of words, pooled; in DSSM, queries and documents."""

import numpy as np
import polars as pl
import pytest

import tamis
from tamis.features import FrameSpace
from tamis.schema import DataError, VarLenSparseFeat

FRAME = pl.DataFrame(
    {"query": ["Good day", "good", None, "xy"], "title": ["a good", "", "día", "q"]}
)


def test_texts_become_the_codes_of_their_ngrams():
    feature = VarLenSparseFeat("query", ngrams=(3, 3), max_len=8)
    shared = VarLenSparseFeat("title", ngrams=(3, 3), max_len=4, shares="query")
    space = FrameSpace.fit(FRAME, [feature, shared])
    rows = space.rows(FRAME)
    (block,) = rows.blocks
    known = ["#go", "goo", "ood", "od#"]  # twice each, so the first codes, in the order of texts
    codes = {g: 2 + k for k, g in enumerate(sorted(known))}
    codes |= {g: 6 + k for k, g in enumerate(sorted(["#da", "day", "ay#", "#xy", "xy#"]))}
    good = [codes[g] for g in known]
    expected = [
        [*good, codes["#da"], codes["day"], codes["ay#"], 0],
        [*good, 0, 0, 0, 0],
        [0] * 8,
        [codes["#xy"], codes["xy#"], 0, 0, 0, 0, 0, 0],
    ]
    assert block.ids[:, :8].tolist() == expected
    titles = [[1, *good[:3]], [0] * 4, [1, 1, 1, 0], [1, 0, 0, 0]]  # 1: not in a query
    assert block.ids[:, 8:].tolist() == titles
    assert space.coverage()["present"].to_list() == [0.75, 0.75]


def test_hashed_ngrams_need_no_dictionary():
    feature = VarLenSparseFeat("query", ngrams=(2, 4), vocabulary="hash", buckets=50, max_len=30)
    space = FrameSpace.fit(FRAME, [feature])
    later = pl.DataFrame({"query": ["never seen", "good"]})
    (block,) = space.rows(later).blocks
    assert block.ids.max() < 52
    assert (block.ids[0] > 1).sum() == 30 or (block.ids[0] != 1).all()
    (first,) = space.rows(FRAME).blocks
    np.testing.assert_array_equal(block.ids[1], first.ids[1])


def test_errors():
    with pytest.raises(ValueError, match=r"ngrams = \(3, 3\) has no effect: it needs no separator"):
        VarLenSparseFeat("q", ngrams=(3, 3), separator=" ")
    with pytest.raises(ValueError, match="give the shortest and the longest n-gram"):
        VarLenSparseFeat("q", ngrams=(3, 2))
    with pytest.raises(ValueError, match=r"ngrams = .* it needs no history"):
        VarLenSparseFeat("q", ngrams=(3, 3), history=("click",))
    with pytest.raises(DataError, match=r"column 'q' is List\(String\), not text"):
        FrameSpace.fit(pl.DataFrame({"q": [["a"]]}), [VarLenSparseFeat("q", ngrams=(3, 3))])


TOPICS = (
    ["running shoe", "trail runner", "marathon shoes", "sprint sole"],
    ["coffee machine", "espresso grinder", "coffee filters", "roasted espresso"],
    ["mountain bike", "cycling helmet", "bike pedals", "cyclist gloves"],
)


def pairs(seed: int, n: int = 900) -> pl.DataFrame:
    """Queries and documents; a click where both are of one topic."""
    random = np.random.default_rng(seed)
    left, right = random.integers(0, 3, (2, n))
    right = np.where(random.random(n) < 0.4, left, right)
    return pl.DataFrame(
        {
            "query": [str(random.choice(TOPICS[t])) for t in left],
            "title": [str(random.choice(TOPICS[t])) for t in right],
            "click": (left == right).astype(np.int8),
        }
    )


def test_dssm_learns_from_letter_trigrams_and_reads_words_that_it_has_not_seen():
    trigrams = {"ngrams": (3, 3), "max_len": 32, "pooling": "sum"}
    model = tamis.DSSM(
        user_features=[VarLenSparseFeat("query", **trigrams)],
        item_features=[VarLenSparseFeat("title", shares="query", **trigrams)],
        embedding_dim=16,
        hidden_units=(16,),
        epochs=6,
        learning_rate=0.01,
        batch_size=64,
    )
    model.fit(pairs(0), label="click")
    assert model.evaluate(pairs(1))["auc"] > 0.95
    titles = pl.DataFrame({"title": [t for topic in TOPICS for t in topic]})
    # "runners", "bikes": words that no pair has
    queries = pl.DataFrame({"query": ["runners marathons", "espressos", "bikes and cyclists"]})
    score = model.user_embeddings(queries) @ model.item_embeddings(titles).T
    assert (score.reshape(3, 3, 4).mean(axis=2).argmax(axis=1) == [0, 1, 2]).all()
