"""The columns of all written tables, with their meanings."""

from collections.abc import Mapping

SCHEMA_VERSION = 1
"""Version of the written tables; it increases when a column changes its name, type or meaning."""

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
        "published": "publishing time, ms since 1970 UTC; the item is never shown before",
        "content": "content vector (float32[content_dim]): the latent one rotated, with noise",
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
        "user_id": "the user",
        "item_id": "the item",
        "behaviour": "impression, click, like, collect, share, watch, cart or purchase",
        "time": "time of the event, ms since 1970 UTC; rows are in this order",
        "arrival": "time at which the event reached the log, ms since 1970 UTC; not before time",
        "value": "seconds for watch, price for purchase, else null",
        "request_id": "the request whose slate showed the item, counted from 0 in order of time",
        "position": "position in that slate, from 1",
    },
    "truth": {
        "request_id": "the request; with item_id the key of the impression",
        "item_id": "the item shown",
        "user_id": "the user to whom it was shown",
        "position": "position in the slate, from 1",
        "time": "time of the impression, ms since 1970 UTC",
        "source": "why it was shown: taste, hot, random (uniform over published items), or repeat "
        "(the user has come back for it)",
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
"""Meaning of each column, by table (its file is ``<name>.parquet``), in the order of the file."""
