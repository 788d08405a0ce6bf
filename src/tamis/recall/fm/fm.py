"""FM: a factorisation machine whose score is an inner product of a user and an item vector."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from tamis.cascade import FitContext, Queries, at_end
from tamis.data import Dataset, Table
from tamis.index import VectorIndex
from tamis.recall._common.channel import need_positives
from tamis.recall._common.cold_items import UNSEEN, Cold
from tamis.recall._common.interactions import interest_of_behaviour
from tamis.recall._common.item_columns import publication_column, publication_times
from tamis.recall._common.mean_vector import mean_liked_vector, nearest_liked_item
from tamis.recall._common.moving_inputs import MomentInputs
from tamis.recall._common.new_sides import NewSides
from tamis.recall._common.side_features import FIRST, PAD, SideInputs, divided, side_inputs
from tamis.recall._common.sided_channel import SidedChannel
from tamis.recall._common.user_item_examples import Likes
from tamis.recall._common.vector_channel import digest, former_rows, known_rows
from tamis.recall.fm._network import (
    FactorisationMachine,
    FMExamples,
    SampledSoftmaxObjective,
    SavedFields,
)
from tamis.runtime import Float32, Int32, row_by_row, with_unknown
from tamis.schema import ComponentConfig, TrainingError
from tamis.train import FitOptions, fit

HISTORY = 50
"""Liked items of a history where neither an option nor a feature gives a number."""
TUNING_USERS = 1000
"""Users whose vectors the index is tuned with."""


class FMConfig(ComponentConfig):
    """Options of the factorisation machine."""

    embedding_dim: Annotated[int, Field(ge=2, le=1024)] = 64
    """Width of every field's vector."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Dropout rate of the user's vector in training."""
    history: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Number of most recent distinct liked items whose mean is one of the user's fields. If
    omitted: the `max_len` of a declared history of the items' ids over exactly the positive
    behaviours; else 50."""
    user_id: bool | None = None
    """Whether each user has a vector of his own. It helps for users of the log, but not for new
    users, and goes out of date with new likes until the next fit. If omitted: if `[[features]]`
    declare the user's id."""
    share_history: bool = False
    """Whether the items of histories use the vectors of the item field instead of separate ones.
    Declared histories follow this option, whatever their `shares` says."""
    histories: Literal["declared", "behaviours"] | None = None
    """Which histories are fields of the user besides that of the liked items. declared: those of
    `[[features]]`. behaviours: in addition, for each behaviour of the log but impressions, the last
    50 events, as the items' ids, categories and authors. If omitted: behaviours where
    `[[features]]` declare no history, `[items]` names a category or an author, and the log has an
    order."""
    statistics: Literal["none", "user", "item", "both"] = "none"
    """Whose statistics (counts and rates in the project's `windows`) are fields: a user's as of the
    like or the request, an item's as of the fit. In training, the items' statistics are those at
    the start of one of eight periods of the log."""
    item_id_dropout: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the items whose own vector is hidden in a training step, so that their attributes
    must suffice. If it is not 0, all items without likes share one vector of their id, which is
    trained in place of the hidden ones: a new item is then found by its attributes."""
    negatives: Annotated[int, Field(ge=1)] = 1000
    """Negatives of the sampled softmax per batch, shared by its examples."""
    popular: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the negatives drawn by popularity^0.75; the others are uniform."""
    epochs: Annotated[int, Field(ge=1)] = 8
    """Passes over the likes."""
    warm_epochs: Annotated[int, Field(ge=1)] = 2
    """Passes when the fit starts from the weights of an earlier version."""
    batch_size: Annotated[int, Field(ge=2)] = 1024
    """Likes per step."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    """Learning rate of Adam."""
    l2: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay of the embedding rows in a batch."""
    index_recall: Annotated[float, Field(gt=0, le=1)] = 0.98
    """Minimum share of the exact best `index_k` items that the index must find."""
    index_k: Annotated[int, Field(ge=1)] = 300
    """List length for which the index is tuned: the channel's quota."""


class FM(SidedChannel):
    """Factorisation machine over the user's and the item's fields, recalled by inner product.

    `score(u, i) = S_u · S_i + w_i + ½ [(Σv)² − Σv²]_i`, where S is the sum of a side's field
    vectors v and w_i the item's first-order terms; terms that depend on the user only do not change
    the order and are left out. The terms of the item are stored as one more dimension of its
    vector, which meets a 1 in the user's. Fields of the user: attributes, the mean of the liked
    items and, if declared, id, context and other histories; fields of the item: id, attributes and
    vectors; of both, statistics. Training predicts each like from the likes before
    it, by a softmax among sampled negatives.

    When to use: if attributes matter, if items are new or rare, and if a fit must take about a
    minute.
    Cost: fit: a pass takes likes × (history + fields + negatives) × dim operations. Recall: an
    index search. Memory: the embedding table.
    Source: Rendle 2010, Factorization Machines.
    """

    name = "fm"
    Config = FMConfig
    config: FMConfig

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._later: SavedFields | None = None

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        need_positives(data, self.name)
        c = self.config
        likes = Likes.of(data)
        inputs = side_inputs(
            data,
            context.features,
            c.user_id,
            c.share_history,
            config=context.config,
            roles=context.items,
            statistics=c.statistics,
            per_behaviour=None if c.histories is None else c.histories == "behaviours",
            ordered=not likes.lacks_order(),
        )
        generator = torch.Generator().manual_seed(context.seed)
        popularity = np.bincount(likes.item, minlength=len(data.items))
        cold = Cold(c.item_id_dropout, popularity > 0)
        model = FactorisationMachine(inputs, c.embedding_dim, c.dropout, generator, cold)
        warm = self._start_from(context, model, inputs, data)
        since = context.since if warm else None
        moments = None
        if inputs.moving is not None:
            moments = MomentInputs(inputs.moving, data, likes.event)
        last = c.history or inputs.liked or HISTORY
        examples = FMExamples(likes, last, model.history_start, moments, inputs.moments, since)
        if not len(examples) and since is None:
            raise TrainingError(
                f"channel {self.name!r}: no user has two liked items, so it cannot be trained; "
                f"use itemcf or hot until there are more events"
            )
        objective = SampledSoftmaxObjective.of(popularity, c.popular, c.negatives, context.seed)
        options = self._options(context, warm)
        if since is not None:
            options = replace(options, epochs=1)
        if len(examples):
            fit(model, examples, objective, options=options)
        self._arrays = _served(model.cpu(), len(data.items))
        self._arrays["interest"] = interest_of_behaviour(data.behaviours)
        self._arrays["published"] = publication_times(self.name, data, context)
        self._arrays["item_liked"] = popularity > 0
        self._facts = {
            "history": last,
            "moving_layout": model.moving_layout.to_dict(),
            "tables": {t.name: (t.start, t.size) for t in inputs.user.tables},
            "rows": {"item": digest(data.items.ids), "user": digest(data.users.ids)},
            "values": inputs.values,
            "warm": warm,
            "cold": bool(c.item_id_dropout),
        } | self._facts_of(inputs, model.history_start, data.end, publication_column(context))
        fixed, _ = divided(inputs.user, inputs.user_ids.shape[1], inputs.user_dense.shape[1])
        self._facts["user_layout"] = fixed.to_dict()
        if inputs.moments is not None:
            at_end = [inputs.moments.values[-1], inputs.moments.unknown]
            self._arrays["item_statistics"] = np.concatenate(at_end)
        self._open()
        self.index = self._built_index(data, model, popularity > 0, context.seed)
        return self._facts

    def _open(self) -> None:
        self._later = None
        if self._moving is not None and self._facts is not None:
            self._later = SavedFields.of(self._arrays, self._facts["moving_layout"], "moving.")

    def _n_users(self) -> int:
        return len(self._arrays["profile"]) - 1

    def _options(self, context: FitContext, warm: bool) -> FitOptions:
        """The options of the training loop."""
        c = self.config
        return FitOptions(
            epochs=c.warm_epochs if warm else c.epochs,
            batch_size=c.batch_size,
            learning_rate=c.learning_rate,
            embedding_learning_rate=c.learning_rate,
            embedding_optimiser="lazyadam",
            l2=c.l2,
            seed=context.seed,
            device=context.device,
            progress=context.progress,
        )

    def _start_from(
        self, context: FitContext, model: FactorisationMachine, inputs: SideInputs, data: Dataset
    ) -> bool:
        """Copies the weights of an earlier fit whose meaning is unchanged; returns whether those of
        the items could be copied."""
        former = context.former
        if not isinstance(former, FM) or former._facts is None:
            return False
        facts, old = former._facts, former._arrays["table"]
        weight = model.table.weight.detach().numpy()
        if old.shape[1] != weight.shape[1]:
            return False
        ids = {"item": data.items.ids, "history": data.items.ids, "user": data.users.ids}
        copied = set[str]()
        for name, (start, size) in facts["tables"].items():
            new = inputs.user.table.get(name)
            if new is None:
                continue
            if name in ids:
                known = facts["rows"]["user" if name == "user" else "item"]
                given = former_rows(context, name)
                both = known_rows(ids[name], size - FIRST, known, given)
                if both is not None:
                    weight[new.start : new.start + FIRST] = old[start : start + FIRST]
                    weight[new.start + FIRST + both[0]] = old[start + FIRST + both[1]]
                    copied.add(name)
            elif name in facts["values"] and name in inputs.values:
                here, there = inputs.values[name], facts["values"][name]
                _, to, at = np.intersect1d(here, there, return_indices=True)
                weight[new.start + FIRST + to] = old[start + FIRST + at]
                weight[new.start + 1] = old[start + 1]  # the row of unseen values
        if "item" in copied:
            _copy_numbers(former._arrays, model)
        return "item" in copied

    def _built_index(
        self, data: Dataset, model: FactorisationMachine, liked: Any, seed: int
    ) -> VectorIndex:
        """An index of the items' vectors, tuned with vectors of some users of the log.

        Items without a like are included if the item side has attributes.
        """
        with torch.inference_mode():
            vectors = torch.cat([x.reshape(len(liked), -1) for x in model.items()], 1).numpy()
        described = model.item_ids.shape[1] > 1 or model.item_dense.shape[1] > 0
        assert self._facts is not None
        self._facts["described"] = described
        some = np.random.default_rng(seed).permutation(len(data.users))[:TUNING_USERS]
        queries = at_end(data, some.astype(np.int32), exclude_seen=False)
        return VectorIndex.build(
            vectors,
            k=self.config.index_k,
            target_recall=self.config.index_recall,
            queries=self.user_vectors(queries),
            present=np.ones_like(liked) if described else liked,
            seed=seed,
        )

    def user_vectors(self, queries: Queries) -> Float32:
        """(Q, dim + 1) vectors of the queries' users: S_u, and a 1 for the item's own terms."""
        arrays = self._arrays
        known = len(arrays["profile"]) - 1
        rows = np.where((queries.user >= 0) & (queries.user < known), queries.user, known)
        vectors = np.ones((len(rows), arrays["profile"].shape[1] + 1), np.float32)
        assert self._facts is not None
        last = self._facts.get("history") or self.config.history or HISTORY
        history = replace(queries.history, item=self._of_fit(queries.history.item))
        vectors[:, :-1] = arrays["profile"][rows] + mean_liked_vector(
            replace(queries, history=history),
            arrays["interest"],
            last,
            arrays["history"],
            unit=False,
        )
        if self._later is not None and self._moving is not None:
            moving = self._moving.of(queries)
            vectors[:, :-1] += self._later.sums(moving.ids, moving.dense)
        return vectors

    def _vectors_of(self, items: Table, rows: Int32, sides: NewSides) -> Float32 | None:
        facts, arrays, known = self._facts or {}, self._arrays, sides.known(items, rows)
        if not facts["described"]:
            return None
        cold = facts.get("cold", False)
        own = known & arrays["item_liked"][np.where(known, rows, 0)] if cold else known
        first = np.where(own, rows + FIRST, UNSEEN if cold else PAD).astype(np.int32)
        ids, dense = sides.item_inputs(items, rows, first)
        if "item_statistics" in arrays:
            statistics = arrays["item_statistics"]
            now = statistics[np.where(known, rows, len(statistics) - 1)]
            dense = np.concatenate([dense, now], axis=1)
        fields = SavedFields.of(arrays, facts["item_layout"], "item.")
        return row_by_row(fields.with_own_terms, ids, dense)

    def _users_with(
        self, rows: Int32, ids: Int32, dense: Float32, n: int
    ) -> dict[str, NDArray[Any]]:
        fields = SavedFields.of(self._arrays, (self._facts or {})["user_layout"], "user.")
        sums = row_by_row(fields.sums, ids, dense)
        return {"profile": with_unknown(self._arrays["profile"], rows, sums, n)}

    def because(self, queries: Queries, item: int) -> int | None:
        """The liked item whose vector has the largest inner product with that of `item`; None if
        none is positive."""
        arrays, target = self._arrays, self.item_vectors()[item, :-1]
        return nearest_liked_item(queries, arrays["interest"], arrays["history"], target)


def _served(model: FactorisationMachine, n_items: int) -> dict[str, Any]:
    """Arrays for recall (profiles, the history's vectors), and the table for the next fit."""
    model.eval()
    with torch.inference_mode():
        profile = model.profiles().numpy()
    table = model.table.weight.detach().numpy()
    first = model.history_start + FIRST
    past = table[first : first + n_items, :-1].copy()
    arrays = {"profile": profile, "history": past, "table": table}
    return arrays | {name: value.detach().numpy() for name, value in _numbers(model).items()}


def _numbers(model: FactorisationMachine) -> dict[str, torch.Tensor]:
    """All parameters except the embedding table, by the names under which they are saved."""
    return {n: p for n, p in model.named_parameters() if n != "table.weight"}


def _copy_numbers(arrays: Any, model: FactorisationMachine) -> None:
    """Copies parameters of an earlier fit (`arrays`) that have the same shape."""
    with torch.no_grad():
        for name, value in _numbers(model).items():
            if name in arrays and arrays[name].shape == tuple(value.shape):
                value.copy_(torch.from_numpy(np.array(arrays[name])))
