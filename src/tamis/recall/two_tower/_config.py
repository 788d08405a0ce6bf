"""Options of the two-tower channel, and the values of those that are not set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tamis.nn import SEQUENCE_ENCODERS
from tamis.recall._common.user_item_examples import Kind, Likes
from tamis.recall._common.user_item_objective import Loss
from tamis.recall.two_tower._tower import Network, TowerShape
from tamis.schema import ComponentConfig, Conditions, ConfigError, Needs

NETWORKS = ("network", "user_network", "item_network")
"""Options that name the network of a tower."""


CHEAP_SOFTMAX = 400_000_000
"""Users × items up to which a full softmax over up to 100,000 items is cheap."""
STEPS, WARM_STEPS = 200, 60
"""Fewest steps of a fit, and of one from the weights of an earlier version, where the log has an
order (decision 23)."""
WARM_EPOCHS = 3


class TwoTowerConfig(ComponentConfig):
    """Options of the two-tower channel.

    The defaults of several options depend on `examples`: "without order" below means splits or
    whole, the defaults for logs in which most users' likes share one time.
    """

    only_with: ClassVar[Conditions] = {
        "blocks": (Needs(NETWORKS, ("cnn", "transformer", "dcn")),),
        "heads": (Needs(NETWORKS, ("transformer",)),),
        "share_history": (Needs("history", none_of=(0,)),),
        "histories": (Needs("examples", none_of=("splits", "whole")),),
        "statistics": (Needs("examples", none_of=("splits", "whole")),),
        "targets": (Needs("examples", none_of=("pairs",)),),
        "temperature": (Needs("loss", none_of=("hinge",)),),
        "learn_temperature": (Needs("loss", none_of=("hinge",)),),
        "bias": (Needs("loss", ("pointwise", "gbce")),),
        "margin": (Needs("loss", ("hinge",)),),
        "negatives": (Needs("loss", none_of=("full", "in_batch")),),
        "mix": (Needs("loss", none_of=("full", "in_batch")),),
        "hard_negatives": (Needs("loss", none_of=("full", "in_batch")),),
        "full_below": (Needs("loss", ("listwise",)),),
    }

    network: Network = "sum"
    """Network of both towers: sum, mlp, mlp_bn, dcn, or an encoder of the sequence: cnn, gru, lstm,
    transformer."""
    user_network: Network | None = None
    """Network of the user tower. If omitted: `network`."""
    item_network: Network | None = None
    """Network of the item tower. If omitted: `network`, or sum if that encodes a sequence. A
    sequence encoder reads the item's longest list of ids, such as its text tokens."""
    embedding_dim: Annotated[int, Field(ge=2, le=1024)] | None = None
    """Width of the embeddings. If omitted: 64; without order 256, or 128 with more than
    `full_below` items."""
    output_dim: Annotated[int, Field(ge=2, le=1024)] | None = None
    """Width of the towers' vectors. If omitted: `embedding_dim`, as the network sum requires."""
    hidden_units: tuple[int, ...] = ()
    """Hidden layers of each tower's MLP. Empty: one of twice the output's width for mlp, mlp_bn and
    dcn, none for the other networks."""
    blocks: Annotated[int, Field(ge=1, le=12)] = 2
    """Number of layers of cnn and transformer, and of cross layers of dcn."""
    heads: Annotated[int, Field(ge=1, le=64)] = 2
    """Number of attention heads of transformer; 1 is used if `embedding_dim` is not a multiple."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Dropout rate of the user side's embedded values. If omitted: 0.5; without order 0.2."""
    history: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Number of most recent distinct liked items that the user tower reads; 0: none. If omitted:
    the `max_len` of a declared history of the items' ids over exactly the positive behaviours; else
    100; without order 1000."""
    share_history: bool = False
    """Whether the items of histories use the embeddings of the item tower instead of separate
    ones. Declared histories follow this option, whatever their `shares` says."""
    histories: Literal["declared", "behaviours"] | None = None
    """Which histories the user tower reads besides that of the liked items. declared: those of
    `[[features]]`. behaviours: in addition, for each behaviour of the log but impressions, the last
    50 events, as the items' ids, categories and authors. If omitted: behaviours for the
    user network sum where `[[features]]` declare no history, `[items]` names a category or an
    author, and the log has an order."""
    statistics: Literal["none", "user", "item", "both"] = "none"
    """Whose statistics (counts and rates in the project's `windows`) a tower reads: a user's as of
    the example's moment or the request, an item's as of the fit. In training, the items' statistics
    are those at the start of one of eight periods of the log."""
    user_id: bool | None = None
    """Whether each user has an embedding of his own. It helps for users of the log, but not for new
    users, and goes out of date with new likes until the next fit. If omitted: if `[[features]]`
    declare the user's id."""
    online: bool = False
    """Whether the vectors of the ids of items, and of users with `user_id`, learn from events
    between two trainings (`tamis update --follow`); the towers' weights stay."""
    item_id_dropout: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the items whose own embedding is hidden in a training step, so that their attributes
    must suffice. If it is not 0, all items without likes share one embedding, which is trained in
    place of the hidden ones: a new item is then found by its attributes."""
    examples: Kind | None = None
    """Training examples. moments: each user once per epoch, at a random moment, with the likes
    before it as history and the likes from it on as targets. pairs: every like at its own time,
    with the likes before it. splits: each user's likes, split at random into history and targets.
    whole: all of a user's likes as history and targets, each target removed from its own history.
    If omitted: moments; if most users' likes share one time, whole for the network sum without
    `hidden_units` and splits for other networks."""
    targets: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Maximum number of targets of an example; pairs always has one. If omitted: 100; without order
    1000."""
    loss: Literal["listwise"] | Loss = "listwise"
    """listwise (full up to `full_below` items unless `negatives`, `mix` or `hard_negatives` is
    given, else sampled), full, sampled, in_batch, gbce, pointwise, hinge or logistic."""
    similarity: Literal["cosine", "inner"] = "cosine"
    """Similarity of a user and an item vector. cosine: of vectors of length 1. inner: the inner
    product of vectors of any length."""
    temperature: Annotated[float, Field(gt=0)] | None = None
    """logit = similarity / temperature. If omitted: 1 for the inner product, 0.05 for gbce, 0.07
    without order, else 0.1."""
    start: Literal["spectral", "random"] = "spectral"
    """Initial embeddings of the items. spectral: a truncated singular value decomposition of the
    users' likes, which takes seconds. random: normally distributed."""
    learn_temperature: bool = False
    """Whether the temperature is a parameter of the model, with the given one as initial value."""
    bias: bool | None = None
    """Whether logit = similarity / temperature + a learned bias. If omitted: for pointwise and
    gbce, the only losses in which it does not cancel out."""
    item_bias: bool | None = None
    """Whether each item has a learned number that is added to its logit, for its popularity: one
    more coordinate of the vectors. If omitted: only without order."""
    margin: Annotated[float, Field(ge=0)] = 1.0
    """Margin of the hinge loss, in units of the similarity."""
    negatives: Annotated[int, Field(ge=1)] | None = None
    """Number of negatives: per batch and shared by its examples for sampled and gbce; per positive
    for pointwise, hinge and logistic. If omitted: 2000 for sampled, 256 for gbce, else 3."""
    mix: dict[Literal["uniform", "popular", "in_batch", "hard"], float] | None = None
    """Shares of the negatives' sources, which sum to 1: uniform; popular: by popularity^0.75;
    in_batch: items of the batch; hard: the user's hard negatives. If omitted: half uniform and half
    popular, uniform only for pointwise, hinge, logistic and gbce; with `hard_negatives`, a tenth of
    them is hard."""
    hard_negatives: str | None = None
    """Candidates that pre-rank or rank rejected. log: those of the answers of the running service,
    the newest 100 of each user, and for users with fewer than 20 also those of replays. replays:
    those of the replays of `tamis train`, which also writes them to rejected.parquet of the
    project. Or a Parquet file with columns user_id, item_id and, optionally, time; or the name of a
    behaviour that means a rejection. Items that were shown are refused, because they are not
    negatives of recall. If omitted: none."""
    weak_positives: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Weight of items that were shown and not liked as weak positives, relative to 1 for a like;
    0: they are not used."""
    full_below: Annotated[int, Field(ge=0)] | None = None
    """Number of items up to which listwise is a full softmax. If omitted: 20,000; without order, or
    if users × items is at most 4 · 10^8, 100,000."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Passes over the examples; at most, if there are validation data to stop by. If omitted: 10
    for moments, 5 for pairs, and so many more that a log of few users has 200 steps; without order
    at most 100, and the fit stops when the likes held out from a tenth of the users are not ranked
    better any more."""
    warm_epochs: Annotated[int, Field(ge=1)] | None = None
    """Passes when the fit starts from the weights of an earlier version. If omitted: 3, and so many
    more that a log of few users has 60 steps."""
    batch_size: Annotated[int, Field(ge=2)] = 256
    """Examples per step."""
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Learning rate of Adam. If omitted: 0.003; without order 0.005."""
    l2: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay of the embedding rows in a batch."""
    index_recall: Annotated[float, Field(gt=0, le=1)] = 0.98
    """Minimum share of the exact best `index_k` items that the index must find."""
    index_k: Annotated[int, Field(ge=1)] = 300
    """List length for which the index is tuned: the channel's quota."""


@dataclass(frozen=True)
class ResolvedOptions:
    """The options with a value for each that the config leaves open."""

    networks: tuple[Network, Network]
    shape: TowerShape
    examples: Kind
    targets: int
    history: int
    epochs: int
    learning_rate: float
    loss: Loss
    temperature: float
    learn: frozenset[str]
    negatives: int
    mix: dict[str, float]
    orderless: bool
    """Whether the examples are `splits` or `whole`, which ignore the order of the likes."""
    stops: bool
    """Whether the fit holds out likes to stop by if no validation data are given."""


def has_order(config: TwoTowerConfig, likes: Likes) -> bool:
    """Whether the examples are moments of users' histories, as of which inputs can be made."""
    if config.examples is not None:
        return config.examples in ("moments", "pairs")
    return not likes.lacks_order()


def wants_histories(config: TwoTowerConfig) -> bool | None:
    """Whether each behaviour has histories; None: if the items have a category or an author."""
    if config.histories is None and (config.user_network or config.network) == "sum":
        return None
    return config.histories == "behaviours"


def resolved(
    config: TwoTowerConfig,
    ordered: bool,
    n_items: int,
    liked: int | None = None,
    n_users: int | None = None,
) -> ResolvedOptions:
    """The options with defaults that depend on other options and on the log.

    Args:
        ordered: `has_order` of the log.
        n_users: users with likes; None: many.
        liked: length of the declared history of the liked items; None: it is not declared.

    Raises ConfigError for options that contradict one another.
    """
    c = config
    networks = _networks(c)
    plain = networks[0] == "sum" and not c.hidden_units
    orderless: Kind = "whole" if plain else "splits"
    kind: Kind = c.examples or ("moments" if ordered else orderless)
    if kind == "whole" and (not plain or c.history == 0):
        raise ConfigError(
            "two_tower: examples = 'whole' needs the network 'sum' without hidden units and with a "
            f"history, got network {networks[0]!r}, hidden_units = {list(c.hidden_units)} and "
            f"history = {c.history}; use examples = 'splits'"
        )
    split = kind in ("splits", "whole")
    history = (liked or (1000 if split else 100)) if c.history is None else c.history
    # A full softmax ranks better than sampled negatives, and few users make it cheap (decision 16).
    cheap = split or (n_users is not None and n_users * n_items <= CHEAP_SOFTMAX)
    below = (100_000 if cheap else 20_000) if c.full_below is None else c.full_below
    sampling = any(x is not None for x in (c.negatives, c.mix, c.hard_negatives))
    listwise: Loss = "full" if n_items <= below and not sampling else "sampled"
    loss: Loss = listwise if c.loss == "listwise" else c.loss
    learn = {"temperature"} if c.learn_temperature else set[str]()
    if loss in ("pointwise", "gbce") if c.bias is None else c.bias:
        learn.add("bias")
    if split if c.item_bias is None else c.item_bias:
        learn.add("item_bias")
    dim = c.embedding_dim or ((256 if n_items <= below else 128) if split else 64)
    shape = TowerShape(
        embedding_dim=dim,
        output_dim=c.output_dim or dim,
        hidden_units=c.hidden_units,
        dropout=(0.2 if split else 0.5) if c.dropout is None else c.dropout,
        cosine=c.similarity == "cosine",
        length=history,
        blocks=c.blocks,
        heads=c.heads,
    )
    per_positive = loss in ("pointwise", "hinge", "logistic")
    return ResolvedOptions(
        networks=networks,
        shape=shape,
        examples=kind,
        targets=c.targets or (1000 if split else 100),
        history=history,
        epochs=c.epochs or {"moments": 10, "splits": 100, "whole": 100, "pairs": 5}[kind],
        learning_rate=c.learning_rate or (0.005 if split else 0.003),
        loss=loss,
        temperature=c.temperature or _temperature(c, loss, split),
        learn=frozenset(learn),
        negatives=c.negatives or (3 if per_positive else 256 if loss == "gbce" else 2000),
        mix=_mix(c, per_positive or loss == "gbce"),
        orderless=split,
        stops=split and c.epochs is None,
    )


def passes(config: TwoTowerConfig, choice: ResolvedOptions, examples: int, warm: bool) -> int:
    """The number of epochs of a fit on so many examples; `warm`: from weights of an earlier one."""
    given = config.warm_epochs if warm else config.epochs
    if given is not None:
        return given
    usual = WARM_EPOCHS if warm else choice.epochs
    if choice.orderless:
        return usual
    per_epoch = max(-(-examples // config.batch_size), 1)  # a warm fit may have nothing new
    return max(usual, -(-(WARM_STEPS if warm else STEPS) // per_epoch))


def _temperature(c: TwoTowerConfig, loss: Loss, orderless: bool) -> float:
    """The default temperature."""
    if c.similarity == "inner":
        return 1.0
    return 0.05 if loss == "gbce" else 0.07 if orderless else 0.1


def _networks(c: TwoTowerConfig) -> tuple[Network, Network]:
    """The networks of the user and the item tower."""
    user: Network = c.user_network or c.network
    item: Network = c.item_network or ("sum" if c.network in SEQUENCE_ENCODERS else c.network)
    if "sum" in (user, item) and c.output_dim not in (None, c.embedding_dim):
        raise ConfigError(
            f"two_tower: output_dim = {c.output_dim}, but the vectors of the network sum have the "
            f"width embedding_dim; give both towers another network (user_network, item_network), "
            f"or leave output_dim out"
        )
    return user, item


def _mix(c: TwoTowerConfig, plain: bool) -> dict[str, float]:
    """The shares of the negatives' sources; `plain`: uniform by default."""
    if c.mix is not None:
        return {str(name): share for name, share in c.mix.items()}
    mix = {"uniform": 1.0} if plain else {"uniform": 0.5, "popular": 0.5}
    if c.hard_negatives is None:
        return mix
    return {name: 0.9 * share for name, share in mix.items()} | {"hard": 0.1}
