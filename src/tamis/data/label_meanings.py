"""The usual meaning of the labels of a log: names of behaviours, emoji, and ratings in words."""

from __future__ import annotations

import re
import unicodedata

from tamis.data.behaviour_names import UNWANTED, USUAL, Usual
from tamis.data.column_names import plain, word_set

_STARS = re.compile(r"([★⭐🌟]{1,5})[☆✩]*")
_WORDED = re.compile(
    r"(?:rated )?([0-5](?:[.,]\d)?)(?: ?(?:/|out of|von|sur|de|su) ?5)?[ _-]*"
    r"(?:stars?|sterne?|estrellas?|etoiles?|stelle?|estrelas?|星)"
    r"(?: rating)?"
)
_FRACTION = re.compile(r"(?:rated )?(\d+(?:[.,]\d+)?) ?(?:/|out of|von|sur|de|su) ?(5|10|20|100)")
_GOOD_SHARE = 0.75
"""Share of the highest rating from which on a rating in words is a success: 4 of 5 stars."""
_GOOD, _BAD = USUAL["like"], USUAL["dislike"]
_RESULTS = dict.fromkeys(
    word_set(
        "confirmed fulfilled delivered shipped passed pass success succeeded successful done "
        "完成 成功 通过 签收 发货 有效 生效 承保"
    ),
    USUAL["accepted"],
) | dict.fromkeys(
    word_set(
        "failed failure fail unsuccessful lose blocked hidden spam abandoned dropped 失败 过期 "
        "关闭 退保 终止 失效 拒保 撤单"
    ),
    _BAD,
)
"""Labels of what became of a row, which as names of columns would say something else."""
_JUDGEMENTS = (
    dict.fromkeys(
        word_set(
            "excellent great awesome perfect very_good satisfied very_satisfied sehr_gut gut "
            "excelente muy_bueno bueno excellent tres_bien bien otimo muito_bom bom ottimo "
            "好评 非常满意 很满意 很好 良い 満足 좋음 отлично хорошо"
        ),
        _GOOD,
    )
    | dict.fromkeys(
        word_set(
            "poor terrible awful very_bad horrible dissatisfied very_dissatisfied unsatisfied "
            "schlecht mangelhaft ungenugend malo muy_malo mauvais pessimo ruim "
            "不满意 很差 非常不满意 悪い 不満 나쁨 плохо ужасно"
        ),
        _BAD,
    )
    | dict.fromkeys(
        word_set(
            "neutral average okay ok fair so_so mediocre befriedigend ausreichend moyen "
            "中评 一般 普通 보통 нормально"
        ),
        Usual(0.0, meaning="neither good nor bad", name="neutral"),
    )
)
"""Ratings in words, of which at least two make a scale."""
_EMOJI = dict.fromkeys("👍❤♥💕💖💗😍🥰🔥🎉👏😀😃😄😊🙂💯🧡💛💚💙💜🖤🤍", _GOOD) | dict.fromkeys(
    "👎💔😡😠🤬🤮😞😒🙁☹😢😭💩🚫", _BAD
)


def usual_meaning(label: str, by_words: bool = True) -> Usual | None:
    """The usual meaning of a label of a behaviour, or None.

    `addtocart`, `已取消`, 👍, `★★★★☆`, `4 stars` and `18/20` have one; `type_3` has none.

    by_words: also by single words of the label, as in `clickout item`. In a column that need not
    hold behaviours, such labels may be something else (`Play Store`).
    """
    key = plain(label)
    if key.startswith("已") and key not in USUAL:  # the perfect tense: 已取消 is "cancelled"
        key = key.removeprefix("已")
    if (usual := USUAL.get(key) or _RESULTS.get(key) or _JUDGEMENTS.get(key)) is not None:
        return usual
    text = unicodedata.normalize("NFKC", label).strip().replace("\ufe0f", "").lower()
    share = _rating_share(text)
    if share is not None:
        good = share >= _GOOD_SHARE
        name = f"rating_{round(100 * share)}"
        meaning = f"a rating of {share:.0%} of the highest"
        return Usual(2.0 if good else 0.0, positive=good, meaning=meaning, name=name)
    first = text[:1]
    if first and not first.isalnum() and first in _EMOJI:
        return _EMOJI[first]
    return _by_words(key) if by_words else None


_NOT_YET = word_set("begin start started init initiate search list new")
"""Words of labels of steps before what the other words name: `begin_checkout`."""


def _by_words(key: str) -> Usual | None:
    """The usual meaning of a label of several words, of which some name one behaviour.

    `clickout item` is a click; `remove_from_wishlist` is taken back; `begin_checkout` has none.
    """
    words = key.split("_")
    if not 1 < len(words) <= 4 or _NOT_YET & set(words):
        return None
    found = {usual.name: usual for word in words if (usual := USUAL.get(word)) is not None}
    for name in UNWANTED:
        if name in found:
            return found[name]
    return next(iter(found.values())) if len(found) == 1 else None


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
