"""Usual names of tables and columns, which `tamis init` takes as evidence."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass


def _list(text: str) -> list[str]:
    return text.split()


EVENT_TABLES = _list(
    "events event ratings rating interactions interaction inter logs log clicks actions activity "
    "behaviors behaviours behavior purchases orders transactions views reviews checkins plays "
    "impressions feedback listens scrobbles sessions history userbehavior bewertungen bestellungen "
    "kaufe verkaufe einkaufe compras ventas pedidos valoraciones achats commandes ventes "
    "evaluations vendas avaliacoes acquisti ordini"
)
ITEM_TABLES = _list(
    "items item products product videos video movies movie films songs song tracks articles news "
    "books goods posts places pois ads catalog catalogue content listings shows games business "
    "businesses venues funds artists recipes courses jobs hotels restaurants apps artikel "
    "produkte bucher filme productos articulos libros peliculas produits articles livres films "
    "produtos livros filmes prodotti"
)
USER_TABLES = _list(
    "users user customers customer members accounts visitors people profiles audience households "
    "demographics hh_demographic players subscribers kunden benutzer nutzer mitglieder clientes "
    "usuarios clients utilisateurs abonnes clienti utenti"
)

_USER = (
    "user customer member visitor account client person buyer reviewer household player "
    "subscriber shopper guest student learner borrower investor policyholder cust usr listener "
    "candidate applicant employee worker driver rider patient doctor donor backer trader steam "
    "steamid msisdn imsi cookie viewer reader passenger patron consumer rater voter owner uid msno "
    "hh userid mid "
    "usuario cliente utilisateur benutzer kunde kunden nutzer mitglied mitglieds kaufer leser "
    "utente kupac klient uzytkownik musteri kullanici pelanggan pengguna zakaznik kund anvandare "
    "bruker lecteur abonne acheteur leitor comprador socio lector "
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
    "menu module lecture tutorial vacancy tour flight campaign clip merchant seller_sku "
    "artikel tuote urun produk vare zbozi producto produit produkt articulo prodotto pelicula "
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
    "session visit trip bill checkout ticket conversion enrollment pedido bestellung commande "
    "compra venta vente einkauf beleg rechnung заказ чек сессия 주문 세션 "
    "订单 会话 请求 小票 流水 交易编号 曝光"
)
_ID = set(
    _list(
        "id ids key no number code idx index hash uuid guid ref pk sk nbr nr unique real pseudo "
        "anonymous nummer kennung numero codigo codice identifiant identificador kod num"
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
_GLUED = ("id", "key", "code", "no", "nr", "nummer")


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
    "time timestamp stamp tstamp ts datetime date day dt when unixtime unixreviewtime at epoch utc "
    "dat created occurred logged clock fecha datum kaufdatum bestelldatum zeit zeitpunkt "
    "zeitstempel uhrzeit hora heure data дата время "
    "일시 날짜 시간 时间 日期 时刻 日 時間 日時 日付 年月日"
)
"""Last words of the names of columns of times."""
DATE_WORDS = word_set("date datetime timestamp datum fecha дата")
"""Words anywhere in the names of columns of dates: `date_added`, `fecha_compra`."""
PERIOD_WORDS = word_set(
    "month yearmonth ym period week yearweek quarter hour monat woche mes semana mois semaine "
    "年月 月份 月 周"
)
"""Last words of the names of columns of months, weeks and quarters."""
CLOCK_WORDS = word_set(
    "time clock hhmm hhmmss hourmin hourminute uhrzeit zeit hora heure tod 时间 時刻 時間 시간"
)
"""Words in the names of columns of times of the day."""
OTHER_TIME_WORDS = word_set(
    "birth birthday born release released publish published registration registered signup joined "
    "join updated modified expire expiry expiration end ended due upload uploaded founded first "
    "last arrival arrived ingested received server opened listed since until ship shipped shipping "
    "delivery delivered deliver due return returned estimated "
    "出生 生日 注册 发布 上架 更新 到期 结束 成立 发货 收货"
)
"""Words of times of something other than the event."""
DURATION_WORDS = word_set(
    "play stay watch dwell spent duration listen view session elapsed response reaction load read "
    "played watched watching playing listening reading average avg mean total sum per"
)
"""Words before `time` in the names of columns of durations."""
ARRIVAL = _list("arrival arrived arrival_time arrived_at ingested_at received_at server_time")
BEHAVIOUR = _list(
    "behaviour behavior event event_type action action_type event_name behavior_type "
    "behaviour_type interaction interaction_type type kind activity etype action_name "
    "行为 行为类型 操作 操作类型 动作 事件 事件类型 交易类型 业务类型 业务代码 业务名称 交易代码"
)
VALUE = _list(
    "rating score stars value play_time watch_time watch_seconds seconds dwell dwell_time "
    "duration price amount quantity play_time_ms overall sales_value qty hours plays playcount "
    "评分 金额 交易金额 数量 份额 时长 价格"
)
RATING = _list("rating score stars value overall grade vote 评分 打分 星级")
RATING_WORDS = word_set(
    "rating ratings score stars star overall grade vote rate preference affinity note nota puntaje "
    "评分 打分 星级 分数 "
    "bewertung bewertungen punktzahl sterne calificacion puntuacion valoracion estrellas "
    "valutazione voto voti avaliacao beoordeling waardering ocena betyg рейтинг оценка 評価 評点 "
    "평점 별점"
)
WATCHED_WORDS = word_set(
    "seconds sec secs watch dwell listen hours hour minutes played watched duration playtime "
    "playing_time completion progress ratio percent percentage dauer duracion duree durata duracao "
    "sekunden minuten stunden segundos minutos secondes 时长 視聴時間 再生時間 시청시간"
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
    "titel bezeichnung artikelname produktname titulo nombre titre libelle nom nome titolo "
    "标题 名称 商品名称 产品名称 基金名称 商品名 品名 書名 作品名 タイトル 제목 상품명"
)
CATEGORY = _list(
    "category categories genre genres category_id category_name cate cat topic topics department "
    "section class tag tags product_category main_category primary_genre 类别 类目 分类 类型 "
    "基金类型 风格"
)
CATEGORY_WORDS = _list(
    "category genre warengruppe kategorie rubrik categoria categorie genero rayon famille familia "
    "категория 类目 品类 分类 类别 カテゴリ カテゴリー ジャンル 分類 카테고리 분류 장르 department "
    "commodity aisle topic section type group class"
)
"""Words anywhere in the name of a column of the category, the likeliest first."""
TITLE_WORDS = word_set(
    "title name headline caption titel bezeichnung artikelname produktname titulo nombre titre "
    "libelle designation nom nome titolo название наименование 标题 名称 商品名 品名 书名 片名 "
    "歌名 書名 作品名 曲名 タイトル 제목 상품명 이름"
)
AUTHOR = _list(
    "author author_id book_author artist artist_id artist_name seller seller_id creator creator_id "
    "channel director shop_id uploader publisher brand brand_id manufacturer manufacturer_id "
    "作者 卖家 品牌 店铺 基金公司 管理人"
)
AUTHOR_WORDS = word_set(
    "author artist seller creator uploader publisher brand manufacturer verfasser autor auteur "
    "autore kunstler artista artiste marke marca marque hersteller fabricante fabricant автор "
    "бренд "
    "作者 著者 品牌 店铺 ブランド メーカー 出版社 브랜드 저자 제조사"
)
"""Last words of the names of columns of the author, the brand or the seller."""
PUBLISHED = _list(
    "published published_at publish_time publish_date upload_dt upload_time uploaded_at "
    "created_at release_date listed_at birth date_release released erscheinungsdatum "
    "fecha_publicacion fecha_de_publicacion date_publication date_de_publication date_sortie "
    "data_publicacao data_lancamento 发布时间 发布日期 上架时间 上架日期 出版日期 成立日期 発売日 "
    "公開日 출시일"
)
LATITUDE = _list("latitude lat")
LONGITUDE = _list("longitude lon lng long")
CITY = _list("city town ort stadt ciudad ville cidade citta 城市 市区町村 도시")
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
    "titel verfasser autor verlag warengruppe kategorie hersteller preis marke titulo genero "
    "categoria precio marca editorial titre auteur prix marque categorie libelle preco "
    "标题 名称 类别 类目 分类 品牌 价格 作者 类型 商品名 カテゴリ ブランド 著者 価格 상품명 "
    "카테고리 브랜드"
)
USER_ATTRIBUTES = word_set(
    "age gender sex occupation income birth zip zipcode education married marital membership "
    "signup registration household_size kids register bd geschlecht alter ort plz beruf sexo edad "
    "ciudad profesion sexe ville idade cidade eta "
    "年龄 性别 职业 收入 学历 生日 年齢 性別 都道府県 職業 성별 나이 연령"
)
ATTRIBUTE_WORDS = word_set(
    "category categories genre genres brand price city country state region gender age sex "
    "description colour color size weight lat lon latitude longitude zip zipcode year month week "
    "weekday hour quantity amount count rank position type status class department section tag "
    "tags name title email phone address text review comment summary device os platform browser "
    "step language currency channel source store shop seller author artist manufacturer"
)
"""Last words of the names of columns that are hardly ever the id of a user or an item."""


_ATTRIBUTE = (
    ATTRIBUTE_WORDS | ITEM_ATTRIBUTES | USER_ATTRIBUTES
    | RATING_WORDS | WATCHED_WORDS | AMOUNT_WORDS
)  # fmt: skip


NOBODY = word_set(
    "-1 0 -999 anonymous anon guest unknown nobody none null undefined nan na n/a not_set "
    "00000000-0000-0000-0000-000000000000 匿名 未知 游客 未登录 ゲスト 비회원"
) | {"(not set)", "not set", "not logged in"}
"""Values, in lower case, that stand for an unknown user where they are frequent."""
VISITOR_WORDS = word_set(
    "session visit visitor cookie device browser anonymous guest client fingerprint sid "
    "会话 设备 访客 セッション 세션"
)
"""Words of the names of columns that stand for the user where he is not known."""
_NO_NAME = re.compile(r"(column|col|field|f|c|v|x|unnamed)_?\d*")


def plain(name: str) -> str:
    """A name in snake case without accents: `user_id` for `UserID`, `user-id` and `user id`."""
    bare = re.sub(r":(token|float)(_seq)?$", "", name.strip())  # RecBole writes types into names
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", bare)
    wide = unicodedata.normalize("NFKD", snake.lower())
    bare = "".join(c for c in wide if not unicodedata.combining(c) or c in _MARKS_OF_LETTERS)
    return re.sub(r"[\W_]+", "_", unicodedata.normalize("NFC", bare)).strip("_")


_MARKS_OF_LETTERS = "\u3099\u309a"
"""Marks that make another letter of Japanese: カ and ガ."""


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


def tells_nothing(name: str) -> bool:
    """Whether the name of a column is only a number, as `column_3` where there is no header."""
    return _NO_NAME.fullmatch(plain(name)) is not None


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
