"""Names of cities, categories, topics and other attributes; all ASCII."""

from collections.abc import Sequence

CITIES: tuple[tuple[str, float, float], ...] = (
    ("Paris", 48.8566, 2.3522),
    ("London", 51.5074, -0.1278),
    ("Berlin", 52.5200, 13.4050),
    ("Madrid", 40.4168, -3.7038),
    ("Rome", 41.9028, 12.4964),
    ("Vienna", 48.2082, 16.3738),
    ("Hamburg", 53.5511, 9.9937),
    ("Warsaw", 52.2297, 21.0122),
    ("Budapest", 47.4979, 19.0402),
    ("Barcelona", 41.3874, 2.1686),
    ("Munich", 48.1351, 11.5820),
    ("Milan", 45.4642, 9.1900),
    ("Prague", 50.0755, 14.4378),
    ("Lyon", 45.7640, 4.8357),
    ("Amsterdam", 52.3676, 4.9041),
    ("Brussels", 50.8503, 4.3517),
    ("Lisbon", 38.7223, -9.1393),
    ("Dublin", 53.3498, -6.2603),
    ("Copenhagen", 55.6761, 12.5683),
    ("Stockholm", 59.3293, 18.0686),
    ("Oslo", 59.9139, 10.7522),
    ("Helsinki", 60.1699, 24.9384),
    ("Athens", 37.9838, 23.7275),
    ("Turin", 45.0703, 7.6869),
)
"""Name, latitude and longitude in degrees, the largest in the simulation first."""

GENDERS: tuple[str, ...] = ("f", "m", "x")
AGE_BANDS: tuple[str, ...] = ("under_18", "18_24", "25_34", "35_44", "45_54", "55_plus")
ACTIVITY_LEVELS: tuple[str, ...] = ("light", "regular", "heavy")
KINDS: tuple[str, ...] = ("article", "video")

_CATEGORIES = (
    "cooking",
    "fashion",
    "travel",
    "sports",
    "music",
    "film",
    "books",
    "gaming",
    "gardening",
    "fitness",
    "beauty",
    "pets",
    "cars",
    "photography",
    "science",
    "history",
    "design",
    "coffee",
    "cycling",
    "parenting",
    "finance",
    "crafts",
    "theatre",
    "outdoors",
)
_TOPICS = (
    "budget",
    "classic",
    "modern",
    "family",
    "weekend",
    "expert",
    "local",
    "seasonal",
    "vintage",
    "minimal",
)
_NOUNS = {
    "article": ("guide", "story", "review", "notes"),
    "video": ("clip", "tour", "lesson", "show"),
}


def category_names(count: int) -> list[str]:
    """``count`` distinct category names: words first, then ``category_24`` and so on."""
    return [_word(_CATEGORIES, n, "category") for n in range(count)]


def topic_names(count: int) -> list[str]:
    """``count`` distinct topic names, the same words in every category."""
    return [_word(_TOPICS, n, "topic") for n in range(count)]


def title_nouns(kind: str) -> tuple[str, ...]:
    """The nouns that end the titles of a kind of item."""
    return _NOUNS[kind]


def _word(words: Sequence[str], n: int, prefix: str) -> str:
    return words[n] if n < len(words) else f"{prefix}_{n}"
