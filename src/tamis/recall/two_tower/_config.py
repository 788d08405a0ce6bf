"""The two-tower channel's options, and what it makes of those left to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from tamis.recall._common.user_item_examples import Kind, Likes
from tamis.recall._common.user_item_objective import Loss
from tamis.recall.two_tower._sequence_encoders import SEQUENCES
from tamis.recall.two_tower._tower import Network, TowerShape
from tamis.schema import ComponentConfig, ConfigError


class TwoTowerConfig(ComponentConfig):
    """Options of the two-tower channel; None = decided by the other options and the data."""

    network: Network = "sum"
    """Of the towers: sum, mlp, mlp_bn, dcn, or an encoder of the sequence: cnn, gru, lstm,
    transformer."""
    user_network: Network | None = None
    """Of the user tower alone; None = `network`."""
    item_network: Network | None = None
    """Of the item tower alone; None = `network`, but `sum` where that encodes a sequence. Given
    as such an encoder, it reads the item's longest list of ids: its text tokens."""
    embedding_dim: Annotated[int, Field(ge=2, le=1024)] | None = None
    """Width of the embeddings; None = 64, and where the log has no order 256, or 128 with more than
    `full_below` items."""
    output_dim: Annotated[int, Field(ge=2, le=1024)] | None = None
    """Width of the towers' vectors; None = `embedding_dim`, as it must be for the network sum."""
    hidden_units: tuple[int, ...] = ()
    """Hidden layers of each tower's MLP; () = one of twice the output's width, and for sum none."""
    blocks: Annotated[int, Field(ge=1, le=12)] = 2
    """Layers of cnn and transformer, crosses of dcn."""
    heads: Annotated[int, Field(ge=1, le=64)] = 2
    """TransformerSequenceEncoder heads of transformer."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of the user side's embedded values dropped in training; None = 0.5, and 0.2 where the
    log has no order."""
    history: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Most recent distinct liked items that the user tower reads, 0 = none; None = 100, and 1000
    where the log has no order, which makes none of them the most recent."""
    share_history: bool = False
    """Do the history's items use the item tower's embeddings, or have their own?"""
    user_id: bool = False
    """An embedding per user: remembers, but says nothing about new users and needs refitting."""
    examples: Kind | None = None
    """moments: each user at one moment an epoch; pairs: every like at its own moment; splits: each
    user's likes cut in two at random. None = moments, or splits where most users' likes share one
    time."""
    targets: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Likes after an example's moment that it learns to rank, at most; None = 100 of moments, 1000
    where there is no order; pairs have one."""
    loss: Literal["listwise"] | Loss = "listwise"
    """listwise (full up to `full_below` items, else sampled), full, sampled, in_batch, gbce,
    pointwise, hinge, logistic."""
    similarity: Literal["cosine", "inner"] = "cosine"
    """Of the vectors; inner: the plain product, without unit length."""
    temperature: Annotated[float, Field(gt=0)] | None = None
    """logit = similarity / temperature; None = 0.1, 0.07 where the log has no order, 0.05 for gbce,
    whose sigmoid must tell one item from thousands, and 1 for the inner product."""
    start: Literal["spectral", "random"] = "spectral"
    """Items' embeddings to begin with. spectral: a decomposition of who likes what, a closed form
    that costs seconds (see `tamis.recall._common.spectral`)."""
    learn_temperature: bool = False
    """Does the temperature learn, from the given one on?"""
    bias: bool | None = None
    """logit = similarity / temperature + a learned bias; None = for pointwise and gbce, the only
    losses in which it does not cancel out."""
    item_bias: bool | None = None
    """A learned number per item beside its cosine, for what is popular with everybody: one more
    coordinate of the vectors. None = where the log has no order."""
    margin: Annotated[float, Field(ge=0)] = 1.0
    """Of the hinge loss, in cosines."""
    negatives: Annotated[int, Field(ge=1)] | None = None
    """sampled, gbce: per batch, shared by its examples, None = 2000 and 256; pointwise and
    pairwise: per positive, None = 3."""
    mix: dict[Literal["uniform", "popular", "in_batch", "hard"], float] | None = None
    """Shares of the negatives, adding up to 1: uniform, by popularity^0.75, the batch's own items,
    the user's hard ones. None = half uniform, half popular; uniform alone for pointwise, pairwise
    and gbce; with `hard_negatives` a tenth of them hard."""
    hard_negatives: str | None = None
    """Candidates that pre-rank or rank rejected: a Parquet file of user_id, item_id and time
    columns, or the name of a behaviour. Items that were shown are refused: they are no negatives
    of recall."""
    weak_positives: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Weight of shown items that were not liked as weak positives, beside 1 of a like; 0 = none."""
    full_below: Annotated[int, Field(ge=0)] | None = None
    """Items up to which listwise runs over all of them; None = 20,000, and 100,000 without
    order, where an example brings all of a user's likes at once."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Passes over the examples, at most where there is something to stop by; None = 10 of moments,
    5 of pairs, and without order until likes held out of a few users are ranked no better."""
    warm_epochs: Annotated[int, Field(ge=1)] = 3
    """Passes when it starts from a former version's weights."""
    batch_size: Annotated[int, Field(ge=2)] = 256
    """Examples per step."""
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Of Adam, for the table's rows as for all else; None = 0.003, and 0.005 where the log has no
    order."""
    l2: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay of the embedding rows a batch touches."""
    index_recall: Annotated[float, Field(gt=0, le=1)] = 0.98
    """Share of the exact best `index_k` that the index must find."""
    index_k: Annotated[int, Field(ge=1)] = 300
    """List length for which the index is tuned: the channel's quota."""


@dataclass(frozen=True)
class ResolvedOptions:
    """The options with nothing left open."""

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
    """Are users learnt as a whole, without an order?"""
    stops: bool
    """Does the channel hold out likes of its own to stop by?"""


def chosen(config: TwoTowerConfig, likes: Likes, n_items: int) -> ResolvedOptions:
    """What the config leaves open, decided by it and by the log.

    Raises ConfigError for options that contradict one another.
    """
    c = config
    networks = _networks(c)
    plain = networks[0] == "sum" and not c.hidden_units
    orderless: Kind = "whole" if plain else "splits"
    kind: Kind = c.examples or (orderless if likes.lacks_order() else "moments")
    if kind == "whole" and (not plain or c.history == 0):
        raise ConfigError(
            "two_tower: examples = 'whole' leaves targets out of a sum of the history, which the "
            f"network {networks[0]!r} with hidden_units = {list(c.hidden_units)} and history = "
            f"{c.history} does not make; use examples = 'splits'"
        )
    split = kind in ("splits", "whole")
    history = (1000 if split else 100) if c.history is None else c.history
    below = (100_000 if split else 20_000) if c.full_below is None else c.full_below
    loss: Loss = c.loss if c.loss != "listwise" else "full" if n_items <= below else "sampled"
    learn = {"temperature"} if c.learn_temperature else set[str]()
    if loss in ("pointwise", "gbce") if c.bias is None else c.bias:
        learn.add("bias")
    if split if c.item_bias is None else c.item_bias:
        learn.add("item_bias")
    dim = c.embedding_dim or ((256 if n_items <= below else 128) if split else 64)
    shape = TowerShape(
        dim,
        c.output_dim or dim,
        c.hidden_units,
        (0.2 if split else 0.5) if c.dropout is None else c.dropout,
        c.similarity == "cosine",
        history,
        c.blocks,
        c.heads,
    )
    per_positive = loss in ("pointwise", "hinge", "logistic")
    return ResolvedOptions(
        networks,
        shape,
        kind,
        c.targets or (1000 if split else 100),
        history,
        c.epochs or {"moments": 10, "splits": 100, "whole": 100, "pairs": 5}[kind],
        c.learning_rate or (0.005 if split else 0.003),
        loss,
        c.temperature or _temperature(c, loss, split),
        frozenset(learn),
        c.negatives or (3 if per_positive else 256 if loss == "gbce" else 2000),
        _mix(c, per_positive or loss == "gbce"),
        split,
        split and c.epochs is None,
    )


def _temperature(c: TwoTowerConfig, loss: Loss, orderless: bool) -> float:
    if c.similarity == "inner":
        return 1.0
    return 0.05 if loss == "gbce" else 0.07 if orderless else 0.1


def _networks(c: TwoTowerConfig) -> tuple[Network, Network]:
    user: Network = c.user_network or c.network
    item: Network = c.item_network or ("sum" if c.network in SEQUENCES else c.network)
    if "sum" in (user, item) and c.output_dim not in (None, c.embedding_dim):
        raise ConfigError(
            f"two_tower: output_dim = {c.output_dim}, but the network sum adds embeddings up, so "
            f"its vectors are embedding_dim numbers wide; give both towers another "
            f"network (user_network, item_network), or leave output_dim out"
        )
    return user, item


def _mix(c: TwoTowerConfig, plain: bool) -> dict[str, float]:
    if c.mix is not None:
        return {str(name): share for name, share in c.mix.items()}
    mix = {"uniform": 1.0} if plain else {"uniform": 0.5, "popular": 0.5}
    if c.hard_negatives is None:
        return mix
    return {name: 0.9 * share for name, share in mix.items()} | {"hard": 0.1}
