"""`tamis doctor`: checks the data of a project for errors and suspicious values before training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from tamis.data import (
    Dataset,
    EventLog,
    Given,
    Table,
    TableSet,
    form_of,
    format_of,
    id_text,
    infer_types,
    parse_times,
    read_dataset,
    read_declared,
    repeat_share,
    table_stem,
)
from tamis.onboarding._feature_checks import constant_features, feature_coverage
from tamis.onboarding._findings import Case, Examination, Finding, Severity
from tamis.onboarding._outcomes import outcome_advice, unused_columns
from tamis.runtime import Int32
from tamis.schema import (
    ConfigError,
    DataError,
    MissingExtraError,
    ProjectConfig,
    SplitConfig,
    TableConfig,
    condition_of,
)
from tamis.splitting import Window, cuts, events_in, replay_windows

_ORDER: dict[Severity, int] = {"error": 0, "warning": 1, "note": 2}
DAY_MS = 86_400_000
_MANY_WITHOUT_TEXT = 0.5
"""Share of items without a text from which on the declared texts are questioned."""
_WRITTEN_BY_COMMANDS = ("rejects", "scores", "truth")
"""Stems of tables that `tamis train`, `score` and `simulate` write."""
_MANY_REPEATS = 0.2
"""Share of repeated positives from which on a filter of all known items is questioned."""


def examine(config: ProjectConfig, root: Path | str) -> Examination:
    """Reads the tables of the project and lists the findings, errors first.

    Their `features` is the coverage of the features in the tables.

    A table that cannot be read is a finding as well: bad data raise no error here.
    """
    root = Path(root)
    found, features = list(_ids_match(config, root)), []
    data = None
    try:
        data, rejects = read_dataset(config, root)
    except DataError as error:
        fix = "Correct the file or its section in tamis.toml as the message says."
        found.append(Finding("error", str(error), _file_at_fault(config, str(error)), fix))
    else:
        data = _with_texts(config, root, data, found)
        case = Case(config, root, data, rejects)
        found += [finding for check in _CHECKS for finding in check(case)]
        try:
            features = feature_coverage(case)
        except (ConfigError, DataError, MissingExtraError) as error:
            fix = "Correct the feature or its column as the message says."
            found.append(Finding("error", str(error), "tamis.toml, [[features]]", fix))
    examination = Examination(sorted(found, key=lambda f: _ORDER[f.severity]))
    examination.features, examination.data = features, data
    return examination


def _file_at_fault(config: ProjectConfig, message: str) -> str:
    """The declared file that an error's message names first; the event log's if it names none."""
    tables = (config.events, config.items, config.users, config.follows)
    paths = {table.path for table in tables if table is not None and table.path}
    named = [(message.find(path), -len(path), path) for path in paths if path in message]
    return min(named)[-1] if named else config.events.file


def _with_texts(config: ProjectConfig, root: Path, data: Dataset, found: list[Finding]) -> Dataset:
    """The data with a column in place of the vectors of `[items.text]`, which are not computed.

    Adds findings on texts that cannot be encoded or that few items have.
    """
    text = config.items.text
    if text is None:
        return data
    from tamis.features import placeholder_vectors
    from tamis.text import declared_width

    where = "tamis.toml, [items.text]"
    try:
        items = placeholder_vectors(data.items, text, declared_width(text, root))
    except (ConfigError, DataError, MissingExtraError) as error:
        fix = "Correct the section or the column as the message says."
        found.append(Finding("error", str(error), where, fix))
        return data
    without = items.frame[text.name].null_count() / max(len(items), 1)
    if without > _MANY_WITHOUT_TEXT:
        what = f"{without:.0%} of the items have no text in {', '.join(text.columns)}"
        fix = "Name the columns that hold the texts, or remove the section."
        found.append(Finding("warning", what, where, fix))
    return replace(data, items=items)


def _ids_match(config: ProjectConfig, root: Path) -> Iterator[Finding]:
    """Ids written in two forms: `1` in one table and `001` in the other, `a1` and `A1`."""
    tables: list[tuple[TableConfig | None, str]] = [
        (config.items, config.events.item),
        (config.users, config.events.user),
    ]
    try:
        log = read_declared(config.events, root)
        for table, column in tables:
            if table is None or table.path is None or column not in log.frame.columns:
                continue
            raw = read_declared(table, root)
            if table.id not in raw.frame.columns:
                continue
            texts = [form_of(of, file).missing for of, file in ((table, raw), (config.events, log))]
            known = id_text(raw.frame[table.id], table.path, texts[0]).drop_nulls().unique()
            used = id_text(log.frame[column], log.file, texts[1]).drop_nulls().unique()
            there = f"`{table.id}` of {table.path}"
            yield from _compare_ids(known, used, there, f"{log.file}, `{column}`")
    except DataError:
        return  # `examine` reports the same error when it reads the tables


_FORMS: dict[str, tuple[pl.Expr, str]] = {
    "leading zeros": (
        pl.col("id").str.replace(r"^0+(\d)", "$1"),
        "write leading zeros in both tables or in neither",
    ),
    "capital letters": (pl.col("id").str.to_lowercase(), "write ids in one case"),
}


def _compare_ids(known: pl.Series, used: pl.Series, there: str, where: str) -> Iterator[Finding]:
    held = _overlap(used, known)
    if held > 0.99 or len(used) == 0:
        return
    for form, (expression, fix) in _FORMS.items():
        plain = [ids.alias("id").to_frame().select(expression)["id"] for ids in (used, known)]
        if _overlap(*plain) > held + 0.005:
            more = _overlap(*plain) - held
            lost = used.filter(~used.is_in(known.implode()))
            text = (
                f"ids are written in two ways: {more:.1%} of the ids here match {there} "
                f'only without {form} (here "{lost[0]}", there "{known[0]}")'
            )
            yield Finding(
                "error" if more > 0.05 else "warning", text, where, f"{fix}.".capitalize()
            )


def _overlap(used: pl.Series, known: pl.Series) -> float:
    return int(used.is_in(known.implode()).sum()) / max(len(used), 1)


def _left_out(case: Case) -> Iterator[Finding]:
    for file, total in case.rejects.rows_read.items():
        share = case.rejects.share(file)
        if share > 0:
            reasons = [
                f"{reason.split(':')[0]} {count:,} ({sample})"
                for f, reason, count, sample in case.rejects.summary()
                if f == file
            ]
            severity = "error" if share > 0.5 else "warning" if share > 0.01 else "note"
            what = f"{share:.2%} of {total:,} rows are left out: {'; '.join(reasons[:3])}"
            yield Finding(severity, what, file, "`tamis train` lists each in rejects.csv.")


def _readings(case: Case) -> Iterator[Finding]:
    """How values were read, where it is not evident."""
    for note in case.rejects.notes:
        where = f"{note.file}, `{note.column}`" if note.column else note.file
        severity: Severity = "warning" if note.doubtful else "note"
        yield Finding(severity, note.what, where, note.fix or "Nothing, if that is right.")


def _mixed_units(case: Case) -> Iterator[Finding]:
    count = case.rejects.count(case.config.events.file, "time in another unit")
    if count:
        yield Finding(
            "error" if count > 0.001 * len(case.data.events) else "warning",
            f"{count:,} timestamps are in another unit than the rest",
            f"{case.config.events.file}, `{case.config.events.time}`",
            "Bring the column to one unit where it is written (seconds and milliseconds mixed?).",
        )


def _positives(case: Case) -> Iterator[Finding]:
    data = case.data
    counts = np.bincount(data.events.behaviour, minlength=len(data.behaviours))
    for behaviour, count in zip(data.behaviours, counts, strict=True):
        where = f"tamis.toml, [behaviours.{behaviour.name}]"
        if count == 0:
            by = f'label ("{behaviour.label or behaviour.name}")'
            if behaviour.column is not None:
                by = f'column ("{behaviour.column}")'
            fix = f"Check its {by} and its bounds, or remove it."
            yield Finding("warning", "no event is of this behaviour", where, fix)
    if not data.positive.any():
        fix = "Set `positive = true` on a behaviour that has events."
        yield Finding("error", "no event is positive", "tamis.toml, [behaviours]", fix)
    elif (
        data.positive.all() and data.behaviours[0].impression is False and len(data.behaviours) > 1
    ):
        text = "every event is positive: negatives of the ranker come only from replayed recall"
        yield Finding("note", text, "tamis.toml, [behaviours]", "Log impressions if possible.")


def _unused_outcomes(case: Case) -> Iterator[Finding]:
    """Columns of the log that say what became of a row, and that no behaviour reads."""
    events = case.config.events
    raw = read_declared(events, case.root)
    frame = infer_types(raw.frame, raw.separator, "any")
    keys = ("user", "item", "time", "behaviour", "value")
    given = Given(events.file, **{key: getattr(events, key) for key in keys})
    log = EventLog(TableSet({events.file: frame}), events.file, given)
    optional = (events.arrival, events.request, events.position)
    read = {*(getattr(events, key) for key in keys), *optional}
    read |= {b.column for b in case.config.behaviours.values()}
    read |= {*events.context, events.city, events.latitude, events.longitude}
    like, _ = unused_columns(log, {name for name in read if name})
    if not like:
        return
    where = f"{events.file}, {', '.join(f'`{name}`' for name in like)}"
    advice = outcome_advice(log, like[0])
    fix = f"{advice[0].upper()}{advice[1:]}."
    if case.data.positive.all():
        text = "every event is positive, but a column looks like an outcome and is not used"
        yield Finding("warning", text, where, fix)
    else:
        yield Finding("note", "looks like an outcome and is not used", where, fix)


def _labels(case: Case) -> Iterator[Finding]:
    """Binary tasks whose label is hardly ever or nearly always 1.

    The share is taken among impressions, or among the events of the task's condition.
    """
    data = case.data
    names = [b.name for b in data.behaviours]
    shown = np.isin(
        data.events.behaviour, [i for i, b in enumerate(data.behaviours) if b.impression]
    )
    if not shown.any():
        return
    tasks = list(case.config.tasks.values())
    for name, task in case.config.tasks.items():
        if task.kind != "binary":
            continue
        codes = [names.index(b) for b in task.behaviour]
        chances, of = int(shown.sum()), "impressions"
        if task.given is not None:
            before = condition_of(task, tasks)
            held = (task.given,) if before is None else before.behaviour
            where = [names.index(b) for b in held]
            chances, of = int(np.isin(data.events.behaviour, where).sum()), f"{task.given} events"
        rate = np.isin(data.events.behaviour, codes).sum() / max(chances, 1)
        if rate < 1e-4 or rate > 0.9:
            text = f"{rate:.3%} as many successes as {of}: too little to learn from"
            fix = "Check the labels of the behaviours, or choose another task."
            yield Finding("warning", text, f"tamis.toml, [tasks.{name}]", fix)


def _times(case: Case) -> Iterator[Finding]:
    time, untimed = case.data.events.time, case.config.events.untimed
    where = f"{case.config.events.file}, `{case.config.events.time}`"
    if untimed is not None:
        text = "the log is read without times: events have an order, but no age"
        how = "the rows are oldest first" if untimed == "rows" else "the test window is random"
        fix = f"Nothing, if {how}; otherwise set events.time and remove `untimed`."
        yield Finding("note", text, "tamis.toml, [events]", fix)
        return
    if time[0] == time[-1]:
        fix = "Set events.time to the column with the times: data are split by time."
        yield Finding("error", "all events have the same time", where, fix)
        return
    events = case.config.events
    raw = read_declared(events, case.root)
    parsed = parse_times(raw.frame[events.time], events.time_unit, form_of(events, raw))
    if parsed.small:
        text = "the numbers are too small for dates after 1973; they are taken as seconds"
        fix = "Set events.time_unit if they are not seconds, or write absolute times."
        yield Finding("warning", text, where, fix)
    elif case.config.events.time_unit == "auto":
        first, last = (str(np.datetime64(int(t), "ms"))[:10] for t in (time[0], time[-1]))
        text = f"times are read as {parsed.unit}: {first} to {last}"
        fix = f'If that is right, write time_unit = "{parsed.unit}".'
        if parsed.unit in ("s", "ms", "us", "iso"):
            yield Finding("note", text, where, fix)
    different = len(np.unique(time[:: max(1, len(time) // 100_000)]))
    if different < min(20, len(time) / 2):
        text = f"only about {different} different times: the order of events is mostly unknown"
        yield Finding("warning", text, where, "Use exact times instead of dates.")


def _arrivals(case: Case) -> Iterator[Finding]:
    early = float(np.mean(case.data.events.arrival < case.data.events.time))
    if early:
        where = f"{case.config.events.file}, `{case.config.events.arrival}`"
        text = f"{early:.1%} of the events arrive before their own time"
        yield Finding(
            "warning",
            text,
            where,
            "Check whether the two columns are swapped or two clocks differ.",
        )


def _audience(case: Case) -> Iterator[Finding]:
    for what, rows, table, column in (
        ("user", case.data.events.user, case.data.users, case.config.events.user),
        ("item", case.data.events.item, case.data.items, case.config.events.item),
    ):
        counts = np.bincount(rows, minlength=len(table))
        where = f"{case.config.events.file}, `{column}`"
        active = int(np.count_nonzero(counts))
        top, most = int(counts.argmax()), int(counts.max())
        if active == 1:
            fix = "Check the column, and that the file is not a sample: nothing can be learnt."
            yield Finding("error", f"all events are of one {what}", where, fix)
        elif most > 0.2 * len(rows) and len(rows) >= 100:
            severity = "error" if most > 0.5 * len(rows) else "warning"
            text = f'{what} "{table.ids[top]}" has {most / len(rows):.0%} of all events'
            fix = "If it is a placeholder, a test account or a robot, leave its events out."
            yield Finding(severity, text, where, fix)
        single = np.count_nonzero(counts == 1) / active
        if single > 0.5:
            text = f"{single:.0%} of the {what}s have one event only"
            fix = "Keep the content and hot channels: collaborative ones learn little here."
            yield Finding("note", text, where, fix)
    yield from _unused(case.data.items, case.data.events.item, case.config.items)


def _unused(items: Table, rows: Int32, config: TableConfig) -> Iterator[Finding]:
    without = 1 - len(np.unique(rows)) / len(items)
    if without > 0.2:
        severity: Severity = "warning" if without > 0.8 else "note"
        text = f"{without:.0%} of the items have no event"
        fix = "Check the catalogue; only content and fresh channels recommend these items."
        yield Finding(severity, text, f"{config.path}, `{config.id}`", fix)


def _robots(case: Case) -> Iterator[Finding]:
    """Users with over 5,000 events on one day and over 50 times the 99th percentile."""
    events = case.data.events
    frame = pl.DataFrame({"user": events.user, "day": events.time // DAY_MS})
    busy = frame.group_by("user", "day").len()
    usual = float(busy["len"].quantile(0.99) or 0.0)
    wild = busy.filter((pl.col("len") > 50 * usual) & (pl.col("len") > 5_000)).sort("len")
    if wild.height:
        user, _, count = wild.row(-1)
        text = (
            f"{wild['user'].n_unique()} users look like robots: "
            f'"{case.data.users.ids[user]}" has {count:,} events on one day'
        )
        where = f"{case.config.events.file}, `{case.config.events.user}`"
        yield Finding("warning", text, where, "Leave their events out; they distort similarities.")


def _repeats(case: Case) -> Iterator[Finding]:
    repeated = case.rejects.count(case.config.events.file, "duplicate")
    share = repeated / max(case.rejects.rows_read.get(case.config.events.file, 0), 1)
    if share > 0.05:
        text = f"{share:.0%} of the events are exact duplicates"
        fix = "They are left out; check whether the log is written or exported twice."
        yield Finding("warning", text, case.config.events.file, fix)


def _windows(case: Case) -> Iterator[Finding]:
    """Validation and test windows with few positive events, and an empty training part."""
    data, split = case.data, case.config.split
    moments = [
        *cuts(data.events, [split.valid_from, split.test_from]),
        int(data.events.time[-1]) + 1,
    ]
    good = np.flatnonzero([b.positive for b in data.behaviours])
    named = (("validation", *moments[:2]), ("test", *moments[1:]))
    for name, start, end in named:
        held = events_in(data.events, Window(start, end))
        count = int(np.isin(held.behaviour, good).sum())
        severity: Severity = "error" if count == 0 else "warning"
        if count < 100:
            text = f"the {name} window holds {count} positive events of {len(held):,}"
            fix = "Lengthen it in [split], or log for longer: metrics of so few are uncertain."
            yield Finding(severity, text, "tamis.toml, [split]", fix)
    if not data.has_impressions and len(_replayed(data, split)) < 2:
        text = "fewer than two windows before the test cut have users who return: no ranker learns"
        fix = "Raise [split] windows, give a shorter [split] horizon, or a longer log."
        yield Finding("error", text, "tamis.toml, [split]", fix)
    if data.events.time[0] == moments[1]:
        text = "no event lies before the test cut: too many events have the first time"
        yield Finding("error", text, "tamis.toml, [split]", "Give exact times.")


def _replayed(data: Dataset, split: SplitConfig) -> list[Window]:
    """The windows of replayed queries with a user who has acted before; [] if none can be made."""
    events = data.events
    acted = np.flatnonzero(data.seen & (events.user >= 0))
    first = np.full(len(data.users), np.iinfo(np.int64).max)
    np.minimum.at(first, events.user[acted], events.arrival[acted])
    try:
        shown = replay_windows(split, events)
    except DataError:  # `tamis train` reports the horizon
        return []
    user, time = events.user[acted], events.time[acted]
    return [
        window
        for window in shown
        if ((time >= window.start) & (time < window.end) & (first[user] < window.start)).any()
    ]


def _ending(case: Case) -> Iterator[Finding]:
    path = case.root / case.config.events.file
    if format_of(path) != "text" or path.suffix in (".gz", ".zst", ".zstd"):
        return
    with path.open("rb") as stream:
        stream.seek(-1, 2)
        if stream.read(1) != b"\n":
            text = "the file does not end with a line break"
            fix = "If the copy was interrupted, the last row may be incomplete: copy it again."
            yield Finding("note", text, case.config.events.file, fix)


def _known_items(case: Case) -> Iterator[Finding]:
    """A filter of all known items although users come back to them."""
    for name, stage in case.config.cascade.filters.items():
        if (stage.use or name) != "seen" or stage.options.get("behaviours"):
            continue
        share = repeat_share(case.data)
        if share >= _MANY_REPEATS:
            text = (
                f"{share:.0%} of the positive events are on items that the user knew before: the "
                f"filter `{name}` removes these, in training as in answers"
            )
            fix = (
                'Remove the filter or name its behaviours (behaviours = ["purchase"]), and add '
                "[cascade.channels.again]."
            )
            yield Finding("warning", text, f"tamis.toml, [cascade.filters.{name}]", fix)


def _fallback(case: Case) -> Iterator[Finding]:
    channels = case.config.cascade.channels
    if not any(c.fallback or (c.use or name) == "hot" for name, c in channels.items()):
        text = "no channel answers for unknown users"
        fix = "Add [cascade.channels.hot]."
        yield Finding("warning", text, "tamis.toml, [cascade.channels]", fix)


def _undeclared_tables(case: Case) -> Iterator[Finding]:
    """Tables beside the event log or tamis.toml that the declaration does not name."""
    log = case.root / case.config.events.file
    declared = case.config.model_dump_json()
    unused = sorted(
        path.name
        for folder in {case.root.resolve(), log.resolve().parent}
        for path in folder.iterdir()
        if _may_be_a_table(path) and path.name not in declared
    )
    if unused:
        yield Finding(
            "note",
            f"not used: {', '.join(unused)}",
            "tamis.toml",
            f"Nothing, if that is right. `tamis init {case.root} --force` would read them and "
            "replace tamis.toml; or declare them there, in [items] or [users].",
        )


def _may_be_a_table(path: Path) -> bool:
    """Whether a file has the ending of a table and is not one that commands write by default."""
    if path.name.startswith(".") or path.suffix.lower() in (".txt", ".json"):
        return False
    return (
        path.is_file()
        and format_of(path) is not None
        and table_stem(path.name) not in _WRITTEN_BY_COMMANDS
    )


_CHECKS: tuple[Callable[[Case], Iterator[Finding]], ...] = (
    _left_out,
    _readings,
    _mixed_units,
    _positives,
    _unused_outcomes,
    _labels,
    _times,
    _arrivals,
    _audience,
    _robots,
    _repeats,
    constant_features,
    _windows,
    _ending,
    _known_items,
    _fallback,
    _undeclared_tables,
)
