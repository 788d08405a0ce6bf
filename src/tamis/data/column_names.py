"""Usual names of tables, columns and behaviours, which `tamis init` takes as evidence."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass


def _list(text: str) -> list[str]:
    return text.split()


EVENT_TABLES = _list(
    "events event ratings rating interactions interaction inter logs log clicks actions activity "
    "behaviors behaviours behavior purchases orders transactions views reviews checkins plays "
    "impressions feedback listens scrobbles sessions history userbehavior"
)
ITEM_TABLES = _list(
    "items item products product videos video movies movie films songs song tracks articles news "
    "books goods posts places pois ads catalog catalogue content listings shows games business "
    "businesses venues funds artists recipes courses jobs hotels restaurants apps"
)
USER_TABLES = _list(
    "users user customers customer members accounts visitors people profiles audience households "
    "demographics hh_demographic players subscribers"
)

_USER = (
    "user customer member visitor account client person buyer reviewer household player "
    "subscriber shopper guest student learner borrower investor policyholder cust usr listener "
    "candidate applicant employee worker driver rider patient doctor donor backer trader steam "
    "steamid msisdn imsi cookie viewer reader passenger patron consumer rater voter owner uid msno "
    "hh userid mid "
    "usuario cliente utilisateur benutzer kunde nutzer utente kupac "
    "клиент пользователь покупатель 회원 고객 사용자 유저 이용자 구매자 "
    "用户 客户 会员 会员卡 买家 顾客 投资者 投保人 账户 账号 学员 读者 玩家 手机 ユーザー 顧客 会員"
)
_ITEM = (
    "item product prod sku asin isbn video movie film song track article news book post doc "
    "document ad advert adgroup poi place venue listing business goods photo note show game app "
    "recipe restaurant hotel course job fund stock security episode podcast creative material "
    "merchandise iid aid gid nid stockcode fundcode policy program programme content property "
    "anime manga paper beer wine dish question exercise problem lesson spot attraction "
    "offer coupon deal plan package bookmark joke isin ticker symbol instrument variant meal "
    "menu module lecture tutorial vacancy tour flight "
    " artikel producto produit produkt articulo prodotto pelicula "
    "libro livre buch livro musica товар продукт фильм книга статья 상품 제품 영화 도서 콘텐츠 "
    "商品 产品 物品 基金 视频 电影 歌曲 文章 新闻 图书 书籍 险种 保险 股票 课程 游戏 应用 "
    "商户 酒店 景点 广告 笔记 作品 理财 券 款式 単品 アイテム 映画 曲"
)
_ITEM_WEAK = (
    "artist album name title url page landmark playlist channel band station theme location vid "
    "名称 标题 歌手"
)
_REQUEST = (
    "request req purchase impression slate search query basket transaction invoice order receipt "
    "session visit trip bill checkout ticket заказ чек сессия 주문 세션 "
    "订单 会话 请求 小票 流水 交易编号 曝光"
)
_ID = set(
    _list(
        "id ids key no number code idx index hash uuid guid ref pk sk nbr nr unique real pseudo "
        "anonymous"
    )
)
_ID_ZH = (
    "번호",
    "코드",
    "아이디",
    "编号",
    "代码",
    "编码",
    "号码",
    "标识",
    "主键",
    "id",
    "号",
    "码",
)
_UNITS = ("ms", "us", "ns", "s", "sec", "utc", "gmt", "local")
"""Endings that only say in which unit or zone a column is."""
_GLUED = ("id", "key", "code", "no")


def word_set(text: str) -> frozenset[str]:
    """The words of a text, which are separated by blanks."""
    return frozenset(text.split())


USER_WORDS, ITEM_WORDS, WEAK_ITEM_WORDS, REQUEST_WORDS = map(
    word_set, (_USER, _ITEM, _ITEM_WEAK, _REQUEST)
)

TIME = _list(
    "time timestamp ts event_time datetime time_ms event_timestamp date created_at created when "
    "unix_time occurred_at at unixreviewtime"
)
TIME_WORDS = word_set(
    "time timestamp ts datetime date day dt when unixtime unixreviewtime at epoch utc dat created "
    "occurred logged clock fecha datum zeit hora heure data дата время "
    "일시 날짜 시간 时间 日期 时刻 日 時間 日時"
)
"""Last words of the names of columns of times."""
OTHER_TIME_WORDS = word_set(
    "birth birthday born release released publish published registration registered signup joined "
    "join updated modified expire expiry expiration end ended due upload uploaded founded first "
    "last arrival arrived ingested received server opened listed since until "
    "出生 生日 注册 发布 上架 更新 到期 结束 成立"
)
"""Words of times of something other than the event."""
DURATION_WORDS = word_set(
    "play stay watch dwell spent duration listen view session elapsed response reaction load read "
    "played watched average avg mean total sum per"
)
"""Words before `time` in the names of columns of durations."""
ARRIVAL = _list("arrival arrived arrival_time arrived_at ingested_at received_at server_time")
BEHAVIOUR = _list(
    "behaviour behavior event event_type action action_type event_name behavior_type "
    "behaviour_type interaction interaction_type type kind activity etype action_name "
    "行为 行为类型 操作 操作类型 动作 事件 事件类型 交易类型 业务类型"
)
VALUE = _list(
    "rating score stars value play_time watch_time watch_seconds seconds dwell dwell_time "
    "duration price amount quantity play_time_ms overall sales_value qty hours plays playcount "
    "评分 金额 交易金额 数量 份额 时长 价格"
)
RATING = _list("rating score stars value overall grade vote 评分 打分 星级")
RATING_WORDS = word_set(
    "rating ratings score stars star overall grade vote rate preference affinity "
    "评分 打分 星级 分数 "
    "bewertung bewertungen punktzahl sterne calificacion puntuacion valoracion estrellas "
    "valutazione voto voti avaliacao beoordeling waardering ocena betyg рейтинг оценка 評価 評点 "
    "평점 별점"
)
WATCHED_WORDS = word_set(
    "seconds sec secs watch dwell listen hours hour minutes played watched duration playtime "
    "playing_time completion progress ratio percent percentage 时长"
)
AMOUNT_WORDS = word_set(
    "price amount quantity qty sales spend revenue cost total paid units payment unit_price plays "
    "playcount weight volume cantidad importe precio menge betrag preis prix quantite montant "
    "quantita prezzo unidades anzahl stuck pieces pcs "
    "количество сумма цена 수량 금액 가격 金额 数量 份额 价格 個数 購入数"
)
QUANTITY_WORDS = word_set(
    "quantity qty units pieces pcs cantidad unidades menge anzahl stuck quantite quantita "
    "количество 수량 数量 份额 個数 購入数"
)
"""Words of numbers of pieces, where those below 0 are returns."""
PRICE_WORDS = word_set("price unit_price precio preis prix prezzo cost 价格")
"""Words of prices: one of 0 is of a free item, not of a return."""
SPENT_WORDS = word_set("playtime watchtime played watched listened dwell seconds minutes")
"""Words anywhere in the names of columns of the time that a user spent on an item."""
REQUEST = _list(
    "request_id request req_id impression_id slate_id search_id query_id basket_id transaction_id "
    "order_id invoice_no invoice session_id user_session"
)
POSITION = _list("position pos slot rank place 位置")
TITLE = _list(
    "title name headline product_name item_name movie_title video_title caption "
    "标题 名称 商品名称 产品名称 基金名称"
)
CATEGORY = _list(
    "category categories genre genres category_id category_name cate cat topic topics department "
    "section class tag tags product_category main_category primary_genre 类别 类目 分类 类型 "
    "基金类型 风格"
)
CATEGORY_WORDS = _list("category genre department commodity aisle topic section type group class")
"""Words anywhere in the name of a column of the category, the likeliest first."""
TITLE_WORDS = word_set("title name headline caption 标题 名称")
AUTHOR = _list(
    "author author_id book_author artist artist_id artist_name seller seller_id creator creator_id "
    "channel director shop_id uploader publisher brand brand_id manufacturer manufacturer_id "
    "作者 卖家 品牌 店铺 基金公司 管理人"
)
PUBLISHED = _list(
    "published published_at publish_time publish_date upload_dt upload_time uploaded_at "
    "created_at release_date listed_at birth date_release released 发布时间 上架时间 成立日期"
)
LATITUDE = _list("latitude lat")
LONGITUDE = _list("longitude lon lng long")
CITY = _list("city town 城市")
REQUEST_CONTEXT_WORDS = word_set(
    "device devices os platform browser app client ua useragent agent network carrier isp wifi "
    "connection city town country region province locale language lang referrer referer source "
    "channel scene surface placement screen tab orientation "
    "设备 机型 系统 平台 浏览器 客户端 网络 运营商 城市 国家 省份 地区 语言 渠道 来源 场景"
)
"""Words in the names of columns that describe the request of an event."""
ITEM_ATTRIBUTES = word_set(
    "title name category categories genre genres brand price author artist album description "
    "department colour color size manufacturer seller publisher topic tag tags year duration "
    "标题 名称 类别 类目 分类 品牌 价格 作者 类型"
)
USER_ATTRIBUTES = word_set(
    "age gender sex occupation income birth zip zipcode education married marital membership "
    "signup registration household_size kids register bd 年龄 性别 职业 收入 学历 生日"
)
ATTRIBUTE_WORDS = word_set(
    "category categories genre genres brand price city country state region gender age sex "
    "description colour color size weight lat lon latitude longitude zip zipcode year month week "
    "weekday hour quantity amount count rank position type status class department section tag "
    "tags name title email phone address text review comment summary device os platform browser "
    "language currency channel source store shop seller author artist manufacturer"
)
"""Last words of the names of columns that are hardly ever the id of a user or an item."""


_ATTRIBUTE = (
    ATTRIBUTE_WORDS | ITEM_ATTRIBUTES | USER_ATTRIBUTES
    | RATING_WORDS | WATCHED_WORDS | AMOUNT_WORDS
)  # fmt: skip


@dataclass(frozen=True)
class Usual:
    """The usual meaning of a behaviour."""

    weight: float
    """The interest value that collaborative channels sum."""
    positive: bool = False
    impression: bool = False
    meaning: str = ""
    """The meaning in words, for the comment in `tamis.toml`."""
    name: str = ""
    """A name for the declaration where the log's own is not made of ASCII letters."""


_USUAL: tuple[tuple[str, Usual], ...] = (
    (
        "impression impressions exposure exposures exposed show shown display displayed imp 曝光 "
        "展示",
        Usual(0.0, impression=True, meaning="the item was merely shown", name="impression"),
    ),
    (
        "click clicks clicked clk tap open opened detail visit pv 点击",
        Usual(1.0, True, meaning="a click", name="click"),
    ),
    (
        "view views viewed pageview page_view view_item 浏览 查看",
        Usual(1.0, True, meaning="opened", name="view"),
    ),
    (
        "like likes liked upvote up heart thumbs_up thumbsup love loved good positive recommend "
        "recommended recommends superlike 点赞 喜欢 赞 满意 推荐",
        Usual(2.0, True, meaning="liked", name="like"),
    ),
    (
        "collect collects favorite favourite fav favorites bookmark save saved wishlist 收藏 关注",
        Usual(2.0, True, meaning="kept for later", name="collect"),
    ),
    (
        "share shares shared forward repost retweet 分享 转发",
        Usual(3.0, True, meaning="passed on", name="share"),
    ),
    (
        "follow follows subscribe followed subscribed",
        Usual(2.0, True, meaning="followed the author", name="follow"),
    ),
    (
        "comment comments commented reply review 评论",
        Usual(2.0, True, meaning="talked about", name="comment"),
    ),
    (
        "long_view longview valid_play finish finished complete completed effective_view",
        Usual(2.0, True, meaning="watched for long", name="long_view"),
    ),
    (
        "profile_enter enter_profile profile",
        Usual(1.0, True, meaning="opened the author's page", name="profile_enter"),
    ),
    (
        "cart carts add_to_cart addtocart basket add_cart add_basket 加购 加购物车 加入购物车",
        Usual(2.0, True, meaning="put into the cart", name="cart"),
    ),
    (
        "purchase purchases purchased buy bought order ordered orders transaction checkout pay "
        "paid conversion converted convert subscription booking booked reserve reservation "
        "购买 下单 支付 付款 申购 认购 定投 投保 成交 买入",
        Usual(3.0, True, meaning="bought", name="purchase"),
    ),
    (
        "accept accepted approved won win hired enrolled applied redeemed interested matched "
        "contacted enquired inquired 接受",
        Usual(2.0, True, meaning="it came about", name="success"),
    ),
    (
        "watch play listen read stream watched played 播放 观看",
        Usual(
            0.0,
            meaning="with seconds; add min_value and positive = true to make it positive",
            name="watch",
        ),
    ),
    (
        "dislike dislikes disliked hate hated block report hide not_interested downvote down "
        "thumbs_down thumbsdown unlike skip skipped negative bad not_recommended decline declined "
        "reject rejected refuse refused dismiss dismissed ignore ignored no_response expired lost "
        "unsubscribe unsubscribed reported uninstall uninstalled no_show churn churned attrition "
        "complaint complained fraud bounce bounced overdue defaulted 不感兴趣 点踩 踩 "
        "不喜欢 差评 拒绝",
        Usual(0.0, meaning="unwanted", name="dislike"),
    ),
    (
        "remove_from_cart remove removefromcart return returned refund unfollow uncollect "
        "cancelled canceled cancel refunded cancellation sell sold withdraw withdrawn redeem "
        "redemption 退货 退款 赎回 卖出 取消",
        Usual(0.0, meaning="taken back", name="return"),
    ),
)
UNWANTED = ("dislike", "return")
"""Names of the usual behaviours that are never a success."""
USUAL = {word: usual for words, usual in _USUAL for word in words.split()}

OUTCOME_WORDS = frozenset(USUAL) | word_set(
    "label target outcome response correct clicked reward success positive y is_positive feedback "
    "标签 是否点击 是否购买"
)
"""Names of columns of true and false that say what became of the row."""
OUTCOME_LABEL_WORDS = word_set(
    "status result outcome response reaction feedback decision verdict sentiment swipe "
    "direction disposition grade completed progress 状态 结果 反馈 评价 ergebnis resultado "
    "statut resultat risultato"
)
"""Words of the names of columns of a few texts that may say what became of the row."""
CONTEXT_WORDS = word_set(
    "weekend holiday mobile verified member premium train test valid bot new discount promo "
    "promotion active vip free paid_user logged_in login guest first online vine app isweekend "
    "weekday homework shuffle offline incognito autoplay cost sample random rand "
    "rookie lowactive streamer public visible deleted "
    "周末 节假日"
)
"""Names of columns of true and false that describe the row, the user or the item instead."""


def plain(name: str) -> str:
    """A name in snake case without accents: `user_id` for `UserID`, `user-id` and `user id`."""
    bare = re.sub(r":(token|float)(_seq)?$", "", name.strip())  # RecBole writes types into names
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", bare)
    bare = "".join(
        c for c in unicodedata.normalize("NFKD", snake.lower()) if not unicodedata.combining(c)
    )
    return re.sub(r"[\W_]+", "_", unicodedata.normalize("NFC", bare)).strip("_")


@dataclass(frozen=True)
class NameParts:
    """The name of a column, taken apart."""

    words: tuple[str, ...]
    """Its words in snake case, without those that only say that it is an id."""
    is_id: bool
    """Whether the name says that it is an id, a key, a code or a number of something."""

    @property
    def head(self) -> str:
        """The last word, which says what it is; empty for `id`."""
        return self.words[-1] if self.words else ""


def name_parts(name: str) -> NameParts:
    """`customer_unique_id` → (customer), an id; `movieid` → (movie), an id; `基金代码` → (基金)."""
    words = [w for w in plain(name).split("_") if w]
    is_id = False
    while words and words[-1] in _ID:
        words.pop()
        is_id = True
    if words and not is_id and words[-1] not in _KNOWN:
        for ending in _GLUED:
            stem = words[-1].removesuffix(ending)
            if stem != words[-1] and (known := _known(stem)):
                words[-1], is_id = known, True
                break
    if words and not words[-1].isascii():
        for ending in _ID_ZH:
            if words[-1].endswith(ending) and words[-1] != ending:
                words[-1], is_id = words[-1].removesuffix(ending), True
                break
    if len(words) > 1 and words[0] in ("id", "fk", "dim"):
        words, is_id = words[1:], True
    elif words and not is_id and _known(words[-1].removeprefix("id")) and words[-1][:2] == "id":
        words[-1], is_id = words[-1].removeprefix("id"), True
    if len(words) > 1 and words[-1] in _UNITS:
        words.pop()
    return NameParts(tuple(words), is_id)


_KNOWN = USER_WORDS | ITEM_WORDS | REQUEST_WORDS


def _known(stem: str) -> str | None:
    """The known word at the end of `fullvisitor`; None if there is none."""
    if stem in _KNOWN:
        return stem
    usual = ("user", "visitor", "customer", "member", "item", "product", "player", "session")
    return next((word for word in usual if stem.endswith(word)), None)


def is_one_of(head: str, words: frozenset[str]) -> bool:
    """Whether the last word of a name is one of `words`; names without blanks by their end."""
    if head in words or head.removesuffix("s") in words:
        return True
    if head.isascii():
        return False
    return any(head.endswith(word) for word in words if not word.isascii())


_ADDRESS_WORDS = word_set("e email mail phone address number")


def user_strength(name: str) -> float:
    """How much a name speaks for the id of a user, in [-1, 1]."""
    parts = name_parts(name)
    if is_one_of(parts.head, USER_WORDS):
        return 1.0
    if parts.head in ("email", "mail", "phone") and set(parts.words) <= _ADDRESS_WORDS:
        return 0.6
    if parts.head in ("name", "nickname", "email", "mail", "phone"):
        whose = USER_WORDS | {"profile", "login", "screen"}
        return 0.6 if any(is_one_of(w, whose) for w in parts.words[:-1]) else -0.5
    if parts.head == "device" and parts.is_id:
        return 0.5
    if parts.head == "session":
        return 0.25
    return -_other_strength(parts.head, USER_WORDS)


def item_strength(name: str) -> float:
    """How much a name speaks for the id of an item, in [-1, 1]."""
    if plain(name) in BEHAVIOUR and plain(name) != "type":
        return -1.0  # `event_name`
    parts = name_parts(name)
    if is_one_of(parts.head, ITEM_WORDS):
        return 1.0
    if is_one_of(parts.head, WEAK_ITEM_WORDS):
        if any(is_one_of(w, USER_WORDS) for w in parts.words[:-1]):
            return -1.0
        return 0.6 if any(is_one_of(w, ITEM_WORDS) for w in parts.words[:-1]) else 0.4
    return -_other_strength(parts.head, ITEM_WORDS)


def _other_strength(head: str, own: frozenset[str]) -> float:
    """How much a name speaks for something else than `own`, in [0, 1]."""
    if not head:
        return 0.0
    others = (USER_WORDS | ITEM_WORDS) - own
    if is_one_of(head, others) or is_one_of(head, TIME_WORDS):
        return 1.0
    if is_one_of(head, REQUEST_WORDS):
        return 0.7
    if is_one_of(head, _ATTRIBUTE):
        return 0.8
    return 0.0
