"""`tamis similar`: the items nearest to an item or to a text, by the vectors of a version."""

from __future__ import annotations

from pathlib import Path

from tamis.bundle import Kind, Versions
from tamis.schema import RequestError
from tamis.service import ProjectFolder, Similar, SimilarList


def similar(
    project: Path | str,
    *,
    item_id: object = None,
    text: str | None = None,
    n: int = 10,
    by: str | None = None,
    version: str | None = None,
) -> SimilarList:
    """The items nearest to one item, or to a text, best first.

    Args:
        project: the project's folder.
        item_id: external id of an item; give either this or `text`.
        text: any text; it is encoded as the items' texts were.
        n: number of items, at least 1.
        by: of an item, whose vectors are compared: "text" or a channel. If omitted: "text" if the
            version has texts, else the first channel that has vectors of items.
        version: name of a version. If omitted: the serving version.

    Raises RequestError for an unknown item, a channel without vectors or an n below 1, ConfigError
    where the version has no texts or vectors, VersionError where there is no version.
    """
    if (item_id is None) == (text is None):
        given = "both are" if item_id is not None else "neither is"
        raise RequestError(f"item_id, text: {given} given; give one of them", "item_id")
    if text is not None and by not in (None, "text"):
        raise RequestError(
            f"by = {by!r}: a text is compared with the texts of items only; leave it out", "by"
        )
    versions = Versions(ProjectFolder(Path(project)).root)
    found = Similar.open(versions.open(version) if version else versions.current(Kind.SERVING))
    return found.to_item(item_id, n, by) if text is None else found.to_text(text, n)
