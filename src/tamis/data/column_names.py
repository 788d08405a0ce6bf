"""Usual names of tables, columns and behaviours, which `tamis init` looks for."""

from __future__ import annotations

import re
from dataclasses import dataclass


def _list(text: str) -> list[str]:
    return text.split()


_ID = r"(_?(id|key|no|num|number|code|idx))?"
EVENT_TABLES = _list(
    "events event ratings rating interactions interaction inter logs log clicks actions activity "
    "behaviors behaviours behavior purchases orders transactions views reviews checkins plays "
    "impressions feedback"
)
ITEM_TABLES = _list(
    "items item products product videos video movies movie films songs tracks articles news books "
    "goods posts places pois ads catalog catalogue content listings shows"
)
USER_TABLES = _list("users user customers members accounts visitors people profiles audience")

USER = re.compile(
    rf"^(user|customer|member|visitor|account|client|person|buyer|reviewer|uid|u){_ID}$"
)
ITEM = re.compile(
    "^(item|product|video|movie|film|song|track|article|news|book|sku|asin|post|content|doc|"
    f"document|ad|poi|place|venue|listing|business|goods|photo|note|show|iid|i){_ID}$"
)
TIME = _list(
    "time timestamp ts event_time datetime time_ms event_timestamp date created_at created when "
    "unix_time occurred_at at unixreviewtime"
)
ARRIVAL = _list("arrival arrived arrival_time arrived_at ingested_at received_at server_time")
BEHAVIOUR = _list(
    "behaviour behavior event event_type action action_type event_name behavior_type "
    "behaviour_type interaction interaction_type type kind activity"
)
VALUE = _list(
    "rating score stars value play_time watch_time watch_seconds seconds dwell dwell_time "
    "duration price amount quantity play_time_ms"
)
RATING = _list("rating score stars value overall")
REQUEST = _list("request_id request req_id impression_id slate_id search_id query_id")
POSITION = _list("position pos slot rank place")
TITLE = _list("title name headline product_name item_name movie_title video_title caption")
CATEGORY = _list(
    "category categories genre genres category_id category_name cate cat topic topics department "
    "section class tag tags"
)
AUTHOR = _list(
    "author author_id artist artist_id seller seller_id creator creator_id publisher channel "
    "director shop_id uploader"
)
PUBLISHED = _list(
    "published published_at publish_time publish_date upload_dt upload_time uploaded_at "
    "created_at release_date listed_at birth"
)


@dataclass(frozen=True)
class Usual:
    """The usual meaning of a behaviour."""

    weight: float
    """The interest value that collaborative channels sum."""
    positive: bool = False
    impression: bool = False
    meaning: str = ""
    """The meaning in words, for the comment in `tamis.toml`."""


_USUAL: tuple[tuple[str, Usual], ...] = (
    (
        "impression impressions exposure exposures exposed show shown display displayed imp",
        Usual(0.0, impression=True, meaning="the item was merely shown"),
    ),
    ("click clicks clicked tap open detail visit pv", Usual(1.0, True, meaning="a click")),
    ("view views viewed pageview page_view", Usual(1.0, True, meaning="opened")),
    ("like likes liked upvote heart thumbs_up", Usual(2.0, True, meaning="liked")),
    (
        "collect collects favorite favourite fav favorites bookmark save saved wishlist",
        Usual(2.0, True, meaning="kept for later"),
    ),
    ("share shares shared forward repost retweet", Usual(3.0, True, meaning="passed on")),
    ("follow follows subscribe", Usual(2.0, True, meaning="followed the author")),
    ("comment comments reply review", Usual(2.0, True, meaning="talked about")),
    ("cart add_to_cart addtocart basket add_cart", Usual(2.0, True, meaning="put into the cart")),
    (
        "purchase purchases buy bought order ordered transaction checkout pay",
        Usual(3.0, True, meaning="bought"),
    ),
    (
        "watch play listen read stream watched played",
        Usual(0.0, meaning="with seconds; add min_value and positive = true to make it positive"),
    ),
    (
        "dislike dislikes hate block report hide not_interested downvote thumbs_down unlike",
        Usual(0.0, meaning="unwanted"),
    ),
    (
        "remove_from_cart remove removefromcart return refund unfollow uncollect",
        Usual(0.0, meaning="taken back"),
    ),
)
USUAL = {word: usual for words, usual in _USUAL for word in words.split()}


def plain(name: str) -> str:
    """A name in snake case: `user_id` for `UserID`, `user-id` and `user id`."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[^a-z0-9]+", "_", snake.lower()).strip("_")
