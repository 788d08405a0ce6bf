"""The usual meaning of the labels of a log: names of behaviours, emoji, and ratings in words."""

from __future__ import annotations

import re
import unicodedata

from tamis.data.column_names import USUAL, Usual, plain, word_set

_STARS = re.compile(r"([★⭐🌟]{1,5})[☆✩]*")
_WORDED = re.compile(
    r"([0-5](?:[.,]\d)?)[ _-]*(?:stars?|sterne?|estrellas?|etoiles?|stelle?|estrelas?|星)"
)
_FRACTION = re.compile(r"(\d+(?:[.,]\d+)?) ?(?:/|out of|von|sur|de|su) ?(5|10|20|100)")
_GOOD_SHARE = 0.75
"""Share of the highest rating from which on a rating in words is a success: 4 of 5 stars."""
_GOOD, _BAD = USUAL["like"], USUAL["dislike"]
_RESULTS = dict.fromkeys(
    word_set(
        "confirmed fulfilled delivered shipped passed pass success succeeded successful done "
        "完成 成功 通过 签收 发货"
    ),
    USUAL["accepted"],
) | dict.fromkeys(
    word_set(
        "failed failure fail unsuccessful lose blocked hidden spam abandoned dropped 失败 过期 关闭"
    ),
    _BAD,
)
"""Labels of what became of a row, which as names of columns would say something else."""
_EMOJI = dict.fromkeys("👍❤♥💕💖💗😍🥰🔥🎉👏😀😃😄😊🙂💯🧡💛💚💙💜🖤🤍", _GOOD) | dict.fromkeys(
    "👎💔😡😠🤬🤮😞😒🙁☹😢😭💩🚫", _BAD
)


def usual_meaning(label: str) -> Usual | None:
    """The usual meaning of a label of a behaviour, or None.

    `addtocart`, `已取消`, 👍, `★★★★☆`, `4 stars` and `18/20` have one; `type_3` has none.
    """
    key = plain(label)
    if key.startswith("已") and key not in USUAL:  # the perfect tense: 已取消 is "cancelled"
        key = key.removeprefix("已")
    if (usual := USUAL.get(key) or _RESULTS.get(key)) is not None:
        return usual
    text = unicodedata.normalize("NFKC", label).strip().replace("\ufe0f", "").lower()
    share = _rating_share(text)
    if share is not None:
        good = share >= _GOOD_SHARE
        name = f"rating_{round(100 * share)}"
        meaning = f"a rating of {share:.0%} of the highest"
        return Usual(2.0 if good else 0.0, positive=good, meaning=meaning, name=name)
    first = text[:1]
    return _EMOJI.get(first) if first and not first.isalnum() else None


def _rating_share(text: str) -> float | None:
    """A rating in words as a share of the highest one, or None."""
    if stars := _STARS.fullmatch(text):
        return len(stars[1]) / 5
    bare = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    if worded := _WORDED.fullmatch(bare):
        return _number(worded[1]) / 5
    if fraction := _FRACTION.fullmatch(bare):
        share = _number(fraction[1]) / int(fraction[2])
        return share if share <= 1 else None
    return None


def _number(text: str) -> float:
    return float(text.replace(",", "."))
