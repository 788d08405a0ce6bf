"""Interaction files: the events of each line, and the errors of wrong lines."""

import numpy as np
import pytest

from tamis.datasets import at_least, read_interactions, read_pairs, read_sequences
from tamis.schema import DataError


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return path


def log(data):
    """(user, item, time) of the events, external ids."""
    e = data.events
    users, items = data.users.ids.to_list(), data.items.ids.to_list()
    rows = zip(e.user, e.item, e.time, strict=True)
    return [(users[u], items[i], int(t)) for u, i, t in rows]


def test_a_sequence_is_a_user_and_items_in_order(tmp_path):
    data = read_sequences(write(tmp_path, "s.txt", "2 10 9\n\n1  11\t10 9 \n3\n"))
    assert data.users.ids.to_list() == ["1", "2", "3"]
    assert data.items.ids.to_list() == ["9", "10", "11"]
    assert log(data) == [
        ("2", "10", 0), ("1", "11", 0), ("2", "9", 1), ("1", "10", 1), ("1", "9", 2),
    ]  # fmt: skip
    assert data.positive.all()
    assert (data.events.arrival == data.events.time).all()
    assert data.end == 3


def test_ids_that_are_words_keep_their_order(tmp_path):
    data = read_sequences(write(tmp_path, "s.txt", "bob tea milk\nann milk\n"))
    assert data.users.ids.to_list() == ["bob", "ann"]
    assert data.items.ids.to_list() == ["tea", "milk"]


def test_pairs_share_their_tables_and_count_once(tmp_path):
    train = write(tmp_path, "train.txt", "0 5 3 5\n1 4\n")
    test = write(tmp_path, "test.txt", "1 7\n0\n2 3\n")
    first, second = read_pairs(train, test)
    assert first.users is second.users
    assert first.users.ids.to_list() == ["0", "1", "2"]
    assert first.items.ids.to_list() == ["3", "4", "5", "7"]
    assert log(first) == [("0", "5", 0), ("0", "3", 0), ("1", "4", 0)]
    assert log(second) == [("1", "7", 0), ("2", "3", 0)]


TABLE = [("a", "x", 978300760000), ("b", "y", 978300761000), ("a", "y", 978300762000)]
"""user, item, ms in order of time."""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("log.csv", "userId,movieId,rating,timestamp\nb,y,2,978300761\na,x,4,978300760\n"
         "a,y,5,978300762\n"),
        ("log.tsv", "timestamp\titem\tuser\n978300760\tx\ta\n978300762\ty\ta\n978300761\ty\tb\n"),
        ("log.inter", "user_id:token\titem_id:token\trating:float\ttimestamp:float\r\n"
         "a\tx\t4\t978300760\r\nb\ty\t2\t978300761\r\na\ty\t5\t978300762\r\n"),
        ("u.data", "b\ty\t2\t978300761\na\tx\t4\t978300760\na\ty\t5\t978300762\n"),
        ("ratings.dat", "a::x::4::978300760\nb::y::2::978300761\na::y::5::978300762\n"),
        ("checkins.txt", "a\tx\t978300760.0\nb\ty\t978300761.0\na\ty\t978300762.0\n"),
        ("log.jsonl", '{"user":"a","item":"x","time":978300760}\n'
         '{"user":"b","item":"y","time":978300761}\n{"user":"a","item":"y","time":978300762}\n'),
    ],
)  # fmt: skip
def test_the_format_is_guessed(tmp_path, name, text):
    data = read_interactions(write(tmp_path, name, text))
    assert log(data) == TABLE
    if "rating" in text or name.endswith("dat"):
        assert data.events.value.tolist() == [4, 2, 5]


def test_sequences_are_guessed_too(tmp_path):
    path = write(tmp_path, "s.txt", "1 2 3\n2 5 6\n")
    assert log(read_interactions(path)) == log(read_sequences(path))


def test_only_ratings_of_at_least_the_least_are_positive(tmp_path):
    path = write(tmp_path, "r.csv", "user,item,rating\n1,1,5\n1,2,2\n")
    data = read_interactions(path, min_value=4)
    assert data.positive.tolist() == [True, False]
    assert data.events.time.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("s.txt", "", "the file is empty"),
        ("s.txt", "1 2 3\n2 4 5\n1 6\n", r"line 3: user '1' already has a line \(line 1\)"),
        ("s.csv", "who,what\n1,2\n", "line 1: 'who,what' is neither a user followed by items"),
        ("s.csv", "user,item,time\n1,2,\n", "line 2: column 'time' holds no value"),
        ("s.csv", "user,item,rating\n1,2,3\n1,3,good\n", "line 3: column 'rating' holds no numb"),
        ("s.csv", "user,item\n1,2\n1,2,3\n", "line 3: more than the header's 2 fields"),
        ("s.txt", "1\n2\n", "line 1: '1' is neither a user followed by items"),
    ],
)
def test_a_wrong_file_is_reported_with_its_line(tmp_path, name, text, message):
    with pytest.raises(DataError, match=message):
        read_interactions(write(tmp_path, name, text))


def test_a_missing_file_is_an_error_with_the_files_of_its_folder(tmp_path):
    write(tmp_path, "Beauty.txt", "1 2\n")
    with pytest.raises(DataError, match=r"beauty.txt: there is no such file; .*Beauty.txt"):
        read_sequences(tmp_path / "beauty.txt")


def test_binary_files_are_refused(tmp_path):
    path = tmp_path / "s.txt"
    path.write_bytes(b"\xff\xfe\x00\x01 2 3\n")
    with pytest.raises(DataError, match='not in the encoding "utf-16"'):
        read_sequences(path)


def test_rare_items_fall_out_of_the_table(tmp_path):
    data = read_sequences(write(tmp_path, "s.txt", "1 7 8\n2 7 9\n3 9\n"))
    kept = at_least(data, item=2)
    assert kept.items.ids.to_list() == ["7", "9"]
    assert log(kept) == [("1", "7", 0), ("2", "7", 0), ("3", "9", 0), ("2", "9", 1)]
    assert len(data.items) == 3  # the given data is as before


def test_the_core_is_stable(tmp_path):
    data = read_sequences(write(tmp_path, "s.txt", "1 7 8 9\n2 7 8\n3 9 6\n4 6\n"))
    core = at_least(data, user=2, item=2)  # 4 has one; then 6 has one; then 3 has one; then 9
    assert core.users.ids.to_list() == ["1", "2"]
    assert core.items.ids.to_list() == ["7", "8"]
    assert np.bincount(core.events.user).min() >= 2
    none = at_least(data, item=9)
    assert (len(none.events), len(none.users), len(none.items)) == (0, 0, 0)
