"""What every column of every written table means."""

from collections.abc import Mapping

SCHEMA_VERSION = 1
"""Raised when a written column changes its name, type or meaning."""

COLUMNS: Mapping[str, Mapping[str, str]] = {
    "items": {
        "item_id": "external id, ASCII, 'i' and at least six digits",
        "title": "topic, category and a noun, in English",
        "kind": "article or video",
        "category": "name of the category",
        "topic": "name of the sub-topic within the category",
        "author_id": "external id of the creator or seller, 'a' and at least six digits",
        "city": "name of the city the item belongs to",
        "lat": "latitude, degrees",
        "lon": "longitude, degrees",
        "price": "price in currency units, at least 0.5",
        "duration": "seconds it takes to watch or read in full, 5 to 3600",
        "published": "birth time, ms since 1970 UTC; never shown before it",
        "content": "content vector (float32[content_dim]): a rotated, noisy view of the hidden one",
    },
    "users": {
        "user_id": "external id, ASCII, 'u' and at least six digits",
        "gender": "f, m or x",
        "age_band": "under_18, 18_24, 25_34, 35_44, 45_54 or 55_plus",
        "city": "name of the home city",
        "lat": "latitude of the home, degrees",
        "lon": "longitude of the home, degrees",
        "interests": "one to three category names declared at signup, mostly true",
        "signup": "signup time, ms since 1970 UTC; no events before it",
        "activity_level": "light (half of the users), regular, or heavy (a tenth)",
    },
    "events": {
        "user_id": "who",
        "item_id": "what",
        "behaviour": "impression, click, like, collect, share, watch, cart or purchase",
        "time": "when it happened, ms since 1970 UTC; rows are in this order",
        "arrival": "when it reached the log, ms since 1970 UTC; at or after time",
        "value": "seconds for watch, price for purchase, else null",
        "request_id": "the request whose slate led to it, counted from 0 in order of time",
        "position": "place in that slate, from 1",
    },
    "truth": {
        "request_id": "the request; with item_id the key of the impression",
        "item_id": "the item shown",
        "user_id": "to whom",
        "position": "place in the slate, from 1",
        "time": "time of the impression, ms since 1970 UTC",
        "source": "why it was shown: taste, hot or random (uniform over living items)",
        "p_click": "true probability of a click",
        "p_like_given_click": "true probability of a like once clicked",
        "p_collect_given_click": "true probability of a collect once clicked",
        "p_share_given_click": "true probability of a share once clicked",
        "p_cart_given_click": "true probability of a cart once clicked",
        "p_purchase_given_cart": "true probability of a purchase once in the cart",
        "watch_given_click": "expected seconds watched once clicked",
        "p_cart": "p_click times p_cart_given_click",
        "p_purchase": "p_cart times p_purchase_given_cart",
    },
}
"""Table name (the file is ``<name>.parquet``) to column name to meaning, in file order."""
