"""The encoder of n-grams: similarities by hand, unit vectors, and what is saved."""

import numpy as np
import polars as pl
import pytest

from tamis.schema import ConfigError, NotFittedError, VersionError
from tamis.text import NGramEncoder, TextEncoder, load_text_encoder
from tamis.text import ngrams as module

TITLES = pl.Series(
    "title",
    [
        "Toy Story",
        "Toy Story 2",
        "The Silence of the Lambs",
        "红色 跑步鞋",
        "蓝色跑步鞋 男",
        "咖啡机",
        "",
        None,
    ],
)
PROJECTIONS = ("learnt", "random")


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_similar_texts_have_similar_vectors(projection):
    encoder = NGramEncoder(projection=projection, width=256).fit(TITLES)
    vectors = encoder.encode(TITLES)
    length = np.linalg.norm(vectors, axis=1)
    np.testing.assert_allclose(length, [1] * 6 + [0] * 2, atol=1e-6)
    cosine = vectors @ vectors.T
    assert cosine[0, 1] > 0.5
    assert cosine[3, 4] > 0.15  # 跑步鞋
    assert abs(cosine[0, 2]) < 0.15
    assert abs(cosine[3, 5]) < 0.1
    query = encoder.encode(pl.Series(["toystory", "跑鞋"]))
    assert (query @ vectors.T).argmax(axis=1)[0] in (0, 1)


def test_all_coordinates_of_a_learnt_projection_keep_inner_products():
    """With as many coordinates as texts, the projection is a rotation of their span."""
    encoder = NGramEncoder(width=8, unit="words", lengths=(1, 1)).fit(
        texts := pl.Series(["a b", "b c", "c d", "d a", "a a b"])
    )
    idf = {w: 1 + np.log(6 / (1 + n)) for w, n in {"a": 3, "b": 3, "c": 2, "d": 2}.items()}
    rows = []
    for text in texts:
        counts = {w: text.split().count(w) for w in "abcd"}
        row = np.array([(1 + np.log(n)) * idf[w] if n else 0.0 for w, n in counts.items()])
        rows.append(row / np.linalg.norm(row))
    expected = np.array(rows) @ np.array(rows).T
    vectors = encoder.encode(texts)
    np.testing.assert_allclose(vectors @ vectors.T, expected, atol=1e-5)
    assert vectors.shape == (5, 8)


def test_a_learnt_projection_finds_texts_without_common_words():
    pairs = [("sofa", "couch"), ("car", "automobile")]
    texts = [f"{a} {b} n{i}" for i in range(20) for a, b in pairs]
    kinds = {
        p: NGramEncoder(
            unit="words", lengths=(1, 1), projection=p, width=4 if p == "learnt" else 64
        )
        for p in PROJECTIONS
    }
    found = {}
    for name, encoder in kinds.items():
        v = encoder.fit(pl.Series(texts)).encode(pl.Series(["sofa", "couch", "car"]))
        found[name] = v @ v.T
    assert found["learnt"][0, 1] > 0.9
    assert abs(found["learnt"][0, 2]) < 0.3
    assert abs(found["random"][0, 1]) < 0.1


def test_random_projection_keeps_inner_products_on_average():
    random = np.random.default_rng(0)
    texts = pl.Series([" ".join(f"w{x}" for x in random.choice(400, 20)) for _ in range(150)])
    wide = NGramEncoder(unit="words", projection="random", width=4096).fit(texts).encode(texts)
    small = NGramEncoder(unit="words", projection="random", width=256).fit(texts).encode(texts)
    error = (small @ small.T - wide @ wide.T)[~np.eye(150, dtype=bool)]
    assert abs(error.mean()) < 0.01
    assert np.abs(error).mean() < 0.08


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_saved_encoders_give_the_same_vectors_and_texts_do_not_affect_each_other(
    projection, tmp_path, monkeypatch
):
    encoder = NGramEncoder(projection=projection, width=16, lengths=(3, 3)).fit(TITLES, seed=5)
    encoder.save(tmp_path / "text")
    opened = load_text_encoder(tmp_path / "text")
    assert isinstance(opened, TextEncoder)
    assert repr(opened) == repr(encoder)
    together = encoder.encode(TITLES)
    np.testing.assert_array_equal(opened.encode(TITLES), together)
    alone = [opened.encode(TITLES[i : i + 1])[0] for i in range(len(TITLES))]
    np.testing.assert_array_equal(np.array(alone), together)
    monkeypatch.setattr(module, "BLOCK", 3)
    again = NGramEncoder(projection=projection, width=16, lengths=(3, 3)).fit(TITLES, seed=5)
    np.testing.assert_array_equal(again.encode(TITLES), together)
    other = NGramEncoder(projection=projection, width=16, lengths=(3, 3)).fit(TITLES, seed=6)
    assert not np.array_equal(other.encode(TITLES), together)


def test_a_large_catalogue_is_learnt_from_a_sample(monkeypatch):
    texts = pl.Series([f"red shoe {i % 7}" if i % 2 else f"blue hat {i % 5}" for i in range(60)])
    monkeypatch.setattr(module, "SAMPLE", 20)
    encoder = NGramEncoder(width=2).fit(texts)
    vectors = encoder.encode(texts)
    assert vectors[1] @ vectors[3] > 0.9
    assert vectors[1] @ vectors[2] < 0.3
    monkeypatch.setattr(module, "SAMPLE", 60)
    assert not np.array_equal(NGramEncoder(width=2).fit(texts).encode(texts), vectors)


@pytest.mark.parametrize("texts", [[], [None, ""], ["!?"]])
def test_catalogues_without_texts(texts):
    for projection in PROJECTIONS:
        encoder = NGramEncoder(projection=projection, width=4).fit(
            pl.Series(texts, dtype=pl.String)
        )
        assert not encoder.encode(pl.Series(texts, dtype=pl.String)).any()
    assert NGramEncoder(width=4).fit(pl.Series([], dtype=pl.String)).encode(
        pl.Series(["a"])
    ).shape == (1, 4)


def test_errors(tmp_path):
    with pytest.raises(NotFittedError, match=r"call fit\(texts\) first"):
        NGramEncoder().encode(TITLES)
    with pytest.raises(NotFittedError, match="nothing to save"):
        NGramEncoder().save(tmp_path)
    with pytest.raises(
        ConfigError, match=r"lengths = \(4, 2\): give the shortest.*within 1 and 16"
    ):
        NGramEncoder(lengths=(4, 2))
    with pytest.raises(ConfigError, match=r"widht.*did you mean 'width'|widht.*width"):
        NGramEncoder(widht=3)
    NGramEncoder(width=4).fit(TITLES).save(tmp_path)
    about = (tmp_path / "encoder.json").read_text()
    (tmp_path / "encoder.json").write_text(about.replace('"ngrams"', '"later"'))
    with pytest.raises(VersionError, match="'later' is no text encoder of this release"):
        load_text_encoder(tmp_path)
    (tmp_path / "encoder.json").write_text(about)
    (tmp_path / "projection.npy").write_bytes(b"")
    with pytest.raises(VersionError, match=r"projection.npy is missing or damaged"):
        load_text_encoder(tmp_path)
