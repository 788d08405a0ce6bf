"""The message about an unknown item, in projects with and without a table of items."""

from tamis.schema import parse_config
from tamis.service.answer import unknown_item


def test_an_unknown_item_is_sought_where_the_project_has_items() -> None:
    declared = {
        "name": "t",
        "events": {"path": "log.csv", "item": "sku"},
        "behaviours": {"view": {"positive": True}},
        "cascade": {"channels": {"hot": {}}, "rank": {"use": "gbdt"}},
    }
    text = unknown_item(parse_config(declared), "A-99999", "v1")
    assert text.startswith("item 'A-99999' is unknown: no event of the log of version v1 has it")
    assert "'sku'" in text
    assert "items' table" not in text
    table = {**declared, "items": {"path": "goods.csv", "id": "no"}}
    text = unknown_item(parse_config(table), "A-99999", "v1")
    assert text.startswith("item 'A-99999' is not in the items' table of version v1: check the id")
    assert "'no'" in text
