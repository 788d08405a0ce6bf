"""Probabilities of each behaviour of a user towards a shown item, as pure functions of traits.

Nothing here draws users or items or writes a file: logged and live simulations use the same
functions.
"""

from dataclasses import dataclass, replace

import numpy as np

from tamis.runtime import Bool, Floats, Ints
from tamis.simulator.clock import DAY_MS, HOUR_MS

CLICK_FORMULA = (
    "sigmoid(intercept + affinity weight * (user . item) + quality + position * ln(position) "
    "+ interest if the category is declared + same city + freshness * exp(-age in days / 3) "
    "+ evening * cos(2 pi (UTC hour - 21) / 24) + wanted if the user has come back for the item)"
)
FORMULAS: dict[str, str] = {
    "affinity": "user . item: inner product of two unit vectors, in [-1, 1]",
    "p_click": CLICK_FORMULA,
    "p_like_given_click": "sigmoid(intercept + weights on affinity (strong) and quality (weak))",
    "p_collect_given_click": "sigmoid(intercept + weights on affinity (middling) and quality)",
    "p_share_given_click": "sigmoid(intercept + weights on affinity (weak) and quality (strong))",
    "p_cart_given_click": (
        "sigmoid(intercept + affinity + quality + price * ln(price / spending) + wanted if the "
        "user has come back for the item)"
    ),
    "p_purchase_given_cart": "as p_cart_given_click, with weaker weights",
    "watch_given_click": (
        "mean seconds = duration * sigmoid(intercept + affinity + quality + length * "
        "ln(duration / 60)); the draw is log-normal around that mean with log-spread watch_sigma"
    ),
}
"""Every formula in text form; the weights are the fields of ``Coefficients``."""


@dataclass(frozen=True)
class Weights:
    """Weights of a linear score (log-odds) of the signals that all behaviours share."""

    intercept: float
    affinity: float
    quality: float
    context: float = 0.0
    """Weight of a further signal: ln(price / spending), or ln(duration / 60 s)."""


@dataclass(frozen=True)
class Coefficients:
    """Weights of all behaviours; the defaults give typical rates of a feed with a shop."""

    click: Weights = Weights(-3.6, affinity=2.4, quality=0.7)
    like: Weights = Weights(-3.75, affinity=1.9, quality=0.3)
    collect: Weights = Weights(-3.5, affinity=1.0, quality=0.7)
    share: Weights = Weights(-3.9, affinity=0.4, quality=1.1)
    cart: Weights = Weights(-3.75, affinity=1.2, quality=0.3, context=-0.8)
    purchase: Weights = Weights(-1.65, affinity=0.5, quality=0.3, context=-0.5)
    watch: Weights = Weights(-0.9, affinity=1.8, quality=0.4, context=-0.35)
    position: float = -0.35
    """Added to the click score times ln(position)."""
    interest: float = 0.4
    """Added to the click score of items in a declared category."""
    same_city: float = 0.3
    """Added to the click score of items of the user's city."""
    freshness: float = 0.4
    """Added to the click score at publication, decaying with a time constant of three days."""
    evening: float = 0.15
    """Amplitude of the click score over the day, highest at 21 h UTC."""
    watch_sigma: float = 0.6
    """Standard deviation of the natural logarithm of watch seconds."""
    wanted: float = 6.0
    """Added to the click, cart and purchase scores of an item that the user has come back for."""

    def eager(self, eagerness: float) -> "Coefficients":
        """A copy with `eagerness` added to the log-odds of all actions; watch times stay equal."""
        actions = ("click", "like", "collect", "share", "cart", "purchase")
        weights: dict[str, Weights] = {name: getattr(self, name) for name in actions}
        return replace(
            self,
            **{k: replace(w, intercept=w.intercept + eagerness) for k, w in weights.items()},
        )


DEFAULT_COEFFICIENTS = Coefficients()


@dataclass(frozen=True)
class UserTraits:
    """Traits that decide a user's behaviour; leading shapes broadcast with those of the items."""

    latent: Floats  # (..., latent_dim), unit length
    log_spending: Floats  # (...), natural log of the user's usual price
    interests: Ints  # (..., 3), declared category numbers, -1 where fewer
    city: Ints  # (...), city number

    def take(self, rows: Ints) -> "UserTraits":
        """The traits of some users by row number; ``rows`` of any shape."""
        return UserTraits(
            self.latent[rows], self.log_spending[rows], self.interests[rows], self.city[rows]
        )


@dataclass(frozen=True)
class ItemTraits:
    """Traits that decide behaviour towards an item; leading shapes broadcast with the users'."""

    latent: Floats  # (..., latent_dim), unit length
    quality: Floats  # (...), mean 0, a standard deviation of 0.5
    category: Ints  # (...), category number
    city: Ints  # (...), city number
    log_price: Floats  # (...), natural log of the price
    duration: Floats  # (...), seconds, positive
    published: Ints  # (...), ms

    def take(self, rows: Ints) -> "ItemTraits":
        """The traits of some items by row number; ``rows`` of any shape."""
        return ItemTraits(
            self.latent[rows],
            self.quality[rows],
            self.category[rows],
            self.city[rows],
            self.log_price[rows],
            self.duration[rows],
            self.published[rows],
        )


@dataclass(frozen=True)
class Responses:
    """The true probability of each behaviour, in (0, 1), and the mean watch seconds."""

    click: Floats
    like_given_click: Floats
    collect_given_click: Floats
    share_given_click: Floats
    cart_given_click: Floats
    purchase_given_cart: Floats
    watch_given_click: Floats
    """Expected seconds watched once clicked."""
    watch_sigma: float = DEFAULT_COEFFICIENTS.watch_sigma

    @property
    def cart(self) -> Floats:
        """P(cart) of an impression."""
        return self.click * self.cart_given_click

    @property
    def purchase(self) -> Floats:
        """P(purchase) of an impression."""
        return self.cart * self.purchase_given_cart


@dataclass(frozen=True)
class Outcomes:
    """Behaviours drawn from ``Responses``.

    A purchase implies a cart, and every behaviour implies a click. ``watch`` is seconds, 0 without
    a click.
    """

    click: Bool
    like: Bool
    collect: Bool
    share: Bool
    cart: Bool
    purchase: Bool
    watch: Floats


def affinity(users: UserTraits, items: ItemTraits) -> Floats:
    """Inner product of the hidden vectors, in [-1, 1], in the broadcast shape."""
    return np.einsum("...d,...d->...", users.latent, items.latent)


def response_probabilities(
    users: UserTraits,
    items: ItemTraits,
    position: Ints,
    time: Ints,
    coefficients: Coefficients = DEFAULT_COEFFICIENTS,
    wanted: Bool | None = None,
) -> Responses:
    """The probabilities of all behaviours of each shown item.

    ``wanted`` says which items their user has come back for; None: none.

    ``position`` counts from 1 and ``time`` is in ms; both broadcast with the traits' leading
    shapes: one user (shape ``(1,)``) may be paired with a slate (``(n,)``), and users ``(r, 1)``
    with slates ``(r, n)``. Empty shapes are allowed.
    """
    liking = affinity(users, items)
    relative_price = items.log_price - users.log_spending
    length = np.log(items.duration / 60.0)
    c = coefficients
    sought: Floats | float = 0.0 if wanted is None else np.float32(c.wanted) * wanted

    def chance(weights: Weights, signal: Floats, extra: Floats | float = 0.0) -> Floats:
        return _sigmoid(_score(weights, liking, items.quality) + weights.context * signal + extra)

    situation = _click_situation(users, items, position, time, c) + sought
    shape = np.broadcast_shapes(liking.shape, situation.shape)
    click = _sigmoid(_score(c.click, liking, items.quality) + situation)
    parts = (
        click,
        chance(c.like, relative_price),
        chance(c.collect, relative_price),
        chance(c.share, relative_price),
        chance(c.cart, relative_price, sought),
        chance(c.purchase, relative_price, sought),
        items.duration * chance(c.watch, length),
    )
    arrays = (np.broadcast_to(part, shape).astype(np.float32) for part in parts)
    return Responses(*arrays, watch_sigma=c.watch_sigma)


def draw_outcomes(responses: Responses, rng: np.random.Generator) -> Outcomes:
    """Draws every behaviour of every impression once, independently given its condition."""
    shape = responses.click.shape

    def draw(probability: Floats) -> Bool:
        return rng.random(shape, dtype=np.float32) < probability

    click = draw(responses.click)
    cart = click & draw(responses.cart_given_click)
    sigma = responses.watch_sigma
    # -sigma²/2 makes the mean of the log-normal equal the expected seconds.
    spread = np.exp(sigma * rng.standard_normal(shape, dtype=np.float32) - sigma**2 / 2)
    return Outcomes(
        click=click,
        like=click & draw(responses.like_given_click),
        collect=click & draw(responses.collect_given_click),
        share=click & draw(responses.share_given_click),
        cart=cart,
        purchase=cart & draw(responses.purchase_given_cart),
        watch=np.where(click, responses.watch_given_click * spread, 0.0),
    )


def _score(weights: Weights, liking: Floats, quality: Floats) -> Floats:
    return weights.intercept + weights.affinity * liking + weights.quality * quality


def _click_situation(
    users: UserTraits, items: ItemTraits, position: Ints, time: Ints, c: Coefficients
) -> Floats:
    """The part of the click score of position, interests, city, age of the item and hour."""
    age_days = np.maximum(time - items.published, 0) / DAY_MS
    hour = (time % DAY_MS) / HOUR_MS
    declared = (items.category[..., None] == users.interests).any(axis=-1)
    return (
        c.position * np.log(position)
        + c.interest * declared
        + c.same_city * (items.city == users.city)
        + c.freshness * np.exp(-age_days / 3.0)
        + c.evening * np.cos(2 * np.pi * (hour - 21.0) / 24.0)
    )


def _sigmoid(score: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-score))
