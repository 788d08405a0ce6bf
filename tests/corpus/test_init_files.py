"""`tamis init` on files of unusual formats, and on names and labels of many languages."""

import bz2
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl
import pytest
from layouts import Case, Content, check, date, jsonl, log, pick, text

from tamis.data import read_raw
from tamis.onboarding import guess_config
from tamis.schema import DataError

PLAIN = text("user_id item_id time", log())
IDS = {"user": "user_id", "item": "item_id", "time": "time"}
RATED = {"user": "column_1", "item": "column_2", "time": "column_4", "value": "column_3"}
ROWS = [{"user_id": u, "item_id": i, "time": t} for u, i, t in log()]
RATINGS = [(u + 1, i + 1, 1 + k % 5, t) for k, (u, i, t) in enumerate(log(by_user=True))]


def archive(**files: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        for name, content in files.items():
            made.writestr(name, content)
    return stream.getvalue()


def columns_of_pandas() -> str:
    names = ("user_id", "item_id", "time")
    return json.dumps({n: {str(k): row[n] for k, row in enumerate(ROWS)} for n in names})


def split_of_pandas() -> str:
    rows = [list(row.values()) for row in ROWS]
    return json.dumps({"columns": list(ROWS[0]), "index": list(range(len(rows))), "data": rows})


def nested() -> str:
    return jsonl(
        {"user": {"id": u, "country": "DE"}, "item": {"id": f"P{i}"}, "time": {"$date": date(t)},
         "_id": {"$oid": f"{k:024x}"}, "event": pick(k, ("view", 80), ("purchase", 20))}
        for k, (u, i, t) in enumerate(log())
    )  # fmt: skip


FILES: dict[str, tuple[str, Content]] = {
    "zip": ("events.csv.zip", archive(**{"events.csv": PLAIN})),
    "zip of another name": ("download.zip", archive(**{"data/events.csv": PLAIN})),
    "gzip": ("events.csv.gz", gzip.compress(PLAIN.encode())),
    "bzip2": ("events.csv.bz2", bz2.compress(PLAIN.encode())),
    "xz": ("events.csv.xz", lzma.compress(PLAIN.encode())),
    "JSON Lines in a zip": ("e.jsonl.zip", archive(**{"e.jsonl": jsonl(ROWS)})),
    "dictionaries of Python": ("e.json", "".join(f"{row!r}\n" for row in ROWS)),
    "an object with a list": ("e.json", json.dumps({"events": ROWS, "page": 1})),
    "an object over several lines": ("e.json", json.dumps({"events": ROWS}, indent=1)),
    "columns of pandas": ("e.json", columns_of_pandas()),
    "pandas, split": ("e.json", split_of_pandas()),
    "blanks as separators": ("e.txt", PLAIN.replace(",", " ")),
    "several blanks": ("e.txt", PLAIN.replace(",", "   ")),
    "a comment before the header": ("e.csv", "# exported by us\n" + PLAIN),
    "a header in a comment": ("e.txt", "# " + PLAIN.replace(",", " ")),
    "carriage returns alone": ("e.csv", PLAIN.replace("\n", "\r").encode()),
    "separators at the ends": ("e.csv", PLAIN.replace("\n", ",\n")),
}


@pytest.mark.parametrize("name", FILES)
def test_the_same_log_in_every_format(name: str, tmp_path: Path) -> None:
    file, content = FILES[name]
    check(Case(lambda: {file: content}, IDS, ["interaction"]), tmp_path)  # type: ignore[dict-item]


def ml_1m() -> Mapping[str, Content]:
    films = "".join(f"{i + 1}::Amélie {i} (1999)::{('Drama', 'War')[i % 2]}\n" for i in range(25))
    return {"ratings.dat": text("", RATINGS, "::"), "movies.dat": films.encode("latin-1")}


def epinions() -> Mapping[str, Content]:
    return {"rating.txt": text("", RATINGS, "  ")}


def konect() -> Mapping[str, Content]:
    return {"out.movies.txt": "% bip weighted\n% 1 2 3 4 5\n" + text("", RATINGS, " ")}


def german() -> Mapping[str, Content]:
    sales = [(10_000 + u, f"A-{i:04}", date(t, "%d.%m.%Y %H:%M"), 1 + k % 3, f"{k % 7},99")
             for k, (u, i, t) in enumerate(log())]  # fmt: skip
    goods = [(f"A-{i:04}", f"Buch {i}", f"Autor {i % 7}", ("Roman", "Krimi")[i % 2], f"{i},99")
             for i in range(25)]  # fmt: skip
    users = [(10_000 + u, "mw"[u % 2], 20 + u, ("Köln", "Kiel")[u % 2]) for u in range(30)]
    return {
        "verkauf.csv": text("Kundennr Artikelnr Kaufdatum Menge Preis", sales, ";"),
        "artikel.csv": text("Artikelnr Titel Verfasser Warengruppe Preis", goods, ";"),
        "kunden.csv": text("Kundennr Geschlecht Alter Ort", users, ";").encode("cp1252"),
    }


def spanish() -> Mapping[str, Content]:
    rows = [(10 + u, f"A{i:04}", date(t, "%d/%m/%Y"), 1 + k % 5)
            for k, (u, i, t) in enumerate(log())]  # fmt: skip
    books = [(f"A{i:04}", f"Libro {i}", f"Autor {i % 7}", ("Novela", "Poesía")[i % 2])
             for i in range(25)]  # fmt: skip
    return {
        "compras.csv": text("id_cliente id_artículo fecha_compra valoración", rows, ";"),
        "libros.csv": text("id_artículo título autor género", books, ";"),
    }


def french() -> Mapping[str, Content]:
    rows = [(10 + u, f"A{i:04}", date(t, "%d/%m/%Y"), 1 + k % 5)
            for k, (u, i, t) in enumerate(log())]  # fmt: skip
    goods = [(f"A{i:04}", f"Produit {i}", f"M{i % 7}", ("Vin", "Pain")[i % 2]) for i in range(25)]
    return {
        "achats.csv": text("identifiant_client code_produit date_achat quantité", rows, ";"),
        "produits.csv": text("code_produit libellé marque catégorie", goods, ";"),
    }


def japanese() -> Mapping[str, Content]:
    rows = [(f"M{u:04}", f"P{i:04}", date(t, "%Y年%m月%d日 %H時%M分"), 1 + k % 3)
            for k, (u, i, t) in enumerate(log())]  # fmt: skip
    goods = [(f"P{i:04}", f"茶{i}", ("飲料", "菓子")[i % 2], f"社{i % 5}") for i in range(25)]
    return {
        "購買履歴.csv": text("会員ID 商品コード 購入日時 数量", rows),
        "商品マスタ.csv": text("商品コード 商品名 カテゴリ ブランド", goods),
    }


def chinese() -> Mapping[str, Content]:
    rows = [(u + 100, i + 9000, pick(k, ("浏览", 80), ("收藏", 8), ("加购", 7), ("购买", 5)),
             date(t, "%Y年%m月%d日 %H:%M:%S")) for k, (u, i, t) in enumerate(log())]  # fmt: skip
    goods = [(i + 9000, f"茶叶{i}", ("饮料", "点心")[i % 2], f"店{i % 5}") for i in range(25)]
    return {
        "用户行为.csv": text("用户编号 商品编号 行为 行为时间", rows),
        "商品信息.csv": text("商品编号 商品标题 商品类目 店铺", goods),
    }


def labelled(*labels: str) -> Callable[[], Mapping[str, Content]]:
    rows = [(u, i, t, f'"{labels[k % len(labels)]}"') for k, (u, i, t) in enumerate(log())]
    return lambda: {"log.csv": text("user_id item_id time rating", rows)}


def helpful_reviews() -> Mapping[str, Content]:
    rows = [(u, i, t, k % 3) for k, (u, i, t) in enumerate(log())]
    return {"reviews.csv": text("user_id item_id time helpful_vote", rows)}


def anime() -> Mapping[str, Content]:
    pairs = log(by_user=True)
    rows = [(u, i, -1 if k % 4 == 0 else 4 + k % 7) for k, (u, i, _) in enumerate(pairs)]
    return {"rating.csv": text("user_id anime_id rating", rows)}


def actions() -> Mapping[str, Content]:
    kinds = (("clickout item", 30), ("interaction item image", 60), ("remove from cart", 10))
    rows = [(u, i, t, pick(k, *kinds)) for k, (u, i, t) in enumerate(log())]
    return {"log.csv": text("user_id item_id time action_type", rows)}


def stores() -> Mapping[str, Content]:
    rows = [(u, i, t, ("Play Store", "Open Market")[k % 2]) for k, (u, i, t) in enumerate(log())]
    return {"log.csv": text("user_id item_id time shop", rows)}


CASES = {
    "ratings of -1": Case(
        anime, {"user": "user_id", "item": "anime_id", "value": "rating", "untimed": "random"},
        ["like"], ["rate", "unrated"], bounds={"like": 6, "rate": 4},
        notes=["25% are -1, taken for events without a rating"],
    ),
    "labels of several words": Case(
        actions, {**IDS, "behaviour": "action_type"}, ["clickout_item"],
        ["interaction_item_image", "remove_from_cart"],
    ),
    "words of other meanings": Case(
        stores, IDS, ["interaction"], notes=["not used: `shop`"],
    ),
    "movielens-1m, films in latin-1": Case(
        ml_1m, RATED, ["like"], ["rate"],
        items={"path": "movies.dat", "id": "column_1", "title": "column_2", "category": "column_3",
               "encoding": "cp1252"},
        notes=['movies.dat is not UTF-8 text: it is read as cp1252 (encoding = "cp1252")'],
    ),
    "epinions, blanks": Case(epinions, RATED, ["like"], ["rate"]),
    "konect, comments": Case(
        konect, RATED, ["like"], ["rate"], notes=["out.movies.txt has no header line"],
    ),
    "objects within objects": Case(
        lambda: {"e.jsonl": nested()}, {**IDS, "behaviour": "event"}, ["view", "purchase"],
        notes=["fields of objects are columns: `user_id`, `user_country`, `item_id`"],
    ),
    "German": Case(
        german,
        {"user": "Kundennr", "item": "Artikelnr", "time": "Kaufdatum", "value": "Menge"},
        ["interaction"], users="kunden.csv Kundennr",
        items={"path": "artikel.csv", "id": "Artikelnr", "title": "Titel",
               "category": "Warengruppe", "author": "Verfasser"},
        notes=["kunden.csv is not UTF-8 text: it is read as cp1252"],
    ),
    "Spanish": Case(
        spanish,
        {"user": "id_cliente", "item": "id_artículo", "time": "fecha_compra",
         "value": "valoración"},
        ["like"], ["rate"], bounds={"like": 4},
        items={"path": "libros.csv", "id": "id_artículo", "title": "título", "category": "género",
               "author": "autor"},
    ),
    "French": Case(
        french,
        {"user": "identifiant_client", "item": "code_produit", "time": "date_achat",
         "value": "quantité"},
        ["interaction"],
        items={"path": "produits.csv", "id": "code_produit", "title": "libellé",
               "category": "catégorie", "author": "marque"},
    ),
    "Japanese": Case(
        japanese,
        {"user": "会員ID", "item": "商品コード", "time": "購入日時", "value": "数量"},
        ["interaction"],
        items={"path": "商品マスタ.csv", "id": "商品コード", "title": "商品名",
               "category": "カテゴリ", "author": "ブランド"},
    ),
    "Chinese": Case(
        chinese,
        {"user": "用户编号", "item": "商品编号", "time": "行为时间", "behaviour": "行为"},
        ["view", "collect", "cart", "purchase"],
        items={"path": "商品信息.csv", "id": "商品编号", "title": "商品标题",
               "category": "商品类目", "author": "店铺"},
    ),
    "stars out of five": Case(
        labelled("1.0 out of 5 stars", "4.0 out of 5 stars", "5.0 out of 5 stars"),
        {**IDS, "behaviour": "rating"}, ["4_0_out_of_5_stars", "5_0_out_of_5_stars"],
        ["1_0_out_of_5_stars"],
    ),
    "judgements": Case(
        labelled("Excellent", "Very good", "Average", "Poor", "Terrible"),
        {**IDS, "behaviour": "rating"}, ["Excellent", "Very_good"],
        ["Average", "Poor", "Terrible"],
    ),
    "votes for reviews": Case(
        helpful_reviews, IDS, ["interaction"], notes=["not used: `helpful_vote`"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_right_reading_is_proposed(name: str, tmp_path: Path) -> None:
    check(CASES[name], tmp_path)


NETFLIX = "".join(f"{i}:\n" + "".join(f"{u},{1 + u % 5},2005-09-06\n" for u in range(9))
                  for i in range(1, 9))  # fmt: skip
MIND = text(
    "impression_id user_id time impressions",
    [(k, f"U{u}", date(t), " ".join(f"N{(i + j) % 60}-{int(j == 0)}" for j in range(5)))
     for k, (u, i, t) in enumerate(log(items=60))], "\t",
)  # fmt: skip
REFUSED: dict[str, tuple[dict[str, Content], str]] = {
    "rows below the name of their group": (
        {"combined_data_1.txt": NETFLIX},
        'the line "1:" names the group of the rows below it',
    ),
    "an archive of several tables": (
        {"all.csv.zip": archive(**{"a.csv": PLAIN, "b.csv": PLAIN})},
        "it holds 2 (a.csv, b.csv): unpack it",
    ),
    "impressions in one column": (
        {"behaviors.tsv": MIND}, 'pl.col("impressions").str.split(" ")).explode("impressions")',
    ),
    "a list of objects": (
        {"orders.jsonl": jsonl({"user_id": u, "time": t, "items": [{"sku": f"p{i}", "n": 1}]}
                               for u, i, t in log())},
        'polars: frame.explode("items").unnest("items")',
    ),
    "times in the future": (
        {"log.csv": text("user_id item_id time", [(u, i, t + 10**9) for u, i, t in log()])},
        "Check the unit of the times",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_explained(name: str, tmp_path: Path) -> None:
    files, message = REFUSED[name]
    for file, content in files.items():
        assert not isinstance(content, pl.DataFrame)
        (tmp_path / file).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError) as caught:
        guess_config(tmp_path, "t")
    assert message in str(caught.value)


def test_defective_lines_are_reported_by_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "e.json").write_text("{'user': 1}\n{'user': 2\n\n{'user': 3}\n")
    raw = read_raw(tmp_path / "e.json", "e.json")
    assert raw.frame["user"].to_list() == [1, 3]
    assert raw.row_numbers.tolist() == [1, 4]
    ((rows, reason, lines),) = raw.broken
    assert (rows.tolist(), reason, lines.to_list()) == (
        [2], "not a dictionary of Python", ["{'user': 2"],
    )  # fmt: skip


def test_an_object_of_many_fields_stays_one(tmp_path: Path) -> None:
    wide = {f"k{n}": n for n in range(60)}
    (tmp_path / "i.jsonl").write_text(jsonl([{"id": 1, "a": {"b": {"c": 7}}, "wide": wide}]))
    frame = read_raw(tmp_path / "i.jsonl", "i.jsonl").frame
    assert frame.columns == ["id", "a_b_c", "wide"]
    assert frame["a_b_c"].to_list() == [7]
