"""`tamis lookalike`: users like given ones, or for an item, written to a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tamis.bundle import Versions
from tamis.data import check_ending, read_frame, write_frame
from tamis.jobs._deleted_users import deleted_since
from tamis.schema import DataError, RequestError
from tamis.service import Lift, LookalikeList, LookalikeSearch, ProjectFolder


@dataclass(frozen=True)
class LookalikeReport:
    """The result of `tamis lookalike`."""

    found: LookalikeList
    out: str | None
    """The file that holds the users; None where none was named."""

    @property
    def expected_lift(self) -> Lift | None:
        """The lift on held-out events against random users; None where it could not be measured."""
        return self.found.expected_lift

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; the users only where they are in no file."""
        values = asdict(self.found)
        if self.out is not None:
            values["users"] = len(self.found.users)
        return {**values, "out": self.out}


def lookalike(
    project: Path | str,
    *,
    item_id: object = None,
    user_ids: Sequence[object] | None = None,
    seeds: Path | str | None = None,
    n: int = 1000,
    channel: str = "",
    out: Path | str | None = None,
) -> LookalikeReport:
    """The n users most like given ones, with the expected lift against random users.

    Users are compared by their vectors as of the end of the serving version's data, without those
    who were deleted since. Give one of `item_id`, `user_ids` and `seeds`.

    Args:
        project: the project's folder.
        item_id: an item, or an ad that is an item: users like those who liked it, or nearest to its
            own vector where nobody has.
        user_ids: external ids of users.
        seeds: a table of users: its column of the project's user ids, or its first one; a file
            `.txt` holds one id per line.
        n: number of users, at least 1.
        channel: whose vectors; "": two_tower where it is declared, else the first with vectors.
        out: file for the users (user_id, score, rank): .parquet, .csv, .tsv or .jsonl.

    Raises RequestError for unknown users or items and wrong arguments, DataError for a table that
    cannot be read, ConfigError where no channel has vectors, VersionError without a version.
    """
    given = [item_id is not None, user_ids is not None, seeds is not None]
    if sum(given) != 1:
        raise RequestError(
            f"item_id, user_ids, seeds: {sum(given)} of them are given; give one", "item_id"
        )
    if out is not None:
        check_ending(Path(out))
    folder = ProjectFolder(Path(project))
    source = LookalikeSearch(Versions(folder.root), channel)
    deleted = deleted_since(folder, source.serving.version)
    if item_id is not None:
        found = source.to_item(item_id, n, deleted=deleted)
    else:
        ids = user_ids if seeds is None else _ids_of(Path(seeds), folder)
        found = source.to_users(list(ids or ()), n, deleted=deleted)
    if out is not None:
        write_frame(found.frame(), Path(out))
    return LookalikeReport(found, None if out is None else str(out))


def _ids_of(path: Path, folder: ProjectFolder) -> Sequence[object]:
    """The users that a file names."""
    if path.suffix == ".txt":
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"{path}: cannot be read ({error}); give one user id per line"
            ) from error
        return [line.strip() for line in lines if line.strip()]
    users = folder.config.users
    name = folder.config.events.user if users is None else users.id
    frame = read_frame(path, texts=[name])
    if name not in frame.columns:
        name = frame.columns[0]
        frame = read_frame(path, texts=[name])
    return frame[name].drop_nulls().to_list()
