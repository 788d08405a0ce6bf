"""Base class of sequence channels: fit with early stopping, serving, warm starts, saving."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from tamis.cascade import FitContext, Queries
from tamis.data import Dataset
from tamis.index import VectorIndex
from tamis.recall._common.channel import need_positives
from tamis.recall._common.interactions import with_positive_behaviours
from tamis.recall._common.spectral import neighbour_vectors
from tamis.recall._common.vector_channel import (
    VectorChannel,
    digest,
    former_rows,
    known_rows,
)
from tamis.recall.sequence._examples import (
    HeldOut,
    QueryHistories,
    Sequences,
    Windows,
    last_held_out,
)
from tamis.recall.sequence._network import NextItem, SequenceModel, user_vectors
from tamis.runtime import Float32, Int64
from tamis.schema import ComponentConfig, Conditions, Needs, TrainingError, reading
from tamis.train import (
    FitOptions,
    FitResult,
    Mixture,
    fit,
    kept_memory,
    load_weights,
    save_weights,
    use_bfloat16,
)

WEIGHTS = "weights"
TUNING_USERS = 256
"""Users whose vectors the index is tuned with."""
LONG = 20.0
"""Mean number of events per user from which the default dropout is that of long histories."""
EPOCHS, STEPS, EVALUATION_STEPS = 200, 1000, 25
"""Default number of epochs, or as many as make STEPS steps if that is more; fewest steps between
two evaluations."""
UNVALIDATED_EPOCHS = 10
"""Most epochs if no user has 3 events, so that nothing can be held out to stop by."""
WINDOW = 3
"""Largest distance of neighbouring events in the spectral start."""
HELD_OUT_SHARE = 0.2
"""Largest share of the users with at least 3 events whose last event is held out."""


class SequenceSettings(ComponentConfig):
    """Options that all sequence channels share."""

    only_with: ClassVar[Conditions] = {
        "temperature": (Needs("cosine", (True,)),),
        "full_below": (Needs("loss", ("auto",)),),
        "negatives": (Needs("loss", none_of=("full",)),),
        "popular": (Needs("loss", none_of=("full",)),),
        "mask_positives": (Needs("loss", none_of=("full",)),),
        "label_smoothing": (Needs("loss", ("full",)),),
        "patience": (Needs("held_out", none_of=(0,)),),
        "evaluate_every": (Needs("held_out", none_of=(0,)),),
        "refit": (Needs("held_out", none_of=(0,)),),
    }

    embedding_dim: Annotated[int, Field(ge=2, le=1024)] = 128
    """Width of the items' vectors and of the states."""
    history: Annotated[int, Field(ge=1, le=2000)] = 200
    """Number of most recent events that the model reads."""
    windows: Annotated[int, Field(ge=1)] = 1
    """Maximum number of windows of `history` events per user in training, the newest first."""
    behaviours: tuple[str, ...] = ()
    """Behaviours whose events are read and predicted. Empty: the positive ones."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Dropout rate in training. If omitted: 0.5, or 0.2 if users have at least 20 events on
    average."""
    cosine: bool = True
    """Whether logits are cosines divided by the temperature instead of inner products. Cosines give
    better results with few events per user (validation NDCG@10 .067 instead of .064 on Amazon
    Beauty), and the same with many."""
    temperature: Annotated[float, Field(gt=0)] = 0.07
    """With cosine: logit = cosine / temperature."""
    start: Literal["spectral", "random"] = "spectral"
    """Initial vectors of the items. spectral: a truncated decomposition of the pointwise mutual
    information of neighbouring items, which takes seconds; the fit then needs a third of the epochs
    and gives better results (validation NDCG@10 .064 instead of .056 on Amazon Beauty). random:
    normally distributed."""
    loss: Literal["auto", "full", "sampled", "gbce", "bce"] = "auto"
    """full: softmax over all items. sampled: softmax over shared negatives with logQ correction.
    gbce, bce: binary cross-entropy with shared negatives. auto: full up to `full_below` items
    unless `negatives`, `popular` or `mask_positives` is given, else sampled."""
    full_below: Annotated[int, Field(ge=0)] = 50_000
    """Number of items up to which `auto` is the full softmax."""
    negatives: Annotated[int, Field(ge=1)] | None = None
    """Negatives per batch, shared by its positions. If omitted: 4000."""
    popular: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of the negatives drawn by popularity^0.75; the others are uniform. If omitted: 0.5."""
    mask_positives: bool = False
    """Sampled losses: whether the other items of a user's events are left out of the negatives of
    his targets. As published, only the target itself is. The model then does not learn the order
    among a user's own items, only to tell them from others."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of a target's probability spread over all items; full softmax only."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Maximum number of passes over the users; the fit usually stops earlier, see `patience`. If
    omitted: 200, or as many as make 1000 steps if that is more."""
    warm_epochs: Annotated[int, Field(ge=1)] = 3
    """Passes when the fit starts from the weights of an earlier version."""
    patience: Annotated[int, Field(ge=1)] = 10
    """Number of evaluations without a better validation NDCG@10 after which the fit stops."""
    evaluate_every: Annotated[int, Field(ge=1)] = 2
    """Epochs between two evaluations; more if these are fewer than 25 steps."""
    held_out: Annotated[int, Field(ge=0)] = 20_000
    """Maximum number of users whose last event is held out to stop by (at most a fifth of those
    with 3 or more events), or, if validation data are given, of their queries. 0: the fit does not
    stop early."""
    refit: bool = False
    """Whether to train a second time on all events, for the best number of epochs, instead of
    keeping the best weights. It doubles the time, and also trains on the held-out events."""
    batch_size: Annotated[int, Field(ge=1)] = 128
    """Windows per step; fewer if they are long (at most 8,192 positions)."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Learning rate of Adam."""
    l2: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled weight decay (AdamW) of all matrices."""
    bfloat16: Literal["auto", "on", "off"] = "auto"
    """Matrix products in bfloat16 in training. auto: if the hardware supports it."""
    index_recall: Annotated[float, Field(gt=0, le=1)] = 0.98
    """Minimum share of the exact best `index_k` items that the index must find."""
    index_k: Annotated[int, Field(ge=1)] = 300
    """List length for which the index is tuned: the channel's quota."""


class SequenceChannel(VectorChannel):
    """A next-item model: the score is the product of its last state with an item's vector."""

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self.model: SequenceModel | None = None
        self.result: FitResult | None = None
        """Result of the last fit; None after `load`."""

    @abstractmethod
    def _encoder(self, dropout: float, generator: torch.Generator) -> nn.Module:
        """The encoder of vectors (B, L, embedding_dim) into states of the same shape."""

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        need_positives(data, self.name)
        counts = self._counting(data)
        sequences = Sequences.of(data, counts)
        if not len(sequences.item) or sequences.sizes.max() < 2:
            raise TrainingError(
                f"channel {self.name!r}: no user has two events that count, so it cannot be "
                f"trained; use itemcf or hot until there are more events"
            )
        facts = self._shape(sequences, data)
        self._arrays = {"counts": counts}
        former = self._weights_of(context, data)
        since = None if former is None else context.since
        valid, rest = None, sequences
        if since is None:
            valid, rest = self._held_out(sequences, data, context)
        self.model = self._begun(facts, context.seed, former, rest)
        passes = self.config.warm_epochs if former is not None else None
        passes = passes if since is None else 1
        self.result = self._train(self.model, rest, valid, facts, context, passes, since)
        if self.config.refit and valid is not None and rest is not sequences:
            epochs = max(self.result.best_epoch, 1)
            self.model = self._begun(facts, context.seed, former, sequences)
            self._train(self.model, sequences, None, facts, context, epochs)
        self.model.cpu().eval()
        self._facts = facts
        self.index = self._built_index(sequences, context.seed)
        return {**facts, "warm": former is not None, "best_epoch": self.result.best_epoch}

    def _shape(self, sequences: Sequences, data: Dataset) -> dict[str, Any]:
        """Values from which the model is built, including options that depend on the data."""
        c, sizes = self.config, sequences.sizes
        mean = float(sizes[sizes > 0].mean())
        dropout = c.dropout if c.dropout is not None else (0.2 if mean >= LONG else 0.5)
        n = len(data.items)
        sampling = c.negatives is not None or c.popular is not None or c.mask_positives
        automatic = "full" if n <= c.full_below and not sampling else "sampled"
        loss = automatic if c.loss == "auto" else c.loss
        return {
            "items": n,
            "rows": digest(data.items.ids),
            "dropout": dropout,
            "loss": loss,
            "sparse": loss != "full",
        }

    def _counting(self, data: Dataset) -> NDArray[np.bool_]:
        """(behaviours,) bool: whose events are read."""
        data = with_positive_behaviours(data, self.config.behaviours, self.name)
        return np.array([b.positive for b in data.behaviours])

    def _held_out(
        self, sequences: Sequences, data: Dataset, context: FitContext
    ) -> tuple[HeldOut | None, Sequences]:
        """Validation data to stop by (None if there are none), and the sequences to train on."""
        c = self.config
        random = np.random.default_rng(context.seed)
        if c.held_out == 0:
            return None, sequences
        if context.valid is not None:
            queries, targets = context.valid.queries, context.valid.targets
            histories = QueryHistories.of(
                queries, self._arrays["counts"], c.history, len(data.items)
            )
            held = HeldOut(
                queries=histories,
                exclude_indptr=queries.exclude.indptr,
                exclude=queries.exclude.values,
                target_indptr=targets.indptr,
                target=targets.values,
            )
            usable = np.flatnonzero((histories.sequences.sizes > 0) & (np.diff(targets.indptr) > 0))
            some = np.sort(random.permutation(usable)[: c.held_out])
            return (held.take(some) if len(some) else None), sequences
        usable = np.flatnonzero(sequences.sizes >= 3)
        count = min(c.held_out, max(int(HELD_OUT_SHARE * len(usable)), min(len(usable), 1)))
        users = np.sort(random.permutation(usable)[:count])
        if not len(users):
            return None, sequences
        return last_held_out(sequences, users, c.history), sequences.without_last(users)

    def _begun(
        self,
        facts: dict[str, Any],
        seed: int,
        former: Former | None,
        sequences: Sequences,
    ) -> SequenceModel:
        """A model to train, with the weights of an earlier fit or with the configured start."""
        model = self._built(facts, seed)
        if former is not None:
            _take_over(model, former)
        elif self.config.start == "spectral":
            n, dim = model.n_items, self.config.embedding_dim
            found = neighbour_vectors(sequences.indptr, sequences.item, n, dim, WINDOW, seed)
            model.start_from(torch.from_numpy(found))
        return model

    def _built(self, facts: dict[str, Any], seed: int) -> SequenceModel:
        """A model with random weights, see `_shape`."""
        generator = torch.Generator().manual_seed(seed)
        encoder = self._encoder(facts["dropout"], generator)
        return SequenceModel(
            facts["items"],
            self.config.embedding_dim,
            encoder,
            temperature=self.config.temperature if self.config.cosine else None,
            sparse=facts["sparse"],
            generator=generator,
        )

    def _train(
        self,
        model: SequenceModel,
        sequences: Sequences,
        valid: HeldOut | None,
        facts: dict[str, Any],
        context: FitContext,
        epochs: int | None = None,
        since: int | None = None,
    ) -> FitResult:
        """Trains `model` in place; `epochs` replaces the option of that name.

        since: time in ms; only windows that end with an event from then on are learnt; None: all.
        """
        c = self.config
        objective = NextItem(
            facts["loss"],
            self._mixture(sequences, model.n_items, context.seed) if model.sparse else None,
            c.label_smoothing,
            use_bfloat16(c.bfloat16, torch.device(context.device).type),
        )
        windows = Windows(
            sequences,
            c.history,
            c.windows,
            positives=c.mask_positives and model.sparse,
            since=since,
        )
        if since is not None and not len(windows):
            return FitResult.nothing()
        steps = -(-len(windows) // c.batch_size)
        every = max(c.evaluate_every, -(-EVALUATION_STEPS // steps))
        most = c.epochs or max(EPOCHS, -(-STEPS // steps))
        if valid is None and c.held_out > 0:
            most = min(most, UNVALIDATED_EPOCHS)
        with kept_memory():
            return fit(
                model,
                windows,
                objective,
                valid=valid,
                options=FitOptions(
                    epochs=epochs or most,
                    batch_size=c.batch_size,
                    learning_rate=c.learning_rate,
                    embedding_learning_rate=c.learning_rate,
                    embedding_optimiser="lazyadam",
                    l2=c.l2 if model.sparse else 0.0,
                    weight_decay=c.l2,
                    beta2=0.98,
                    patience=c.patience * every,
                    evaluate_every=every,
                    seed=context.seed,
                    device=context.device,
                    bfloat16=c.bfloat16,
                    progress=context.progress,
                ),
            )

    def _mixture(self, sequences: Sequences, n_items: int, seed: int) -> Mixture:
        """The source of negatives for sampled losses."""
        c = self.config
        popular = 0.5 if c.popular is None else c.popular
        return Mixture(
            {"popular": popular, "uniform": 1.0 - popular},
            min(c.negatives or 4000, max(n_items - 1, 1)),
            np.random.default_rng(seed),
            np.bincount(sequences.item, minlength=n_items),
        )

    def _built_index(self, sequences: Sequences, seed: int) -> VectorIndex:
        """An index of the vectors of items with an event, tuned with vectors of some users."""
        assert self.model is not None
        users = np.flatnonzero(sequences.sizes)
        some = np.sort(np.random.default_rng(seed).permutation(users)[:TUNING_USERS])
        queries = last_held_out(sequences, some, self.config.history).queries
        with torch.inference_mode():
            vectors = self.model.vectors().numpy().copy()
        return VectorIndex.build(
            vectors,
            k=self.config.index_k,
            target_recall=self.config.index_recall,
            queries=user_vectors(self.model, queries),
            present=np.bincount(sequences.item, minlength=len(vectors)) > 0,
            seed=seed,
        )

    def _weights_of(self, context: FitContext, data: Dataset) -> Former | None:
        """The weights of an earlier fit; None if it is not known which of its items are which."""
        former = context.former
        if not isinstance(former, type(self)) or former.model is None or former._facts is None:
            return None
        old, given = former._facts, former_rows(context, "item")
        both = known_rows(data.items.ids, old["items"], old["rows"], given)
        return None if both is None else Former(former.model.state_dict(), *both)

    def user_vectors(self, queries: Queries) -> Float32:
        """(Q, dim) states after each query's history; zero if it has no event that counts.

        Computed by the model that was trained, in float32.
        """
        assert self.model is not None
        return user_vectors(self.model, self._histories(queries, self.model))

    def _histories(self, queries: Queries, model: SequenceModel) -> QueryHistories:
        """The histories of queries, as the model reads them."""
        counts = self._arrays["counts"]
        return QueryHistories.of(queries, counts, self.config.history, model.n_items)

    def because(self, queries: Queries, item: int) -> int | None:
        """The history's item whose vector has the largest inner product with that of `item`; None
        if none is positive."""
        assert self.model is not None
        past = np.unique(self._histories(queries, self.model).sequences.item)
        if not len(past):
            return None
        vectors = self.item_vectors()
        product = vectors[past] @ vectors[item]
        return int(past[product.argmax()]) if product.max() > 0 else None

    def save(self, directory: Path) -> None:
        super().save(directory)
        assert self.model is not None
        save_weights(self.model, Path(directory) / WEIGHTS)

    @classmethod
    def load(cls, directory: Path, config: Any = None) -> Self:
        channel = super().load(directory, config)
        assert channel._facts is not None
        with reading(Path(directory) / "channel.json"):
            channel.model = channel._built(channel._facts, 0)
        load_weights(channel.model, Path(directory) / WEIGHTS)
        channel.model.eval()
        return channel


class Former(NamedTuple):
    """The weights of an earlier fit, and the rows of the items that both fits know."""

    weights: dict[str, torch.Tensor]
    rows: Int64
    """(n,) rows now."""
    old_rows: Int64
    """(n,) the same items' rows then."""


def _take_over(model: SequenceModel, former: Former) -> None:
    """Copies weights of the same name and shape, and the rows of items that both fits know."""
    with torch.no_grad():
        for name, value in model.state_dict().items():
            old = former.weights.get(name)
            if old is None or old.shape[1:] != value.shape[1:]:
                continue
            if name == "table.weight":
                value[former.rows] = old[former.old_rows]
            elif old.shape == value.shape:
                value.copy_(old)
