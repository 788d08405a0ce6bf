"""Loaders of rows and of funnels: Frappe, KuaiRand, any view → cart → purchase log."""

import polars as pl
import pytest

from tamis.datasets import find_source, materialise
from tamis.schema import ConfigError, DataError

FRAPPE = "label,user,item,daytime,weekday,isweekend,homework,cost,weather,country,city"
KUAIRAND = (
    "user_id\tvideo_id\tdate\thourmin\ttime_ms\tis_click\tis_follow\tis_comment\tis_forward\t"
    "long_view\tplay_time_ms\tduration_ms\tcomment_stay_time\tis_profile_enter\tlabel\ttimestamp"
)


def made(tmp_path, name, **files):
    folder = tmp_path / "given"
    folder.mkdir()
    for stem, text in files.items():
        (folder / f"{stem}.csv").write_text(text, "utf-8")
    out = materialise(name, tmp_path / "out", folder=folder)
    return {p.stem: pl.read_csv(p) for p in out.glob("*.csv")}


def test_frappe_is_taken_as_it_is(tmp_path):
    row = "1,101,1022,5040,5052,5054,5055,5058,5061,5069,5185\n"
    files = dict.fromkeys(("train", "valid", "test"), f"{FRAPPE}\n{row}")
    tables = made(tmp_path, "frappe", **files, other="a,b\n1,2\n")
    assert set(tables) == {"train", "valid", "test"}
    assert tables["train"].rows() == [
        (1, 101, 1022, 5040, 5052, 5054, 5055, 5058, 5061, 5069, 5185)
    ]
    assert find_source("frappe").rows


def test_another_table_is_not_frappe(tmp_path):
    with pytest.raises(DataError, match=r"train.csv: not a table of Frappe: the columns must be"):
        made(tmp_path, "frappe", train="label,user\n1,2\n", valid=f"{FRAPPE}\n")
    folder = tmp_path / "given"
    wrong = f"{FRAPPE}\n{','.join(['2'] * 11)}\n"
    for name in ("train", "valid"):
        (folder / f"{name}.csv").write_text(wrong)
    with pytest.raises(DataError, match="labels 0 or 1"):
        materialise("frappe", tmp_path / "out", folder=folder)


def test_kuairand_is_impressions_and_the_behaviours_after_them(tmp_path):
    rows = [
        "7\t20\t20220410\t1700\t2000\t1\t0\t1\t0\t1\t3500\t9000\t0\t0\t1\tx",
        "7\t21\t20220410\t1700\t1000\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\tx",
        "8\t20\t20220410\t1700\t3000\t1\t0\t0\t0\t0\t500\t0\t0\t1\t0\tx",
    ]
    text = KUAIRAND + "\n" + "\n".join(rows) + "\n"
    tables = made(tmp_path, "kuairand", interactions=text)
    events = tables["events"].select(
        "user_id", "item_id", "time", "request_id", "behaviour", "value"
    )
    assert events.rows() == [
        (7, 21, 1000, 1, "impression", None),
        (7, 21, 1000, 1, "hate", None),
        (7, 20, 2000, 2, "impression", None),
        (7, 20, 2000, 2, "click", None),
        (7, 20, 2000, 2, "long_view", None),
        (7, 20, 2000, 2, "comment", None),
        (7, 20, 2000, 2, "like", None),
        (7, 20, 2000, 2, "watch", 3.5),
        (8, 20, 3000, 3, "impression", None),
        (8, 20, 3000, 3, "click", None),
        (8, 20, 3000, 3, "profile_enter", None),
        (8, 20, 3000, 3, "hate", None),
        (8, 20, 3000, 3, "watch", 0.5),
    ]
    assert tables["items"].rows() == [(21, None), (20, 9.0)]
    kept = tables["rows"].select("request_id", "click", "comment", "like", "watch", "duration")
    assert kept.rows() == [(1, 0, 0, 0, 0.0, 0.0), (2, 1, 1, 1, 3.5, 9.0), (3, 1, 0, 0, 0.5, 0.0)]


def test_another_table_is_not_kuairand(tmp_path):
    with pytest.raises(DataError, match="'video_id' is missing; it has user_id, item"):
        made(tmp_path, "kuairand", interactions="user_id\titem\n1\t2\n")


def test_a_funnel_of_retail_rockets_kind(tmp_path):
    tables = made(
        tmp_path,
        "funnel",
        log="timestamp,visitorid,event,itemid,transactionid\n"
        "1433221332117,5,view,35,\n1433224214164,9,addtocart,24,\n1433221999827,1,transaction,31,7\n",
    )
    assert tables["events"].select("user_id", "item_id", "time", "behaviour").rows() == [
        (5, 35, 1433221332117, "view"),
        (1, 31, 1433221999827, "purchase"),
        (9, 24, 1433224214164, "cart"),
    ]
    assert tables["items"].columns == ["item_id", "title", "category", "brand", "price"]


def test_a_funnel_of_a_shops_kind(tmp_path):
    head = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id\n"
    rows = [
        "2019-10-01 00:00:02 UTC,view,35,1,a.b,,10.0,7",
        "2019-10-01 00:00:01 UTC,purchase,35,1,a.b,acme,9.5,7",
        "2019-10-01 00:00:03 UTC,remove_from_cart,35,1,a.b,acme,9.5,7",
        "2019-10-01 00:00:04 UTC,cart,36,2,,zed,3,8",
    ]
    tables = made(tmp_path, "funnel", log=head + "\n".join(rows) + "\n")
    assert tables["events"]["behaviour"].to_list() == ["purchase", "view", "cart"]
    assert tables["events"]["value"].to_list() == [9.5, 10.0, 3.0]
    assert tables["items"].rows() == [(35, None, "a.b", "acme", 10.0), (36, None, None, "zed", 3.0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user_id,item_id,time\n1,2,1433221332117\n", "no column of behaviours"),
        (
            "user_id,item_id,time,event\n1,2,1433221332117,play\n",
            "`event` has the values play, but at least two",
        ),
        ("a,b\n1,2\n", "no table looks like an event log"),
    ],
)
def test_a_table_without_a_funnel_is_an_error(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        made(tmp_path, "funnel", log=text)


def test_a_folder_is_needed(tmp_path):
    with pytest.raises(ConfigError, match=r"tamis fetch kuairand --from FOLDER"):
        materialise("kuairand", tmp_path)
    with pytest.raises(ConfigError, match="If you have a log, give their folder"):
        materialise("funnel", tmp_path)
    with pytest.raises(DataError, match="there is no such folder"):
        materialise("funnel", tmp_path / "out", folder="neither")
    assert not (tmp_path / "out").exists()
