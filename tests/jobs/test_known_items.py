"""Which items an evaluation masks, in words."""

import numpy as np
import pytest

from tamis.data import Ragged
from tamis.jobs._known_items import masking


@pytest.mark.parametrize(
    ("names", "masked"),
    [
        ([], "nothing"),
        (["seen"], "what the filter seen removes"),
        (["bought", "hidden"], "what the filters bought, hidden remove"),
    ],
)
def test_the_protocol_names_the_filters(names: list[str], masked: str) -> None:
    known = Ragged.from_pairs(np.array([0, 0]), np.array([1, 2], np.int32), 1)
    exclude = Ragged.from_pairs(np.array([0]), np.array([1], np.int32), 1)
    assert masking(known, exclude, names) == {"masked": masked, "seen_masked": False}
