"""Words of dates in several languages: months, halves of the day, eras of Japan, zones."""

from __future__ import annotations

import unicodedata

import polars as pl

_MONTHS = (  # names and usual abbreviations, by month
    "january jan januar janvier janv enero ene gennaio gen janeiro januari января янв",
    "february feb februar fevrier fevr fev febrero febbraio fevereiro februari февраля фев февр",
    "march mar marz mars mrz marzo marco maart mrt марта мар",
    "april apr avril avr abril abr aprile апреля апр",
    "may mai mayo maggio mag maio mei мая май",
    "june jun juni juin junio giugno giu junho июня июн",
    "july jul juli juillet juil julio luglio lug julho июля июл",
    "august aug aout ago agosto augustus августа авг",
    "september sep sept septembre septiembre settembre set setembro сентября сен сент",
    "october oct oktober okt octobre octubre ottobre ott outubro out октября окт",
    "november nov novembre noviembre novembro ноября ноя нояб",
    "december dec dezember dez decembre diciembre dic dicembre dezembro декабря дек",
)


def bare(text: str) -> str:
    """A text in lower case, without accents and in half-width letters: `März` is `marz`."""
    wide = unicodedata.normalize("NFKD", text.lower())
    kept = "".join(c for c in wide if not unicodedata.category(c).startswith("M"))
    return unicodedata.normalize("NFC", kept)


def bare_texts(texts: pl.Series) -> pl.Series:
    """(n,) texts as `bare` writes them."""
    lower = texts.str.to_lowercase()
    if not lower.str.contains(r"[^\x00-\x7f]").any():
        return lower
    return lower.str.normalize("NFKD").str.replace_all(r"\p{M}", "").str.normalize("NFC")


MONTHS = {bare(name): n for n, names in enumerate(_MONTHS, 1) for name in names.split()}
ZONE_HOURS = {
    "z": 0, "utc": 0, "gmt": 0, "wet": 0, "west": 1, "bst": 1, "cet": 1, "cest": 2, "eet": 2,
    "eest": 3, "msk": 3, "jst": 9, "kst": 9, "hkt": 8, "sgt": 8, "aest": 10,
    "est": -5, "edt": -4, "cst": -6, "cdt": -5, "mst": -7, "mdt": -6, "pst": -8, "pdt": -7,
}  # fmt: skip
"""Names of time zones and their hours: those of RFC 2822, and usual ones with a single meaning."""
_ERAS = {"令和": 2018, "平成": 1988, "昭和": 1925, "大正": 1911}
_ERA = r"^(令和|平成|昭和|大正)\s*(元|\d{1,2})\s*年"
_HALVES = (
    (r"(?:上午|午前|凌晨|早上|早晨|오전)", "a"),
    (r"(?:下午|午後|晚上|傍晚|中午|오후)", "p"),
)


def eastern(texts: pl.Series) -> pl.Series:
    """(n,) texts with the dates and clocks of Chinese, Japanese and Korean as Europeans write them.

    `令和2年1月5日(日) 午後3時05分` becomes `2020-1-5 3:05 pm`. texts: as `bare_texts` writes them.
    """
    if not texts.str.contains(r"[年月日时時点點시분년월일午오元]|凌晨|早|晚|傍").any():
        return texts
    text = texts.str.replace_all(
        r"[(（]?(?:[月火水木金土日]曜日|星期.|周[一二三四五六日])[)）]?", " "
    )
    text = text.str.replace_all(r"[(（][月火水木金土日一二三四五六월화수목금토일][)）]", " ")
    for era, before in _ERAS.items():
        if not text.str.contains(era, literal=True).any():
            continue
        year = text.str.extract(_ERA, 2).replace("元", "1").cast(pl.Int64) + before
        rest = text.str.replace(_ERA, "年")
        text = pl.select(
            pl.when(text.str.starts_with(era) & year.is_not_null())
            .then(pl.concat_str(year.cast(pl.String), rest))
            .otherwise(text)
        ).to_series()
    text = text.str.replace(
        r"(\d{4})\s*[年년]\s*(\d{1,2})\s*[月월](?:\s*(\d{1,2})\s*[日일]?)?\s*", "${1}-${2}-${3} "
    )
    text = text.str.replace(r"-\s*$", "")
    text = text.str.replace(
        r"(\d{1,2})\s*[时時点點시]\s*(?:(\d{1,2})\s*[分분])?\s*(?:(\d{1,2})\s*[秒초])?",
        "${1}:${2}:${3}",
    )
    text = text.str.replace_all(r":(:|$|\s)", ":00${1}").str.replace_all(r":(:|$|\s)", ":00${1}")
    for words, letter in _HALVES:
        text = text.str.replace(rf"{words}\s*(\d[\d:.]*)", rf"${{1}} {letter}m")
    for _ in range(2):  # a match takes the colon after it
        text = text.str.replace_all(r":(\d)(:|$|\s)", ":0${1}${2}")
    return text.str.strip_chars()
