"""Ids, tables, events and times: reads table files, reports rejected rows, holds a data set."""

from tamis.data import behaviour_names, column_names, expression_syntax
from tamis.data._duplicates import repeated_events
from tamis.data._given import Given, RoleChoice
from tamis.data.categories import Labels, bucketed, codes_in, codes_of, spread, with_names
from tamis.data.clocks import clock_form, parse_clock, with_clock
from tamis.data.column_profile import ColumnProfile, is_time, named_column
from tamis.data.column_roles import event_columns, event_table, find_log
from tamis.data.conditions import Condition
from tamis.data.context import CITY, Context, EventContext, Texts
from tamis.data.dataset import Dataset, Events, Follows
from tamis.data.event_log import EventLog
from tamis.data.files import (
    COMPRESSED,
    JSONL,
    PARQUET,
    SEPARATORS,
    TEXT,
    RawTable,
    format_of,
    read_raw,
    text_lines,
)
from tamis.data.filter_expressions import (
    ExpressionError,
    FilterExpression,
    Scope,
    explained,
    item_condition,
    readable,
    separators_of,
)
from tamis.data.frame import columns_of, dataset_from_frame
from tamis.data.geohash import geohash_around, geohash_cells, geohash_text, kilometres
from tamis.data.id_index import HashIndex
from tamis.data.ids import id_column, id_text, one_id
from tamis.data.label_meanings import usual_meaning
from tamis.data.missing import MISSING, cleaned
from tamis.data.notes import Note
from tamis.data.numbers import is_number, number_array, read_numbers
from tamis.data.outcomes import truth_numbers
from tamis.data.ragged import Ragged
from tamis.data.read import read_dataset, read_items
from tamis.data.rejects import Rejects
from tamis.data.repeats import VISIT_HOURS, repeat_share, return_rates
from tamis.data.table import UNKNOWN, Table
from tamis.data.table_folder import FolderTables, Frames, readable_tables, table_stem
from tamis.data.table_links import Link, TableSet
from tamis.data.tables import MAX_ID, form_of, item_categories, read_declared, with_ids
from tamis.data.text_form import TextForm
from tamis.data.times import parse_times
from tamis.data.typed_frames import check_ending, infer_types, read_frame, write_frame
from tamis.data.user_ids import user_column
from tamis.data.values import Attribute, plain_frame, plain_types, read_attribute

__all__ = [
    "CITY",
    "COMPRESSED",
    "JSONL",
    "MAX_ID",
    "MISSING",
    "PARQUET",
    "SEPARATORS",
    "TEXT",
    "UNKNOWN",
    "VISIT_HOURS",
    "Attribute",
    "ColumnProfile",
    "Condition",
    "Context",
    "Dataset",
    "EventContext",
    "EventLog",
    "Events",
    "ExpressionError",
    "FilterExpression",
    "FolderTables",
    "Follows",
    "Frames",
    "Given",
    "HashIndex",
    "Labels",
    "Link",
    "Note",
    "Ragged",
    "RawTable",
    "Rejects",
    "RoleChoice",
    "Scope",
    "Table",
    "TableSet",
    "TextForm",
    "Texts",
    "behaviour_names",
    "bucketed",
    "check_ending",
    "cleaned",
    "clock_form",
    "codes_in",
    "codes_of",
    "column_names",
    "columns_of",
    "dataset_from_frame",
    "event_columns",
    "event_table",
    "explained",
    "expression_syntax",
    "find_log",
    "form_of",
    "format_of",
    "geohash_around",
    "geohash_cells",
    "geohash_text",
    "id_column",
    "id_text",
    "infer_types",
    "is_number",
    "is_time",
    "item_categories",
    "item_condition",
    "kilometres",
    "named_column",
    "number_array",
    "one_id",
    "parse_clock",
    "parse_times",
    "plain_frame",
    "plain_types",
    "read_attribute",
    "read_dataset",
    "read_declared",
    "read_frame",
    "read_items",
    "read_numbers",
    "read_raw",
    "readable",
    "readable_tables",
    "repeat_share",
    "repeated_events",
    "return_rates",
    "separators_of",
    "spread",
    "table_stem",
    "text_lines",
    "truth_numbers",
    "user_column",
    "usual_meaning",
    "with_clock",
    "with_ids",
    "with_names",
    "write_frame",
]
