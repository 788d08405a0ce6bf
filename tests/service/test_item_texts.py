"""Texts of items that come while a version serves."""

import numpy as np
import polars as pl

from tamis.data import Table
from tamis.features.text_vectors import encoded
from tamis.schema import TextConfig
from tamis.service.item_texts import ItemTexts
from tamis.text import NGramEncoder

TITLES = ["red shoes", "blue shoes", "green tea", "black tea", "oak table", None]


def test_texts_of_new_items_are_encoded_as_those_of_the_version():
    config = TextConfig(columns=("title",), name="words", width=4)
    encoder = NGramEncoder(width=4).fit(pl.Series(TITLES))
    plain = Table("items", pl.Series(list("abcdef")), pl.DataFrame({"title": TITLES}))
    items = encoded(plain, config, encoder)
    texts = ItemTexts.of(items, config, encoder, seed=0)
    new, bare = items.add(["new", "bare"]).tolist()
    items.change(new, {"title": "red shoes"}, keep=False)
    items.change(2, {"title": "blue shoes"}, keep=True)
    items.change(3, {"title": None}, keep=True)
    texts.update_items(items, np.array([2, 3, new, bare], np.int32), config)
    vectors = items.part(np.array([0, 1, new, 2, 3, bare])).frame["words"].to_list()
    assert vectors[:2] == vectors[2:4]  # bit for bit
    assert vectors[4:] == [None, None]
    found, score = texts.index.search(encoder.encode(pl.Series(["red shoes"])), 8)
    assert set(found[0, :2].tolist()) == {0, new}
    np.testing.assert_allclose(score[0, :2], 1, atol=1e-5)
    assert not {3, 5, bare} & set(found[0].tolist())
