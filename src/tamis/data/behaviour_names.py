"""Usual names of behaviours and of outcomes, with their usual meanings."""

from __future__ import annotations

from dataclasses import dataclass

from tamis.data.column_names import word_set


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
        "impression impressions exposure exposures exposed show shown display displayed imp "
        "angezeigt impresion 曝光 "
        "展示",
        Usual(0.0, impression=True, meaning="the item was merely shown", name="impression"),
    ),
    (
        "click clicks clicked clk clickout tap open opened detail visit pv klick geklickt clic "
        "clique "
        "clicou クリック 클릭 клик 点击",
        Usual(1.0, True, meaning="a click", name="click"),
    ),
    (
        "view views viewed pageview page_view view_item ansicht angesehen vista visto vue "
        "consulte visualizacao 閲覧 조회 просмотр 浏览 查看",
        Usual(1.0, True, meaning="opened", name="view"),
    ),
    (
        "like likes liked upvote up heart thumbs_up thumbsup love loved good positive recommend "
        "recommended recommends superlike gefallt_mir me_gusta j_aime curtida いいね 좋아요 лайк "
        "点赞 喜欢 赞 满意 推荐",
        Usual(2.0, True, meaning="liked", name="like"),
    ),
    (
        "collect collects favorite favourite fav favorites bookmark save saved wishlist gemerkt "
        "merkliste favorito favori お気に入り 찜 избранное 收藏 关注",
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
        "cart carts add_to_cart addtocart basket add_cart add_basket warenkorb carrito panier "
        "carrinho カート 장바구니 корзина 加购 加购物车 加入购物车",
        Usual(2.0, True, meaning="put into the cart", name="cart"),
    ),
    (
        "purchase purchases purchased buy bought order ordered orders transaction checkout pay "
        "paid conversion converted convert subscription booking booked reserve reservation "
        "kauf gekauft bestellung bestellt compra comprado achat achete commande 購入 注文 구매 "
        "покупка 购买 下单 支付 付款 申购 认购 定投 投保 成交 买入",
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
        "storniert retoure devolucion devuelto cancelado retour annule 返品 キャンセル 환불 취소 "
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
    "rookie lowactive streamer public visible deleted helpful helpfulness useful funny cool "
    "position "
    "pos slot "
    "周末 节假日"
)
"""Names of columns of true and false that describe the row, the user or the item instead."""
