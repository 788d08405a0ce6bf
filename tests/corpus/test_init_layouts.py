"""`tamis init` on tiny imitations of the layouts of public data sets, and of tables without names.

Each case states the right reading: what is written, how many rows are used, and what is reported.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from layouts import START, Case, Tables, check, date, jsonl, log, pick, text

from tamis.onboarding import guess_config
from tamis.schema import DataError

TASTES = (("view", 80), ("cart", 13), ("purchase", 7))


def movielens() -> Tables:
    rows = log(by_user=True)
    stars = (0.5, 1, 2, 3, 3.5, 4, 4.5, 5)
    return {
        "ratings.csv": text(
            "userId movieId rating timestamp",
            [(u + 1, i * 7 + 1, stars[k % 8], t) for k, (u, i, t) in enumerate(rows)],
        ),
        "movies.csv": text(
            "movieId title genres",
            [(i * 7 + 1, f'"Film {i}, The (1999)"', "Drama|War|Noir"[: 5 + 4 * (i % 2)])
             for i in range(25)],
        ),
        "tags.csv": text("userId movieId tag timestamp", [(u + 1, i * 7 + 1, "good", t)
                                                          for u, i, t in rows[:40]]),
        "links.csv": text("movieId imdbId", [(i * 7 + 1, f"01{i:05}") for i in range(25)]),
    }  # fmt: skip


def movielens_100k() -> Tables:
    rows = log(by_user=True)
    return {
        "u.tsv": text("", [(u + 1, i + 1, 1 + (u + i) % 5, t) for u, i, t in rows], "\t"),
    }


def recbole() -> Tables:
    return {
        "ml.inter.tsv": text(
            "user_id:token item_id:token rating:float timestamp:float",
            [(u + 1, i + 1, 1 + (u * i) % 5, float(t)) for u, i, t in log()], "\t",
        ),
        "ml.item.tsv": text("item_id:token movie_title:token_seq class:token_seq",
                            [(i + 1, f"Toy Story {i}", "Comedy Drama") for i in range(25)], "\t"),
    }  # fmt: skip


def book_crossing() -> Tables:
    pairs = [(u, i) for u, i, _ in log(users=60, by_user=True)]
    isbn = [f"0{(i + 1) * 12_345_677 % 10**9:09}" for i in range(25)]
    return {
        "BX-Book-Ratings.csv": text(
            '"User-ID" "ISBN" "Book-Rating"',
            [(f'"{2767 + 13 * u}"', f'"{isbn[i]}"', f'"{0 if k % 10 < 6 else 3 + k % 8}"')
             for k, (u, i) in enumerate(pairs)], ";",
        ),
        "BX-Books.csv": text(
            '"ISBN" "Book-Title" "Book-Author" "Year-Of-Publication" "Publisher"',
            [(f'"{isbn[i]}"', f'"Titel {i}"', f'"Autor {i % 9}"', f'"{1980 + i % 30}"',
              f'"Verlag {i % 5}"') for i in range(25)], ";",
        ),
    }  # fmt: skip


def amazon_reviews() -> Tables:
    return {
        "reviews_Beauty.json": jsonl(
            {
                "reviewerID": f"A{u * 7919 % 100_003:06}XYZ", "asin": f"B000{i:06}",
                "reviewerName": f"N{u}", "helpful": [0, k % 3], "reviewText": "fine cream " * 9,
                "overall": float(1 + k % 5), "summary": "ok", "unixReviewTime": t - t % 86_400,
                "reviewTime": date(t, "%m %d, %Y"),
            }
            for k, (u, i, t) in enumerate(log())
        ),
        "meta_Beauty.json": jsonl(
            {"asin": f"B000{i:06}", "title": f"Cream {i}", "price": i + 0.5, "brand": f"b{i % 7}"}
            for i in range(25)
        ),
    }  # fmt: skip


def lastfm_1k() -> Tables:
    head = "userid timestamp musicbrainz-artist-id artist-name musicbrainz-track-id track-name"
    return {
        "userid-timestamp-artid-artname-traid-traname.tsv": text(
            head,
            [(f"user_{u:06}", date(t, "%Y-%m-%dT%H:%M:%SZ"), f"a{i // 4:03}-mb", f"Artist {i // 4}",
              f"t{i:04}-mb", f"Song {i}") for u, i, t in log(repeat=0.5)], "\t",
        ),
        "userid-profile.tsv": text("#id gender age country",
                                   [(f"user_{u:06}", "mf"[u % 2], 20 + u, "Peru")
                                    for u in range(30)], "\t"),
    }  # fmt: skip


def lastfm_hetrec() -> Tables:
    pairs = sorted({(u, i) for u, i, _ in log()})
    return {
        "user_artists.tsv": text("userID artistID weight",
                                 [(u + 2, i + 51, 10 + u * i) for u, i in pairs], "\t"),
        "artists.tsv": text("id name url",
                            [(i + 51, f"Band {i}", f"http://x/{i}") for i in range(25)], "\t"),
    }  # fmt: skip


def steam_recommendations() -> Tables:
    return {
        "recommendations.csv": text(
            "app_id helpful funny date is_recommended hours user_id review_id",
            [(440 + i * 10, k % 9, k % 4, date(t, "%Y-%m-%d"), ("true", "false")[k % 7 == 0],
              k % 90 + 0.5, 50_000 + u, k) for k, (u, i, t) in enumerate(log(items=40))],
        ),
        "games.csv": text("app_id title date_release price_final",
                          [(440 + i * 10, f"Game {i}", "2019-01-01", i + 0.99) for i in range(40)]),
        "users.csv": text("user_id products reviews",
                          [(50_000 + u, u * 3, u) for u in range(30)]),
    }  # fmt: skip


def steam_200k() -> Tables:
    pairs = sorted({(u, i) for u, i, _ in log()})
    rows = [(151_603_712 + u, f'"The Elder Game {i}"', kind, value) for u, i in pairs
            for kind, value in (("purchase", 1.0), ("play", u + i / 10))]  # fmt: skip
    return {"steam-200k.csv": text("user-id game-title behavior-name value", rows)}


def yelp() -> Tables:
    rows = log(items=40)
    return {
        "yelp_academic_dataset_review.json": jsonl(
            {
                "review_id": f"rv{k:020}", "user_id": f"us{u:018}", "business_id": f"bz{i:018}",
                "stars": float(1 + k % 5), "useful": k % 3, "text": "Great food. " * 9,
                "date": date(t),
            }
            for k, (u, i, t) in enumerate(rows)
        ),
        "yelp_academic_dataset_business.json": jsonl(
            {"business_id": f"bz{i:018}", "name": f"Place {i}", "city": "Reno",
             "latitude": 39.5 + i / 1000, "attributes": {"Wifi": "yes"},
             "categories": ("Food", "Bars", "Food, Bars", "Bars, Food")[i % 4]} for i in range(40)
        ),
        "yelp_academic_dataset_user.json": jsonl(
            {"user_id": f"us{u:018}", "name": f"Ann {u}", "yelping_since": "2012-01-01 10:00:00",
             "fans": u} for u in range(30)
        ),
        "yelp_academic_dataset_tip.json": jsonl(
            {"user_id": f"us{u:018}", "business_id": f"bz{i:018}", "text": "try it",
             "date": date(t)} for u, i, t in rows[:60]
        ),
    }  # fmt: skip


def retailrocket() -> Tables:
    events = []
    for k, (u, i, t) in enumerate(log(users=60, items=40, repeat=0.2)):
        who, what, ms = u * 977 + 5, i * 1013 + 7, t * 1000 + 123
        events.append((ms, who, "view", what, None))
        if k % 4 == 0:
            events.append((ms + 50_000, who, "addtocart", what, None))
        if k % 8 == 0:
            events.append((ms + 90_000, who, "transaction", what, k))
    properties = [(START * 1000 + k * 604_800_000, (k % 40) * 1013 + 7,
                   ("categoryid", "available", "790")[k % 3], k % 7)
                  for k in range(400)]  # fmt: skip
    return {
        "events.csv": text("timestamp visitorid event itemid transactionid", sorted(events)),
        "item_properties_part1.csv": text("timestamp itemid property value", properties),
        "category_tree.csv": text("categoryid parentid", [(k, k // 3) for k in range(30)]),
    }


def instacart() -> Tables:
    orders: dict[tuple[int, int], list[int]] = {}
    for u, i, t in log(repeat=0.5):
        orders.setdefault((u, t // 86_400), []).append(i)
    listed = list(enumerate(sorted(orders.items()), start=1))
    return {
        "orders.csv": text(
            "order_id user_id eval_set order_number order_dow order_hour_of_day days_since_prior",
            [(n, u + 1, "prior", 1 + n % 5, d % 7, 8 + n % 12, 7.0) for n, ((u, d), _) in listed],
        ),
        "order_products__prior.csv": text(
            "order_id product_id add_to_cart_order reordered",
            [(n, i + 100, k + 1, k % 2) for n, (_, items) in listed
             for k, i in enumerate(dict.fromkeys(items))],
        ),
        "products.csv": text("product_id product_name aisle_id",
                             [(i + 100, f"Milk {i}", i % 5) for i in range(25)]),
    }  # fmt: skip


def complete_journey() -> Tables:
    return {
        "transactions.csv": text(
            "household_id store_id basket_id product_id quantity sales_value retail_disc week "
            "transaction_timestamp",
            [(u * 41 + 1, 300 + u % 4, 31_198_459_904 + u * 100_000 + t // 86_400,
              820_000 + i * 977, 1 + k % 3, k % 9 + 0.5, 0.3, 1 + (t - START) // 604_800, date(t))
             for k, (u, i, t) in enumerate(log(users=60, items=40, repeat=0.6))],
        ),
        "products.csv": text(
            "product_id manufacturer_id department brand product_category product_type",
            [(820_000 + i * 977, i % 6, "GROCERY", "National", f"CAT {i % 5}", f"TYPE {i % 9}")
             for i in range(40)],
        ),
        "demographics.csv": text("household_id age income kids_count",
                                 [(u * 41 + 1, "25-34", "50-74K", u % 3)
                                  for u in range(0, 60, 3)]),
    }  # fmt: skip


def dunnhumby() -> Tables:
    return {
        "transaction_data.csv": text(
            "household_key BASKET_ID DAY PRODUCT_ID QUANTITY SALES_VALUE STORE_ID TRANS_TIME "
            "WEEK_NO",
            [(u + 1, 26_984_851_472 + u * 1000 + (t - START) // 86_400, 1 + (t - START) // 86_400,
              25_671 + i * 91, 1 + k % 2, k % 9 + 0.5, 364, int(date(t, "%H%M")),
              1 + (t - START) // 604_800)
             for k, (u, i, t) in enumerate(log(users=60, items=40, repeat=0.3))],
        ),
        "product.csv": text(
            "PRODUCT_ID MANUFACTURER DEPARTMENT BRAND COMMODITY_DESC",
            [(25_671 + i * 91, i % 5, "GROCERY", "Private", f"ICE {i % 4}") for i in range(40)],
        ),
        "hh_demographic.csv": text("AGE_DESC HOUSEHOLD_SIZE_DESC household_key",
                                   [("65+", "2", u + 1) for u in range(0, 60, 3)]),
    }  # fmt: skip


def h_and_m() -> Tables:
    def customer(u: int) -> str:
        return f"{u * 7919:064x}"

    return {
        "transactions_train.csv": text(
            "t_dat customer_id article_id price sales_channel_id",
            [(date(t, "%Y-%m-%d"), customer(u), f"0{663_713_001 + i * 37}", 0.01 + i / 1000,
              1 + u % 2) for u, i, t in log(users=60, items=40)],
        ),
        "articles.csv": text(
            "article_id product_code prod_name product_type_name colour_group_name department_name",
            [(f"0{663_713_001 + i * 37}", 663_713, f"Strap top {i}", "Vest top",
              ("Black", "White")[i % 2], f"Dep {i % 4}") for i in range(40)],
        ),
        "customers.csv": text("customer_id club_member_status age",
                              [(customer(u), "ACTIVE", 20 + u) for u in range(60)]),
    }  # fmt: skip


def taobao() -> Tables:
    kinds = (("pv", 85), ("fav", 5), ("cart", 6), ("buy", 4))
    return {
        "UserBehavior.csv": text(
            "", [(u * 1013 + 1, i * 5077 + 13, (i % 9) * 777 + 11, pick(k, *kinds), t)
                 for k, (u, i, t) in enumerate(log(users=60, items=80, repeat=0.4))],
        ),
    }  # fmt: skip


def taobao_mobile() -> Tables:
    kinds = (("1", 85), ("2", 5), ("3", 6), ("4", 4))
    return {
        "train_user.csv": text(
            "user_id item_id behavior_type user_geohash item_category time",
            [(u * 1013 + 1, i * 5077 + 13, pick(k, *kinds), None if u % 3 else "96nn52n",
              (i % 9) * 777 + 11, date(t, "%Y-%m-%d %H"))
             for k, (u, i, t) in enumerate(log(users=60, items=80))],
        )
    }  # fmt: skip


def kkbox() -> Tables:
    def member(u: int) -> str:
        return f"{u * 7919:030x}+ZIl="

    def song(i: int) -> str:
        return f"{i * 104_729:028x}/WJ="

    return {
        "train.csv": text(
            "msno song_id source_system_tab source_screen_name source_type target",
            [(member(u), song(i), ("explore", "my library")[k % 2], "Explore",
              ("online-playlist", "radio")[k % 3 == 0], int(k % 5 < 3))
             for k, (u, i, _) in enumerate(log(items=40, by_user=True))],
        ),
        "songs.csv": text("song_id song_length genre_ids artist_name language",
                          [(song(i), 200_000 + i, "465|458", f"Singer {i % 9}", 3.0)
                           for i in range(40)]),
        "members.csv": text("msno city bd gender registered_via registration_init_time",
                            [(member(u), 1 + u % 5, 20, None, 7, 20_110_820) for u in range(30)]),
    }  # fmt: skip


def kuairand() -> Tables:
    return {
        "log_standard.csv": text(
            "user_id video_id date hourmin time_ms is_click is_like is_follow is_hate long_view "
            "play_time_ms duration_ms is_rand tab",
            [(u, i * 37, date(t, "%Y%m%d"), date(t, "%H00"), t * 1000 + 7, int(k % 5 < 2),
              int(k % 20 == 0), int(k % 50 == 7), int(k % 90 == 3), int(k % 10 < 3),
              k * 97 % 60_000, 20_000 + i * 100, int(k % 3 == 0), k % 7)
             for k, (u, i, t) in enumerate(log(items=60))],
        ),
        "video_features_basic.csv": text(
            "video_id author_id video_type upload_dt video_duration tag",
            [(i * 37, i % 9, "NORMAL", "2019-12-01", 20_000.0 + i * 100, i % 7) for i in range(60)],
        ),
        "user_features.csv": text("user_id user_active_degree follow_user_num register_days",
                                  [(u, "full_active", u, u * 3) for u in range(30)]),
    }  # fmt: skip


def mind() -> Tables:
    return {
        "behaviors.tsv": text(
            "impression_id user_id time history impressions",
            [(k + 1, f"U{u * 977}", date(t, "%m/%d/%Y %I:%M:%S %p"),
              " ".join(f"N{(i + j) % 60}" for j in range(1, 4)),
              " ".join(f"N{(i + j) % 60}-{int(j == 0)}" for j in range(5)))
             for k, (u, i, t) in enumerate(log(items=60))], "\t",
        ),
        "news.tsv": text("news_id category subcategory title",
                         [(f"N{i}", ("sports", "news")[i % 2], "soccer", f"Title of {i}")
                          for i in range(60)], "\t"),
    }  # fmt: skip


def foursquare() -> Tables:
    return {
        "dataset_TSMC2014_NYC.csv": text(
            "userId venueId venueCategoryId venueCategory latitude longitude timezoneOffset "
            "utcTimestamp",
            [(u + 1, f"4b{i:022x}", f"4c{i % 5:022x}", f"Cafe {i % 5}", 40.7 + i / 1000,
              -74 + i / 1000, -240, date(t, "%a %b %d %H:%M:%S +0000 %Y"))
             for u, i, t in log(repeat=0.5)],
        )
    }  # fmt: skip


def gowalla() -> Tables:
    return {
        "Gowalla_totalCheckins.txt": text(
            "", [(u, date(t, "%Y-%m-%dT%H:%M:%SZ"), f"{30 + i / 100:.4f}", f"{-97 - i / 100:.4f}",
                  22_000 + i * 13) for u, i, t in log(repeat=0.4, by_user=True)], "\t",
        )
    }  # fmt: skip


def netflix() -> Tables:
    rows = sorted(log(items=40), key=lambda row: row[1])
    return {
        "ratings.csv": text(
            "Cust_Id Rating Date Movie_Id",
            [(1_488_844 + u * 31, float(1 + k % 5), date(t, "%Y-%m-%d"), i + 1)
             for k, (u, i, t) in enumerate(rows)],
        ),
        "movie_titles.csv": text("Movie_Id Year Name",
                                 [(i + 1, 1990 + i % 20, f"Planet {i}") for i in range(40)]),
    }  # fmt: skip


def funds() -> Tables:
    kinds = (("申购", 50), ("赎回", 20), ("定投", 30))
    return {
        "交易流水.csv": text(
            "流水号 用户ID 基金代码 交易日期 交易类型 交易金额",
            [(900_000 + k, f"C{u:05}", f"{i * 37 + 1:06}", date(t, "%Y%m%d"), pick(k, *kinds),
              100 + k) for k, (u, i, t) in enumerate(log(items=40))],
        ),
        "基金信息.csv": text(
            "基金代码 基金名称 基金类型 基金公司",
            [(f"{i * 37 + 1:06}", f"某某成长{i}号", ("股票型", "债券型")[i % 2], f"公司{i % 4}")
             for i in range(40)],
        ),
        "客户信息.csv": text("用户ID 性别 年龄",
                             [(f"C{u:05}", "男女"[u % 2], 20 + u) for u in range(30)]),
    }  # fmt: skip


def insurance() -> Tables:
    return {
        "保单点击.csv": text(
            "客户号 产品编号 访问时间 是否点击 是否购买",
            [(80_000 + u, f"P{i:03}", date(t), int(k % 3 == 0), int(k % 20 == 0))
             for k, (u, i, t) in enumerate(log(items=12))],
        )
    }  # fmt: skip


def online_retail() -> Tables:
    return {
        "OnlineRetail.csv": text(
            "InvoiceNo StockCode Description Quantity InvoiceDate UnitPrice CustomerID Country",
            [(f"{'C' if k % 20 == 0 else ''}{536_365 + u * 90 + t // 86_400 % 80}",
              f"{85_123 + i}A", f"WHITE HEART {i}", (1 + k % 11) * (-1 if k % 20 == 0 else 1),
              date(t, "%m/%d/%Y %H:%M"), 2.55 + i, None if k % 5 == 1 else f"{17_850 + u}.0",
              "United Kingdom") for k, (u, i, t) in enumerate(log(users=50, items=50))],
        )
    }  # fmt: skip


def otto() -> Tables:
    kinds = (("clicks", 88), ("carts", 8), ("orders", 4))
    return {
        "train.csv": text(
            "session aid ts type",
            [(11_098_528 + u, i * 1777 + 3, t * 1000 + 999, pick(k, *kinds))
             for k, (u, i, t) in enumerate(log(users=60, items=50, days=20))],
        )
    }  # fmt: skip


def rees46() -> Tables:
    return {
        "2019-Oct.csv": text(
            "event_time event_type product_id category_id brand price user_id user_session",
            [(date(t) + " UTC", pick(k, *TASTES), 1_003_461 + i, 2_053_013_555_631_882_655 + i % 9,
              f"brand {i % 5}", 489.07 + i, 520_088_904 + u, f"{u:08x}-{t // 7200:08x}-4d3b")
             for k, (u, i, t) in enumerate(log(users=60, items=50, days=20))],
        )
    }  # fmt: skip


def analytics() -> Tables:
    return {
        "hits.csv": text(
            "fullVisitorId visitId hitTime productSKU eventCategory",
            [(f"{u * 7_919_000_000_001 % 10**18:018}", 1_500_000 + u * 10 + t // 7200 % 10,
              t, f"GGOE{i:06}", ("Ecommerce", "UX")[k % 2])
             for k, (u, i, t) in enumerate(log(users=60, items=50, days=20))],
        )
    }  # fmt: skip


def display_ads() -> Tables:
    rows = [(581_738 + u, t, 1 + i * 7, "430548_1007", int(k % 10 != 3), int(k % 10 == 3))
            for k, (u, i, t) in enumerate(log(users=60, items=50, days=8))]  # fmt: skip
    return {"raw_sample.csv": text("user time_stamp adgroup_id pid nonclk clk", rows)}


def unnamed() -> Tables:
    return {
        "dump.csv": text("f0 f1 f2", [(date(t), f"q{i * 31}", f"x{u * 7919 % 1009}")
                                      for u, i, t in log(users=60, items=40, days=30)])
    }  # fmt: skip


def unnamed_joined() -> Tables:
    return {
        "dump.csv": text("a b c", [(i * 31 + 5, u * 7 + 100_000, date(t))
                                   for u, i, t in log(users=60, items=40, days=30)]),
        "things.csv": text("k label cost",
                           [(i * 31 + 5, f"Thing number {i}", i + 0.5) for i in range(40)]),
        "who.csv": text("k age gender",
                        [(u * 7 + 100_000, 20 + u, "fm"[u % 2]) for u in range(0, 60, 3)]),
    }  # fmt: skip


def spanish() -> Tables:
    return {
        "ventas.csv": text(
            "fecha cliente producto cantidad importe",
            [(date(t, "%d/%m/%Y %H:%M"), f"C{u:04}", f"P{i:03}", 1 + k % 4, f"{k},50")
             for k, (u, i, t) in enumerate(log(users=60, items=40))], ";",
        )
    }  # fmt: skip


def votes() -> Tables:
    return {
        "votes.csv": text("voter post vote ts",
                          [(f"v{u}", f"p{i}", 1 if k % 10 else -1, t)
                           for k, (u, i, t) in enumerate(log())])
    }  # fmt: skip


def few_bad_ratings() -> Tables:
    return {
        "log.csv": text("user_id movie_id rating time",
                        [(u, i, "broken" if k % 50 == 7 else 1 + k % 5, t)
                         for k, (u, i, t) in enumerate(log())])
    }  # fmt: skip


def percent_ratings() -> Tables:
    return {
        "log.csv": text("listener album score when",
                        [(f"l{u}", f"a{i}", 1 + k * 7 % 100, t)
                         for k, (u, i, t) in enumerate(log())])
    }  # fmt: skip


def thumbs() -> Tables:
    return {
        "feedback.csv": text("student course liked at",
                             [(f"s{u}", f"c{i}", ("True", "False")[k % 4 == 0], date(t))
                              for k, (u, i, t) in enumerate(log())])
    }  # fmt: skip


def watched() -> Tables:
    return {
        "plays.csv": text("account clip watched_seconds at",
                          [(f"v{u}", f"p{i}", k * 7 % 300, t * 1000)
                           for k, (u, i, t) in enumerate(log())])
    }  # fmt: skip


def unnamed_flag() -> Tables:
    return {
        "feed.csv": text("user_id post_id time flag",
                         [(f"u{u}", f"p{i}", t, int(k % 9 == 0))
                          for k, (u, i, t) in enumerate(log())])
    }  # fmt: skip


def flags_of_orders() -> Tables:
    return {
        "orders.csv": text("order_id customer_id product_id ordered_at gift_wrapped is_weekend",
                           [(k, f"c{u}", f"p{i}", date(t), int(k % 9 == 0), int(k % 7 > 4))
                            for k, (u, i, t) in enumerate(log())])
    }  # fmt: skip


def sessions_and_users() -> Tables:
    return {
        "views.csv": text(
            "sessionId userId itemId timeframe eventdate",
            [(u * 50 + t // 86_400 % 50, "NA" if k % 3 == 0 else 100 + u, 9654 + i,
              k * 977 % 900_000, date(t, "%Y-%m-%d"))
             for k, (u, i, t) in enumerate(log(users=60))], ";",
        )
    }  # fmt: skip


def bad_times() -> Tables:
    return {
        "events.csv": text("user_id item_id date",
                           [(u, i, "n/a-2021" if k % 5 < 2 else date(t))
                            for k, (u, i, t) in enumerate(log())])
    }  # fmt: skip


def skipped_plays() -> Tables:
    return {
        "plays.csv": text(
            "ts listener track_uri ms_played skipped shuffle",
            [(date(t, "%Y-%m-%dT%H:%M:%SZ"), f"u{u}", f"spotify:track:{i}",
              1_200 if k % 4 == 0 else 60_000 + 1_000 * (k % 90), k % 4 == 0, k % 3 == 0)
             for k, (u, i, t) in enumerate(log())],
        )
    }  # fmt: skip


def with_labels(column: str, *labels: str) -> Tables:
    """A log with a column of labels that tell what became of a row."""
    rows = [(f"c{u}", f"o{i}", date(t), labels[k * 7 % len(labels)])
            for k, (u, i, t) in enumerate(log())]  # fmt: skip
    return {"events.csv": text(f"customer offer sent {column}", rows)}


def german_ratings() -> Tables:
    rows = [(f"M{u}", f"F{i}", f"{(k * 7 % 19 + 1) / 2:.1f}".replace(".", ","),
             date(t, "%d.%m.%Y %H:%M")) for k, (u, i, t) in enumerate(log())]  # fmt: skip
    return {"daten.csv": text("Mitglied Film Bewertung Datum", rows, ";")}


def hours_of_games() -> Tables:
    rows = [(76561197960265728 + 17 * u, 10 * (i + 1), k * 53 % 900, 0)
            for k, (u, i, _) in enumerate(log(by_user=True))]  # fmt: skip
    return {"library.csv": text("steamid appid playtime_forever playtime_2weeks", rows)}


def prices_of_listings() -> Tables:
    rows = [(date(t), f"L{i}", f"v{u}", 20_000 * i, k * 29 % 300, "tf"[k % 5 > 0])
            for k, (u, i, t) in enumerate(log())]  # fmt: skip
    return {"visits.csv": text("visit_ts listing visitor price seconds_on_page contacted", rows)}


def free_items() -> Tables:
    rows = [(u, i, t, 0 if k % 9 == 0 else 3 + k % 7) for k, (u, i, t) in enumerate(log())]
    return {"sales.csv": text("user_id item_id ts price", rows)}


def returned_pieces() -> Tables:
    rows = [(f"user{u}@mail.com", f"S{i}", date(t), 9.5 + k % 4, -1 if k % 20 == 0 else 1 + k % 3)
            for k, (u, i, t) in enumerate(log())]  # fmt: skip
    return {"sales.csv": text("email article_number date price pieces", rows)}


def spreadsheet_days() -> Tables:
    rows = [(f"K{u}", f"A{i}", f"{25_569 + t / 86_400:.5f}".replace(".", ","), 1 + k % 4)
            for k, (u, i, t) in enumerate(log())]  # fmt: skip
    return {"export.csv": text("Kunde Artikel Datum Menge", rows, ";")}


def korean() -> Tables:
    rows = [(t // 86_400 * 50 + u, f"M{u}", f"P{i}", date(t, "%Y-%m-%d %H:%M"), 1 + k % 5)
            for k, (u, i, t) in enumerate(log())]  # fmt: skip
    return {"주문.csv": text("주문번호 회원번호 상품코드 주문일시 평점", rows)}


def russian() -> Tables:
    rows = [(f"К{u}", f"Т{i}", date(t, "%d.%m.%Y %H:%M"), 1 + k % 3)
            for k, (u, i, t) in enumerate(log())]  # fmt: skip
    return {"заказы.csv": text("Клиент Товар Дата Количество", rows, ";")}


def churned() -> Tables:
    rows = [(u, i, t, int(k % 4 == 0)) for k, (u, i, t) in enumerate(log())]
    return {"plans.csv": text("user_id product_id start churned", rows)}


def counted_clicks() -> Tables:
    rows = [(u, i, t, 1 + k % 9, max(0, k % 5 - 2)) for k, (u, i, t) in enumerate(log())]
    return {"daily.csv": text("user_id item_id time impressions clicks", rows)}


def date_and_clock() -> Tables:
    rows = [(u, i, date(t, "%Y-%m-%d"), date(t, "%I:%M %p").replace(" ", "")) for u, i, t in log()]
    return {"log.csv": text("user_id item_id date time", rows)}


def nested_events() -> Tables:
    return {
        "events.jsonl": jsonl(
            {"event_timestamp": str(t * 1_000_000), "event_name": pick(k, *TASTES),
             "user_pseudo_id": f"{1000 + u}.{u}", "items": [{"item_id": f"S{i}", "price": 9.9}]}
            for k, (u, i, t) in enumerate(log())
        )
    }  # fmt: skip


CASES = {
    "movielens": Case(
        movielens,
        {"user": "userId", "item": "movieId", "time": "timestamp", "value": "rating"},
        ["like"], ["rate"], bounds={"like": 4},
        items={"path": "movies.csv", "id": "movieId", "title": "title", "category": "genres",
               "category_separator": "|"},
        notes=["not used: tags.csv (it looks like an event log too", "(37% of the events)"],
    ),
    "movielens-100k, no header": Case(
        movielens_100k,
        {"user": "column_1", "item": "column_2", "time": "column_4", "value": "column_3"},
        ["like"], ["rate"], bounds={"like": 4},
        notes=["u.tsv has no header line: its columns are called column_1"],
    ),
    "recbole": Case(
        recbole,
        {"user": "user_id:token", "item": "item_id:token", "time": "timestamp:float",
         "value": "rating:float"},
        ["like"], ["rate"], bounds={"like": 4},
        items={"path": "ml.item.tsv", "id": "item_id:token", "title": "movie_title:token_seq"},
    ),
    "book-crossing": Case(
        book_crossing,
        {"user": "User-ID", "item": "ISBN", "value": "Book-Rating", "untimed": "random"},
        ["like"], ["rate", "unrated"], bounds={"like": 6, "rate": 3},
        items={"path": "BX-Books.csv", "id": "ISBN", "title": "Book-Title",
               "author": "Book-Author"},
        notes=["no column of times", "60% are 0, taken for events without a rating"],
    ),
    "amazon reviews": Case(
        amazon_reviews,
        {"user": "reviewerID", "item": "asin", "time": "unixReviewTime", "value": "overall"},
        ["like"], ["rate"], bounds={"like": 4},
        items={"path": "meta_Beauty.json", "id": "asin", "title": "title", "author": "brand"},
        notes=["not used: `reviewerName` of reviews_Beauty.json, with one value per user",
               "not used: `helpful`, `reviewText`"],
    ),
    "last.fm 1k": Case(
        lastfm_1k,
        {"user": "userid", "item": "musicbrainz-track-id", "time": "timestamp"},
        ["interaction"], users="userid-profile.tsv #id", again=True,
        notes=["with one value per item; to use them"],
    ),
    "last.fm hetrec": Case(
        lastfm_hetrec,
        {"user": "userID", "item": "artistID", "value": "weight", "untimed": "random"},
        ["interaction"], items={"path": "artists.tsv", "id": "id", "title": "name"},
        notes=["no column of times"],
    ),
    "steam recommendations": Case(
        steam_recommendations,
        {"user": "user_id", "item": "app_id", "time": "date", "value": "hours"},
        ["recommended"], ["rate"],
        items={"path": "games.csv", "id": "app_id", "title": "title", "published": "date_release"},
        users="users.csv user_id",
        notes=["`is_recommended` 85.", "not used: `helpful`, `funny`, `review_id`"],
    ),
    "steam 200k": Case(
        steam_200k,
        {"user": "user-id", "item": "game-title", "behaviour": "behavior-name", "value": "value",
         "untimed": "random"},
        ["purchase"], ["play"],
    ),
    "yelp": Case(
        yelp, {"user": "user_id", "item": "business_id", "time": "date", "value": "stars"},
        ["like"], ["rate"], bounds={"like": 4},
        items={"path": "yelp_academic_dataset_business.json", "id": "business_id", "title": "name",
               "category": "categories", "category_separator": ","},
        users="yelp_academic_dataset_user.json user_id",
        notes=["not used: yelp_academic_dataset_tip.json"],
    ),
    "retailrocket": Case(
        retailrocket,
        {"user": "visitorid", "item": "itemid", "time": "timestamp", "behaviour": "event"},
        ["view", "addtocart", "transaction"], again=True,
        notes=["the behaviours form a funnel: view", "not used: item_properties_part1.csv"],
    ),
    "complete journey": Case(
        complete_journey,
        {"user": "household_id", "item": "product_id", "time": "transaction_timestamp",
         "value": "quantity", "request": "basket_id"},
        ["interaction"], again=True,
        items={"path": "products.csv", "id": "product_id", "category": "product_category",
               "author": "brand"},
        users="demographics.csv household_id",
        notes=["33.3% of the users of the events"],
    ),
    "dunnhumby": Case(
        dunnhumby,
        {"user": "household_key", "item": "PRODUCT_ID", "time": "DAY", "time_of_day": "TRANS_TIME",
         "time_unit": "days", "value": "QUANTITY", "request": "BASKET_ID"},
        ["interaction"], again=True,
        items={"path": "product.csv", "id": "PRODUCT_ID", "category": "COMMODITY_DESC",
               "author": "BRAND"},
        users="hh_demographic.csv household_key",
        notes=["read as days since the start of the log"],
    ),
    "h&m": Case(
        h_and_m,
        {"user": "customer_id", "item": "article_id", "time": "t_dat", "value": "price"},
        ["interaction"],
        items={"path": "articles.csv", "id": "article_id", "title": "prod_name",
               "category": "department_name"},
        users="customers.csv customer_id",
    ),
    "taobao, no header": Case(
        taobao,
        {"user": "column_1", "item": "column_2", "time": "column_5", "behaviour": "column_4"},
        ["pv", "fav", "cart", "buy"], again=True,
        notes=["a funnel: pv", "not used: `column_3` of UserBehavior.csv, with one value per item"],
    ),
    "taobao mobile": Case(
        taobao_mobile,
        {"user": "user_id", "item": "item_id", "time": "time", "behaviour": "behavior_type"},
        ["1"], ["2", "3", "4"],
        notes=["no behaviour has a usual name of a success: the most frequent, `1`, is taken"],
    ),
    "kkbox": Case(
        kkbox,
        {"user": "msno", "item": "song_id", "untimed": "random",
         "context": ["source_system_tab", "source_type"]},
        ["target"], ["rate"],
        items={"path": "songs.csv", "id": "song_id", "author": "artist_name"},
        users="members.csv msno", notes=["`target` 60.", "no column of times"],
    ),
    "kuairand": Case(
        kuairand,
        {"user": "user_id", "item": "video_id", "time": "time_ms", "value": "play_time_ms",
         "context": ["tab"]},
        ["click", "like", "follow", "long_view"], ["impression!", "hate"],
        items={"path": "video_features_basic.csv", "id": "video_id", "author": "author_id",
               "category": "tag", "published": "upload_dt"},
        users="user_features.csv user_id",
        notes=["each row is an impression", "`tab` of log_standard.csv; requests should",
               "`is_rand` of log_standard.csv"],
    ),
    "foursquare": Case(
        foursquare, {"user": "userId", "item": "venueId", "time": "utcTimestamp"},
        ["interaction"], again=True,
    ),
    "gowalla, no header": Case(
        gowalla, {"user": "column_1", "item": "column_5", "time": "column_2"},
        ["interaction"], again=True,
    ),
    "netflix": Case(
        netflix,
        {"user": "Cust_Id", "item": "Movie_Id", "time": "Date", "value": "Rating"},
        ["like"], ["rate"], bounds={"like": 4},
        items={"path": "movie_titles.csv", "id": "Movie_Id", "title": "Name"},
    ),
    "funds": Case(
        funds,
        {"user": "用户ID", "item": "基金代码", "time": "交易日期", "behaviour": "交易类型",
         "value": "交易金额"},
        ["purchase", "定投"], ["return"],
        items={"path": "基金信息.csv", "id": "基金代码", "title": "基金名称",
               "category": "基金类型", "author": "基金公司"},
        users="客户信息.csv 用户ID",
    ),
    "insurance": Case(
        insurance, {"user": "客户号", "item": "产品编号", "time": "访问时间"},
        ["click", "purchase"], ["impression!"],
    ),
    "online retail": Case(
        online_retail,
        {"user": "CustomerID", "item": "StockCode", "time": "InvoiceDate", "value": "Quantity",
         "request": "InvoiceNo"},
        ["purchase"], ["return"], bounds={"purchase": 1}, used=0.8,
        notes=["0 and below a `return`", "empty user id"],
    ),
    "otto": Case(
        otto, {"user": "session", "item": "aid", "time": "ts", "behaviour": "type"},
        ["clicks", "carts", "orders"], notes=["a funnel: clicks"],
    ),
    "rees46": Case(
        rees46,
        {"user": "user_id", "item": "product_id", "time": "event_time", "behaviour": "event_type",
         "value": "price", "request": "user_session"},
        ["view", "cart", "purchase"],
        notes=["not used: `category_id`, `brand` of 2019-Oct.csv, with one value per item"],
    ),
    "analytics": Case(
        analytics, {"user": "fullVisitorId", "item": "productSKU", "time": "hitTime",
                    "request": "visitId"},
        ["interaction"],
    ),
    "display ads": Case(
        display_ads, {"user": "user", "item": "adgroup_id", "time": "time_stamp"},
        ["clk"], ["impression!"], notes=["not used: `pid`, `nonclk`"],
    ),
    "no names": Case(unnamed, {"user": "f2", "item": "f1", "time": "f0"}, ["interaction"]),
    "no names, joined": Case(
        unnamed_joined, {"user": "b", "item": "a", "time": "c"}, ["interaction"],
        items={"path": "things.csv", "id": "k"}, users="who.csv k",
        notes=["it has 33.3% of the users"],
    ),
    "spanish": Case(
        spanish,
        {"user": "cliente", "item": "producto", "time": "fecha", "value": "cantidad"},
        ["interaction"], notes=["not used: `importe`"],
    ),
    "votes of -1 and 1": Case(
        votes, {"user": "voter", "item": "post", "time": "ts", "value": "vote"},
        ["like"], ["rate"], bounds={"like": 1}, notes=["(90% of the events)"],
    ),
    "a few bad ratings": Case(
        few_bad_ratings,
        {"user": "user_id", "item": "movie_id", "time": "time", "value": "rating"},
        ["like"], ["rate"], bounds={"like": 4}, used=0.98, notes=["value is not a number"],
    ),
    "ratings of 1 to 100": Case(
        percent_ratings,
        {"user": "listener", "item": "album", "time": "when", "value": "score"},
        ["like"], ["rate"], bounds={"like": 40}, notes=["(60% of the events)"],
    ),
    "thumbs": Case(
        thumbs, {"user": "student", "item": "course", "time": "at"}, ["liked"], ["rate"],
        notes=["`liked` 74.86%"],
    ),
    "watched seconds": Case(
        watched,
        {"user": "account", "item": "clip", "time": "at", "value": "watched_seconds"},
        ["watch"], ["skip"],
    ),
    "a flag without a telling name": Case(
        unnamed_flag, {"user": "user_id", "item": "post_id", "time": "time"},
        ["flag"], ["impression!"], notes=["`flag` 11."],
    ),
    "flags of orders": Case(
        flags_of_orders,
        {"user": "customer_id", "item": "product_id", "time": "ordered_at"}, ["interaction"],
        notes=["not used, but like an outcome: `gift_wrapped`",
               "not used: `order_id`, `is_weekend`"],
    ),
    "sessions and users": Case(
        sessions_and_users,
        {"user": "userId", "item": "itemId", "time": "eventdate", "visitor": "sessionId",
         "request": "sessionId"},
        ["interaction"],
    ),
    "bad times": Case(
        bad_times, {"user": "user_id", "item": "item_id", "time": "date"}, ["interaction"],
        used=0.6, notes=["time is not a time", "(n/a-2021)"],
    ),
    "plays that were skipped": Case(
        skipped_plays,
        {"user": "listener", "item": "track_uri", "time": "ts", "value": "ms_played"},
        ["watch"], ["skip"],
        notes=["not used, but like an outcome: `skipped`", 'column = "skipped" and weight = 0'],
    ),
    "answers to offers": Case(
        lambda: with_labels("status", "accepted", "declined", "no response"),
        {"user": "customer", "item": "offer", "time": "sent", "behaviour": "status"},
        ["accepted"], ["declined", "no_response"],
    ),
    "states of orders": Case(
        lambda: with_labels("status", "Delivered", "Cancelled", "Refunded", "Pending"),
        {"user": "customer", "item": "offer", "time": "sent", "behaviour": "status"},
        ["Delivered"], ["Cancelled", "Refunded", "Pending"],
    ),
    "Chinese states of orders": Case(
        lambda: with_labels("订单状态", "已完成", "已取消", "已退款"),
        {"user": "customer", "item": "offer", "time": "sent", "behaviour": "订单状态"},
        ["success"], ["return", "已退款"],
    ),
    "unknown states": Case(
        lambda: with_labels("status", "S1", "S2", "S3"),
        {"user": "customer", "item": "offer", "time": "sent"}, ["interaction"],
        notes=["not used, but like an outcome: `status`", '--behaviour "status"'],
    ),
    "emoji": Case(
        lambda: with_labels("reaction", "👍", "👎", "❤️"),
        {"user": "customer", "item": "offer", "time": "sent", "behaviour": "reaction"},
        ["like", "like_2"], ["dislike"],
    ),
    "stars as characters": Case(
        lambda: with_labels("stars", "★★★★★", "★★★★☆", "★★", "★"),
        {"user": "customer", "item": "offer", "time": "sent", "behaviour": "stars"},
        ["rating_100", "rating_80"], ["rating_40", "rating_20"],
    ),
    "ratings as fractions": Case(
        lambda: with_labels("overall", "18/20", "15/20", "9/20"),
        {"user": "customer", "item": "offer", "time": "sent", "behaviour": "overall"},
        ["18_20", "15_20"], ["9_20"],
    ),
    "grades": Case(
        lambda: with_labels("grade", "A", "B", "C", "F"),
        {"user": "customer", "item": "offer", "time": "sent", "behaviour": "grade"},
        ["A", "B"], ["C", "F"],
    ),
    "German ratings": Case(
        german_ratings,
        {"user": "Mitglied", "item": "Film", "time": "Datum", "value": "Bewertung"},
        ["like"], ["rate"], notes=["ratings in `Bewertung` from 0.5 to 9.5"],
    ),
    "hours of games": Case(
        hours_of_games,
        {"user": "steamid", "item": "appid", "value": "playtime_forever", "untimed": "random"},
        ["watch"], ["skip"], notes=["`playtime_forever` from 0 to"],
    ),
    "a price of the item": Case(
        prices_of_listings,
        {"user": "visitor", "item": "listing", "time": "visit_ts", "value": "seconds_on_page"},
        ["contacted"], ["impression!"],
    ),
    "free items": Case(
        free_items,
        {"user": "user_id", "item": "item_id", "time": "ts", "value": "price"}, ["interaction"],
    ),
    "days of a spreadsheet with a decimal comma": Case(
        spreadsheet_days,
        {"user": "Kunde", "item": "Artikel", "time": "Datum", "value": "Menge",
         "time_unit": "excel"},
        ["interaction"], notes=["read as the days of a spreadsheet"],
    ),
    "Korean": Case(
        korean,
        {"user": "회원번호", "item": "상품코드", "time": "주문일시", "value": "평점",
         "request": "주문번호"},
        ["like"], ["rate"], bounds={"like": 4},
    ),
    "Russian": Case(
        russian, {"user": "Клиент", "item": "Товар", "time": "Дата", "value": "Количество"},
        ["interaction"],
    ),
    "users who left": Case(
        churned, {"user": "user_id", "item": "product_id", "time": "start"}, ["interaction"],
        notes=["not used, but like an outcome: `churned`"],
    ),
    "counted clicks": Case(
        counted_clicks, {"user": "user_id", "item": "item_id", "time": "time"}, ["interaction"],
        notes=["not used, but like an outcome: `clicks`", 'with column = "clicks"'],
    ),
    "a date and a time of the day": Case(
        date_and_clock,
        {"user": "user_id", "item": "item_id", "time": "date", "time_of_day": "time"},
        ["interaction"],
    ),
    "returned pieces beside a price": Case(
        returned_pieces,
        {"user": "email", "item": "article_number", "time": "date", "value": "pieces"},
        ["purchase"], ["return"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_right_reading_is_proposed(name: str, tmp_path: Path) -> None:
    check(CASES[name], tmp_path)


FAILURES: dict[str, tuple[Callable[[], Tables], list[str]]] = {
    "instacart": (
        instacart,
        ["orders.csv has the user (`user_id`) of each `order_id`: join the two tables by it"],
    ),
    "mind": (
        mind,
        ['column `impressions` holds several values per row, e.g. "N', "split them into"],
    ),
    "most times are bad": (
        lambda: {"events.csv": text("user_id item_id date",
                                    [(u, i, "n/a-2021" if k % 5 else date(t))
                                     for k, (u, i, t) in enumerate(log())])},
        ["column `date` looks like a time by its name, but 80% of its values are not times",
         'e.g. "n/a-2021"'],
    ),
    "a spreadsheet": (
        lambda: {"sales.xlsx": "PK", "notes.md": "# notes"},
        ["sales.xlsx is a spreadsheet; save its sheet as CSV"],
    ),
    "sequences": (
        lambda: {"train.txt": "".join(f"{u} {u} {u + 1} {u + 2}\n" for u in range(30))},
        ["its lines look like a user and then the items"],
    ),
    "nested events": (
        nested_events,
        ["user = `user_pseudo_id`", "no item", "e.g. \"[{'item_id': 'S",
         "`items` holds objects: write their fields as columns (`items_item_id`, `items_price`)"],
    ),
    "a matrix": (
        lambda: {"m.csv": text("user " + " ".join(f"film_{i}" for i in range(12)),
                               [(f"u{u}", *[(u * i) % 6 for i in range(12)]) for u in range(30)])},
        ["look like a matrix of users and items"],
    ),
    "an items' table alone": (
        lambda: {"items.csv": text("item_id title price", [(i, f"T{i}", i) for i in range(30)])},
        ["items.csv: item = `item_id` found, no user, no time"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILURES)
def test_a_folder_without_a_log_is_refused_with_the_reasons(name: str, tmp_path: Path) -> None:
    tables, parts = FAILURES[name]
    for file, content in tables().items():
        (tmp_path / file).write_text(content, "utf-8")
    with pytest.raises(DataError) as caught:
        guess_config(tmp_path, "t")
    for part in parts:
        assert part in str(caught.value)


def test_an_empty_folder_and_nested_tables_are_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the folder is empty"):
        guess_config(tmp_path, "t")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "events.csv").write_text("user,item,time\nu,i,1600000000\n", "utf-8")
    with pytest.raises(DataError, match=r"its tables are in folders of it \(data\): give that"):
        guess_config(tmp_path, "t")
