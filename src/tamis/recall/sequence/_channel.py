"""What the sequence channels share: fitting with a stop, serving, warm starts, saving."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from tamis.cascade import FitContext, Queries
from tamis.data import Dataset
from tamis.index import VectorIndex
from tamis.recall._common.channel import need_positives
from tamis.recall._common.interactions import counting
from tamis.recall._common.spectral import neighbour_vectors
from tamis.recall._common.vector_channel import VectorChannel, digest
from tamis.recall.sequence._examples import Asked, HeldOut, Sequences, Windows, last_held_out
from tamis.recall.sequence._network import NextItem, SequenceModel, user_vectors
from tamis.runtime import Float32
from tamis.schema import ComponentConfig, TrainingError, reading
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
LONG = 20.0
"""Mean events per user from which histories count as long."""
EPOCHS, STEPS, LOOK_STEPS = 200, 1000, 25
"""Most epochs, unless they are fewer than so many steps; steps between two looks at least."""
UNJUDGED_EPOCHS = 10
"""Epochs where no user has 3 events, so that nothing can be held out to stop by."""
NEAR = 3
"""Places apart at which two events are neighbours, of the spectral start."""
HELD_OUT_SHARE = 0.2
"""Of the users who could give an event to stop by, at most so many do."""


class SequenceSettings(ComponentConfig):
    """Options that all sequence channels share."""

    embedding_dim: Annotated[int, Field(ge=2, le=1024)] = 128
    """Width of items' vectors and of states."""
    history: Annotated[int, Field(ge=1, le=2000)] = 200
    """Most recent events that a state is made of."""
    windows: Annotated[int, Field(ge=1)] = 1
    """Stretches of `history` events that a user with more of them is trained on, newest first."""
    behaviours: tuple[str, ...] = ()
    """Behaviours whose events are read and predicted; () = the positive ones."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of values dropped in training; None = .5, or .2 where users have 20 events or more
    on average: little data per user is remembered, not understood, unless half of it is hidden."""
    cosine: bool = True
    """Logits are cosines over the temperature: on few events per user they end higher (validation
    NDCG@10 .067 against .064 on Amazon Beauty), on many alike. False = plain inner products."""
    temperature: Annotated[float, Field(gt=0)] = 0.07
    """logit = cosine / temperature."""
    start: Literal["spectral", "random"] = "spectral"
    """Items' vectors to begin with. spectral: a decomposition of which items stand near which, a
    closed form that costs seconds (see `recall._common.spectral`); the fit then needs a third of
    the epochs and ends higher (validation NDCG@10 .064 against .056 on Amazon Beauty)."""
    loss: Literal["auto", "full", "sampled", "gbce", "bce"] = "auto"
    """full: softmax over all items; sampled: softmax over shared negatives, corrected by log q;
    gbce, bce: one by one against them. auto = full up to `full_below` items, else sampled."""
    full_below: Annotated[int, Field(ge=0)] = 50_000
    """Items up to which `auto` takes the full softmax."""
    negatives: Annotated[int, Field(ge=1)] = 4000
    """Negatives per batch, shared by its positions; not of the full softmax."""
    popular: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the negatives drawn by popularity^0.75; the rest are uniform."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of a target's mass spread over all items; of the full softmax only."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Most passes over the users; None = 200, or as many as make 1000 steps. The fit usually stops
    earlier, see `patience`."""
    warm_epochs: Annotated[int, Field(ge=1)] = 3
    """Passes when it starts from a former version's weights."""
    patience: Annotated[int, Field(ge=1)] = 10
    """Looks at the held-out events without a better NDCG@10 before the fit stops."""
    evaluate_every: Annotated[int, Field(ge=1)] = 2
    """Epochs between two looks; more where so few epochs are less than 25 steps."""
    held_out: Annotated[int, Field(ge=0)] = 20_000
    """Users whose last event is held out to stop by (a fifth of those with 3 events or more at
    most), where the caller gives no validation set; of a given one, the most that are asked.
    0 = no stop: all `epochs` are run."""
    refit: bool = False
    """Train anew on everything for as many epochs as were best, instead of keeping the weights that
    were best: costs a second fit, and the held-out events are learnt too."""
    batch_size: Annotated[int, Field(ge=1)] = 128
    """Windows per step; fewer where they are long (8,192 positions at most)."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    l2: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled weight decay (AdamW) of all matrices."""
    bfloat16: Literal["auto", "on", "off"] = "auto"
    """Matrix products of training in bfloat16; auto = where the hardware has it."""
    index_recall: Annotated[float, Field(gt=0, le=1)] = 0.98
    """Share of the exact best `index_k` that the index must find."""
    index_k: Annotated[int, Field(ge=1)] = 300
    """List length for which the index is tuned: the channel's quota."""


class SequenceChannel(VectorChannel):
    """A next-item model whose last state meets the items' vectors in an index."""

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self.model: SequenceModel | None = None
        self.result: FitResult | None = None
        """How the last fit went; None after `load`."""

    @abstractmethod
    def _encoder(self, dropout: float, generator: torch.Generator) -> nn.Module:
        """The encoder of (B, L, embedding_dim)."""

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        need_positives(data, self.name)
        counts = self._counting(data)
        sequences = Sequences.of(data, counts)
        if not len(sequences.item) or sequences.sizes.max() < 2:
            raise TrainingError(
                f"channel {self.name!r}: no user has two events that count, so nothing can be "
                f"learnt; use itemcf or hot until there are more events"
            )
        facts = self._shape(sequences, data)
        self._arrays = {"counts": counts}
        valid, rest = self._held_out(sequences, data, context)
        former = self._weights_of(context.former, data)
        self.model = self._begun(facts, context.seed, former, rest)
        passes = self.config.warm_epochs if former is not None else None
        self.result = self._train(self.model, rest, valid, facts, context, passes)
        if self.config.refit and valid is not None and rest is not sequences:
            epochs = max(self.result.best_epoch, 1)
            self.model = self._begun(facts, context.seed, former, sequences)
            self._train(self.model, sequences, None, facts, context, epochs)
        self.model.cpu().eval()
        self._facts = facts
        self.index = self._built_index(sequences, context.seed)
        return {**facts, "warm": former is not None, "best_epoch": self.result.best_epoch}

    def _shape(self, sequences: Sequences, data: Dataset) -> dict[str, Any]:
        """What the model is built by, the options that follow from the data among it."""
        c, sizes = self.config, sequences.sizes
        mean = float(sizes[sizes > 0].mean())
        dropout = c.dropout if c.dropout is not None else (0.2 if mean >= LONG else 0.5)
        n = len(data.items)
        loss = c.loss if c.loss != "auto" else ("full" if n <= c.full_below else "sampled")
        return {
            "items": n,
            "rows": digest(data.items.ids),
            "dropout": dropout,
            "loss": loss,
            "sparse": loss != "full",
        }

    def _counting(self, data: Dataset) -> NDArray[np.bool_]:
        """(behaviours,) whose events are read."""
        data = counting(data, self.config.behaviours, self.name)
        return np.array([b.positive for b in data.behaviours])

    def _held_out(
        self, sequences: Sequences, data: Dataset, context: FitContext
    ) -> tuple[HeldOut | None, Sequences]:
        """What to stop by, and what is left to train on."""
        c = self.config
        random = np.random.default_rng(context.seed)
        if c.held_out == 0:
            return None, sequences
        if context.valid is not None:
            queries, targets = context.valid.queries, context.valid.targets
            asked = Asked.of(queries, self._arrays["counts"], c.history, len(data.items))
            exclude = queries.exclude
            held = HeldOut(asked, exclude.indptr, exclude.values, targets.indptr, targets.values)
            fit_to_judge = np.flatnonzero(
                (asked.sequences.sizes > 0) & (np.diff(targets.indptr) > 0)
            )
            some = np.sort(random.permutation(fit_to_judge)[: c.held_out])
            return (held.take(some) if len(some) else None), sequences
        able = np.flatnonzero(sequences.sizes >= 3)
        many = min(c.held_out, max(int(HELD_OUT_SHARE * len(able)), min(len(able), 1)))
        users = np.sort(random.permutation(able)[:many])
        if not len(users):
            return None, sequences
        return last_held_out(sequences, users, c.history), sequences.without_last(users)

    def _begun(
        self,
        facts: dict[str, Any],
        seed: int,
        former: dict[str, torch.Tensor] | None,
        sequences: Sequences,
    ) -> SequenceModel:
        """A model to train: with the weights of an earlier fit, or from the start configured."""
        model = self._built(facts, seed)
        if former is not None:
            _take_over(model, former)
        elif self.config.start == "spectral":
            n, dim = model.n_items, self.config.embedding_dim
            found = neighbour_vectors(sequences.indptr, sequences.item, n, dim, NEAR, seed)
            model.start_from(torch.from_numpy(found))
        return model

    def _built(self, facts: dict[str, Any], seed: int) -> SequenceModel:
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
    ) -> FitResult:
        c = self.config
        objective = NextItem(
            facts["loss"],
            self._mixture(sequences, model.n_items, context.seed) if model.sparse else None,
            c.label_smoothing,
            use_bfloat16(c.bfloat16, torch.device(context.device).type),
        )
        windows = Windows(sequences, c.history, c.windows)
        steps = -(-len(windows) // c.batch_size)
        every = max(c.evaluate_every, -(-LOOK_STEPS // steps))
        most = c.epochs or max(EPOCHS, -(-STEPS // steps))
        if valid is None and c.held_out > 0:
            most = min(most, UNJUDGED_EPOCHS)
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
        c = self.config
        return Mixture(
            {"popular": c.popular, "uniform": 1.0 - c.popular},
            min(c.negatives, max(n_items - 1, 1)),
            np.random.default_rng(seed),
            np.bincount(sequences.item, minlength=n_items),
        )

    def _built_index(self, sequences: Sequences, seed: int) -> VectorIndex:
        """The vectors of items that have an event, searched as widely as users' queries need."""
        assert self.model is not None
        users = np.flatnonzero(sequences.sizes)
        some = np.sort(np.random.default_rng(seed).permutation(users)[:TUNING_USERS])
        asked = last_held_out(sequences, some, self.config.history).asked
        with torch.inference_mode():
            vectors = self.model.vectors().numpy().copy()
        return VectorIndex.build(
            vectors,
            k=self.config.index_k,
            target_recall=self.config.index_recall,
            queries=user_vectors(self.model, asked),
            present=np.bincount(sequences.item, minlength=len(vectors)) > 0,
            seed=seed,
        )

    def _weights_of(self, former: Any, data: Dataset) -> dict[str, torch.Tensor] | None:
        """The weights of an earlier fit, where its items are the first of these."""
        if not isinstance(former, type(self)) or former.model is None or former._facts is None:
            return None
        old, ids = former._facts, data.items.ids
        if old["items"] > len(ids) or digest(ids[: old["items"]]) != old["rows"]:
            return None
        return former.model.state_dict()

    def user_vectors(self, queries: Queries) -> Float32:
        """(Q, dim) the state after each query's history; zero where it holds nothing that counts.

        The training code itself, in float32.
        """
        assert self.model is not None
        asked = Asked.of(queries, self._arrays["counts"], self.config.history, self.model.n_items)
        return user_vectors(self.model, asked)

    def because(self, queries: Queries, item: int) -> int | None:
        """The event's item whose vector points most towards `item`, if any does."""
        assert self.model is not None
        asked = Asked.of(queries, self._arrays["counts"], self.config.history, self.model.n_items)
        past = np.unique(asked.sequences.item)
        if not len(past):
            return None
        vectors = self.item_vectors()
        pull = vectors[past] @ vectors[item]
        return int(past[pull.argmax()]) if pull.max() > 0 else None

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


def _take_over(model: SequenceModel, former: dict[str, torch.Tensor]) -> None:
    """Copies weights of the same name and width; a table's rows are the first of the new ones."""
    with torch.no_grad():
        for name, value in model.state_dict().items():
            old = former.get(name)
            if old is None or old.shape[1:] != value.shape[1:]:
                continue
            if old.shape == value.shape:
                value.copy_(old)
            elif name == "table.weight" and len(old) <= len(value):
                rows = len(old) - (1 if model.sparse else 0)  # not the old row of pads
                value[:rows] = old[:rows]
