"""Two-tower model (DSSM): the score is the similarity of a user's and an item's vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tamis.cascade import FitContext, Queries, at_end
from tamis.data import Dataset, Table
from tamis.index import VectorIndex
from tamis.recall._common.channel import need_positives
from tamis.recall._common.cold_items import UNSEEN, Cold
from tamis.recall._common.interactions import interest_of_behaviour
from tamis.recall._common.item_columns import publication_column, publication_times
from tamis.recall._common.moving_inputs import MomentInputs, MovingInputs
from tamis.recall._common.new_sides import NewSides
from tamis.recall._common.side_features import FIRST, PAD, SideInputs, side_inputs
from tamis.recall._common.sided_channel import SidedChannel
from tamis.recall._common.spectral import co_liked_vectors, scaled_to_unit_rms
from tamis.recall._common.user_item_examples import Likes, UserItemExamples
from tamis.recall._common.user_item_objective import UserItemObjective
from tamis.recall._common.vector_channel import digest, former_rows, known_rows
from tamis.recall.two_tower._config import (
    ResolvedOptions,
    TwoTowerConfig,
    has_order,
    passes,
    resolved,
    wants_histories,
)
from tamis.recall.two_tower._hard_negatives import LOG, REPLAYS, hard_negatives
from tamis.recall.two_tower._learning import OnlineTowers
from tamis.recall.two_tower._network import TwoTowers
from tamis.recall.two_tower._online import ItemSide, UserSide
from tamis.recall.two_tower._validation import ValidationQueries, given_validation, hold_out_likes
from tamis.runtime import Bool, Float32, Int32, row_by_row, with_unknown
from tamis.schema import Side, TrainingError
from tamis.train import FitOptions, FitResult, Mixture, fit, kept_memory

TUNING_USERS = 256
"""Users whose vectors the index is tuned with."""
PATIENCE = 3
"""Epochs without a better validation NDCG after which the fit stops."""


class TwoTower(SidedChannel):
    """Two-tower model (DSSM): two networks encode users and items as vectors.

    `score(u, i) = cos(f(u), g(i))`, optionally plus a bias of the item. The user tower f reads the
    user's attributes and liked items and, if declared, his id, the request's context and other
    histories (of items, of their categories or authors); the item tower g the item's id,
    attributes, vectors and text tokens (a `VarLenSparseFeat`). Both read statistics if the option
    `statistics` says so. All inputs are as of the moment of a training example, and as of a
    request.

    Networks: the sum of all embeddings, an MLP, an MLP with batch norm, DCN, or an encoder of the
    history (CNN, GRU, LSTM, transformer). Losses: pointwise, pairwise (hinge, logistic) and
    listwise (full softmax, sampled, in-batch with logQ correction, gBCE). Negatives: uniform, by
    popularity^0.75, of the batch, hard ones that later stages rejected, or any mixture; items that
    were shown and not clicked are refused. If the log has an order, the examples are moments drawn
    from each user's history, with the likes that had arrived before as input and those from then on
    as targets; otherwise all of a user's likes at once (see `examples`). Users without any known
    input get nothing.

    When to use: as the main channel if items or users have attributes, if the histories of new
    users must count at once, or if there are too many items for item-to-item matrices.

    Cost: fit: O(epochs · users · items · dim) with the full softmax, O(epochs · likes · negatives ·
    dim) with sampled losses; memory for the tables and one batch × items matrix. Recall: the mean
    of the history and one index search, well under a millisecond; a sequence encoder adds its
    forward pass.

    Source: Huang et al. 2013, Learning Deep Structured Semantic Models for Web Search; Yi et al.
    2019, Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations.
    """

    name = "two_tower"
    Config = TwoTowerConfig
    config: TwoTowerConfig

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self.training: FitResult | None = None
        """Result of the last fit: epochs, losses, rows per second; None after `load`."""
        self._hard_counts: Mapping[str, int] = {}
        self._side: UserSide | None = None
        self._item_side: ItemSide | None = None
        self._table: Float32 | None = None
        """The embedding table, once this process may have changed it."""

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        need_positives(data, self.name)
        c = self.config
        likes = Likes.of(data, c.weak_positives)
        ordered = has_order(c, likes)
        inputs = side_inputs(
            data,
            context.features,
            c.user_id,
            c.share_history,
            config=context.config,
            roles=context.items,
            statistics=c.statistics,
            per_behaviour=wants_histories(c),
            ordered=ordered,
        )
        users = int((np.diff(likes.indptr) > 0).sum())
        choice = resolved(c, ordered, len(data.items), inputs.liked, users)
        hard = hard_negatives(c.hard_negatives, data, context)
        self._hard_counts = {} if hard is None else hard.sources
        generator = torch.Generator().manual_seed(context.seed)
        popularity = np.bincount(likes.item, minlength=len(data.items))
        model = TwoTowers(
            inputs,
            choice.networks,
            choice.shape,
            choice.temperature,
            choice.learn,
            generator,
            Cold(c.item_id_dropout, popularity > 0),
        )
        warm = self._start_from(context, model, inputs, data)
        start = inputs.user.table[inputs.history].start
        since = context.since if warm and choice.examples in ("moments", "pairs") else None
        valid, train = None, likes
        if since is None:
            valid, train = self._validation(context, likes, choice, data, start, inputs.moving)
        if not warm and c.start == "spectral":
            _spectral_start(model, inputs, train, context.seed)
        moments = None
        if inputs.moving is not None:
            moments = MomentInputs(inputs.moving, data, train.event)
        examples = UserItemExamples(
            train,
            choice.history,
            choice.targets,
            start,
            context.seed,
            choice.examples,
            moments,
            inputs.moments,
            since,
        )
        if not len(examples) and since is None:
            raise TrainingError(
                f"channel {self.name!r}: no user has two liked items, so it cannot be trained; "
                f"use itemcf or hot until there are more events"
            )
        random = np.random.default_rng(context.seed)
        mixture = Mixture(choice.mix, choice.negatives, random, popularity, hard)
        objective = UserItemObjective(choice.loss, mixture, c.margin)
        options = self._fit_options(context, choice, warm, len(examples))
        if since is not None:
            options = replace(options, epochs=1)
        with kept_memory():
            self.training = (
                fit(model, examples, objective, valid=valid, options=options)
                if len(examples)
                else FitResult.nothing()
            )
        self._arrays = _served(model.cpu(), inputs)
        self._arrays["interest"] = interest_of_behaviour(data.behaviours)
        self._arrays["published"] = publication_times(self.name, data, context)
        self._facts = _facts(inputs, choice, model, warm)
        self._facts |= self._facts_of(inputs, start, data.end, publication_column(context))
        self._facts["cold"] = bool(c.item_id_dropout)
        self._arrays["item_liked"] = popularity > 0
        if inputs.moments is not None:
            at_end = [inputs.moments.values[-1], inputs.moments.unknown]
            self._arrays["item_statistics"] = np.concatenate(at_end)
        self._facts["rows"] = {name: digest(t.ids) for name, t in _id_tables(data).items()}
        self._open()
        self.index = self._built_index(data, model, context.seed)
        return self._facts

    @property
    def learns_from_rejections(self) -> bool:
        """Whether training must pass the candidates that later stages rejected in replays."""
        return self.config.hard_negatives in (LOG, REPLAYS)

    @property
    def learns_from_answers(self) -> bool:
        """Whether the service must keep, and training pass, what it rejected in its answers."""
        return self.config.hard_negatives == LOG

    @property
    def hard_negatives(self) -> Mapping[str, int]:
        """Where the hard negatives of the last fit were from → their number."""
        return self._hard_counts

    def _validation(
        self,
        context: FitContext,
        likes: Likes,
        choice: ResolvedOptions,
        data: Dataset,
        start: int,
        moving: MovingInputs | None,
    ) -> tuple[ValidationQueries | None, Likes]:
        """Validation data to stop by (None if there are none), and the likes to train on."""
        if context.valid is not None and len(context.valid.targets.values):
            interest = interest_of_behaviour(data.behaviours)
            n_items = len(data.items)
            given = given_validation(
                context.valid, interest, choice.history, n_items, start, moving
            )
            return given, likes
        if not choice.stops or not (np.diff(likes.indptr) >= 3).any():
            return None, likes
        kept, valid = hold_out_likes(likes, choice.history, start, context.seed)
        return valid, kept

    def _fit_options(
        self, context: FitContext, choice: ResolvedOptions, warm: bool, examples: int
    ) -> FitOptions:
        """The options of the training loop."""
        c = self.config
        return FitOptions(
            epochs=passes(c, choice, examples, warm),
            batch_size=c.batch_size,
            learning_rate=choice.learning_rate,
            embedding_learning_rate=choice.learning_rate,
            # the full softmax updates all items at every step, so sparse updates save nothing
            embedding_optimiser="adam"
            if choice.orderless and choice.loss == "full"
            else "lazyadam",
            l2=c.l2,
            patience=PATIENCE,
            seed=context.seed,
            device=context.device,
            progress=context.progress,
        )

    def _built_index(self, data: Dataset, model: TwoTowers, seed: int) -> VectorIndex:
        """An index of the items' vectors, tuned with vectors of some users of the log."""
        with torch.inference_mode():
            vectors = model.items().numpy()
        some = np.random.default_rng(seed).permutation(len(data.users))[:TUNING_USERS]
        users = self.user_vectors(at_end(data, some.astype(np.int32), exclude_seen=False))
        return VectorIndex.build(
            vectors,
            k=self.config.index_k,
            target_recall=self.config.index_recall,
            queries=users[users.any(axis=1)],
            seed=seed,
        )

    def _start_from(
        self, context: FitContext, model: TwoTowers, inputs: SideInputs, data: Dataset
    ) -> bool:
        """Copies the weights of an earlier fit whose meaning is unchanged; returns whether those of
        the items could be copied."""
        former = context.former
        if not isinstance(former, TwoTower) or former._facts is None:
            return False
        arrays, facts = former._arrays, former._facts
        if arrays["table"].shape[1] != model.table.dim or "layout" not in facts:
            return False
        weight, ids, copied = model.table.weight.detach().numpy(), _id_tables(data), set[str]()
        for name, start, size in _ranges(facts):
            new = inputs.user.table.get(name)
            if new is None:
                continue
            old = arrays["table"][start : start + size]
            if name in ids:
                given = former_rows(context, name)
                both = known_rows(ids[name].ids, size - FIRST, facts["rows"][name], given)
                if both is not None:
                    weight[new.start : new.start + FIRST] = old[:FIRST]
                    weight[new.start + FIRST + both[0]] = old[FIRST + both[1]]
                    copied.add(name)
            elif name in facts["values"] and name in inputs.values:
                to, at = _same_values(facts["values"][name], inputs.values[name])
                weight[new.start + FIRST + to] = old[FIRST + at]
        if "item" in copied:
            state = model.state_dict()
            for name in _dense_state(model):
                old = arrays.get(f"dense.{name}")
                if name == "item_bias" and old is not None:  # one per item, like the table's rows
                    given = former_rows(context, "item")
                    both = known_rows(ids["item"].ids, len(old), facts["rows"]["item"], given)
                    if both is not None:
                        state[name][both[0]] = torch.from_numpy(old[both[1]])
                elif old is not None and old.shape == tuple(state[name].shape):
                    state[name].copy_(torch.from_numpy(np.array(old)))
        return "item" in copied

    def user_vectors(self, queries: Queries) -> Float32:
        """(Q, output_dim) vectors of the queries' users, one wider with an item bias; zero for
        users without any known input."""
        assert self._side is not None
        return self._side.vectors(*self._read(queries))

    def _read(self, queries: Queries) -> tuple[Int32, Queries, Int32, Float32]:
        """The arguments of `UserSide.vectors`: the rows of the users' inputs, the queries, and the
        items and interest of their histories."""
        arrays, history = self._arrays, queries.history
        known = len(arrays["user_ids"]) - 1
        users = np.where((queries.user >= 0) & (queries.user < known), queries.user, known)
        value = arrays["interest"][history.behaviour]
        return users.astype(np.int32), queries, self._of_fit(history.item), value

    def because(self, queries: Queries, item: int) -> int | None:
        """The liked item whose embedding has the largest inner product with the vector of `item`.

        None if none is positive, or if embeddings and vectors have different widths.
        """
        assert self._side is not None
        arrays, history = self._arrays, queries.history
        past = history.item[arrays["interest"][history.behaviour] >= 0]
        past = np.unique(past[(past >= 0) & (past < self._side.n_items)])
        embedded = self._side.embedded(past)
        target = self.item_vectors()[item]
        target = target[: -1 if self._facts and self._facts["item_bias"] else None]
        if not len(past) or embedded.shape[1] != len(target):
            return None
        product = embedded @ target
        return int(past[product.argmax()]) if product.max() > 0 else None

    def _open(self) -> None:
        self._side = UserSide.of(self._arrays, self._facts or {}, self._moving)
        self._item_side = None

    def _n_users(self) -> int:
        return len(self._arrays["user_ids"]) - 1

    def _vectors_of(self, items: Table, rows: Int32, sides: NewSides) -> Float32:
        if self._item_side is None:
            self._item_side = ItemSide.of(self._arrays, self._facts or {})
        return row_by_row(self._item_side.vectors, *self._item_inputs(items, rows, sides))

    def _item_inputs(
        self, items: Table, rows: Int32, sides: NewSides
    ) -> tuple[Int32, Float32, NDArray[np.integer]]:
        """What the item tower reads of items (m,): ids and numbers; and the row of those whose id
        has a vector of its own, -1 for others."""
        arrays, known = self._arrays, sides.known(items, rows)
        at = np.where(known, rows, 0)
        own = known & (arrays["item_liked"][at] | (not (self._facts or {})["cold"]))
        unknown = UNSEEN if (self._facts or {})["cold"] else PAD
        first = np.where(own, rows + FIRST, unknown).astype(np.int32)
        ids, dense = sides.item_inputs(items, rows, first)
        if "item_statistics" in arrays:
            statistics = arrays["item_statistics"]
            now = statistics[np.where(known, rows, len(statistics) - 1)]
            dense = np.concatenate([dense, now], axis=1)
        return ids, dense, np.where(own, rows, -1)

    # ------------------------------------------------------------------ incremental updates

    @property
    def table_shape(self) -> tuple[int, int]:
        """Rows of the embedding table, and their width; see `TakesRows`."""
        rows, width = self._arrays["table"].shape
        return rows, width

    def take_rows(self, rows: Int32, values: Float32) -> None:
        """New vectors (m, d) of rows (m,) of the table; the vectors of users that read them are
        made again. See `TakesRows`."""
        self.own_table()[rows] = values
        self.users_of(rows)

    def own_table(self) -> Float32:
        """The table as an array of this process, which it may change: what is saved stays."""
        if self._table is None:
            self._table = np.array(self._arrays["table"])
            shown = self._table.view()
            shown.flags.writeable = False  # as after load: one type for the compiled kernels
            self._arrays = self._arrays | {"table": shown}
            self._open()
        return self._table

    def users_of(self, rows: Int32) -> None:
        """Makes what is kept of users again, after rows (m,) of the table have changed."""
        if "profile" not in self._arrays:
            return
        changed = np.zeros(len(self._arrays["table"]), np.bool_)
        changed[rows] = True
        ids, dense = self._arrays["user_ids"], self._arrays["user_dense"]
        users = np.flatnonzero(changed[ids[:-1]].any(axis=1)).astype(np.int32)
        if len(users):
            found = self._users_with(users, ids[users], dense[users], len(ids) - 1)
            self._replace(found)

    @property
    def vectors_shape(self) -> tuple[int, int]:
        """Items of the fit, and the width of their vectors; see `TakesVectors`."""
        assert self.index is not None
        return self._n_items_of_fit(), self.index.vectors.shape[1]

    def _n_items_of_fit(self) -> int:
        return 0 if self._sides is None else self._sides.items

    def take_vectors(self, rows: Int32, vectors: Float32, items: Table, changed: Bool) -> None:
        """New vectors of items; see `TakesVectors`."""
        if not changed.all():
            self._put_vectors(rows[~changed], vectors[~changed])
        if changed.any():
            self.update_items(items, rows[changed])

    def cannot_learn(self) -> str | None:
        """Why the vectors of its ids cannot learn from events; None: they can."""
        if not self.config.online:
            return "online = true is not set"
        if self._sides is None or self._reading is None:
            return "its version was written by an earlier release: train again"
        if self.config.statistics != "none":
            return (
                "its towers read statistics, which are not known as of a past event: set "
                'statistics = "none", or online = false'
            )
        return None

    def towers(self) -> OnlineTowers:
        """The towers over a table that may be trained. `cannot_learn` must be None."""
        weight, facts = self.own_table(), self._facts or {}
        assert self._side is not None
        if self._item_side is None:
            self._item_side = ItemSide.of(self._arrays, facts)
        named = {"item", facts["history"], "user"}
        own = [(start, size) for name, start, size in _ranges(facts) if name in named]
        return OnlineTowers(self._side, self._item_side, weight, facts, own)

    def examples(
        self, queries: Queries, target: Int32, items: Table, candidates: Int32
    ) -> tuple[Any, tuple[Int32, Float32, NDArray[np.integer]], torch.Tensor]:
        """The arguments of `OnlineTowers.loss` for the items `target` (Q,) of queries, among the
        ascending items `candidates` (n,) of the fit."""
        assert self._side is not None
        assert self._sides is not None
        inputs = self._side.inputs(*self._read(queries))
        place = np.searchsorted(candidates, target)
        given = self._item_inputs(items, candidates, self._sides)
        return inputs, given, torch.from_numpy(place.astype(np.int64))

    def items_of(self, rows: Int32) -> Int32:
        """The items of the fit whose own vector is among rows (m,) of the table, ascending."""
        found = rows - FIRST
        return found[(found >= 0) & (found < self._n_items_of_fit())]

    def rows_of_ids(self, side: Side, table: Table, ids: Sequence[str]) -> tuple[Int32, Int32]:
        """(m,) the rows of the embedding table that belong to users or items of the fit alone, and
        (m,) the row of missing ids in the range of each. `table` holds them, also deleted ones."""
        ranges = {name: start for name, start, _ in _ranges(self._facts or {})}
        history = (self._facts or {})["history"]
        names = {"user"} if side is Side.USER else {"item", history}
        size = self._n_users() if side is Side.USER else self._n_items_of_fit()
        wanted = table.ids[:size].is_in(list(ids)).arg_true().to_numpy().astype(np.int32)
        starts = [ranges[name] for name in sorted(names & set(ranges))]
        rows = [wanted + np.int32(start + FIRST) for start in starts]
        pads = [np.full(len(wanted), start + PAD, np.int32) for start in starts]
        empty = np.zeros(0, np.int32)
        return np.concatenate([empty, *rows]), np.concatenate([empty, *pads])

    def vectors_now(self, items: Table, rows: Int32) -> Float32:
        """(m, d) the vectors that items `rows` (m,) of the fit have by the table as it is now."""
        assert self._sides is not None
        return self._vectors_of(items, rows, self._sides)

    def _users_with(
        self, rows: Int32, ids: Int32, dense: Float32, n: int
    ) -> dict[str, NDArray[Any]]:
        assert self._side is not None
        arrays, values = self._arrays, {"user_ids": ids, "user_dense": dense}
        if "profile" in arrays:
            values["profile"] = row_by_row(self._side.profiles, ids, dense)
        found = {k: with_unknown(arrays[k], rows, v, n) for k, v in values.items()}
        self._side.use(arrays | found)
        return found


def _id_tables(data: Dataset) -> dict[str, Table]:
    """By embedding table of ids: the table of the data set that numbers its rows."""
    return {"item": data.items, "history": data.items, "user": data.users}


def _served(model: TwoTowers, inputs: SideInputs) -> dict[str, Any]:
    """Arrays for recall and warm starts: the table, the users' inputs and the dense weights."""
    model.eval()
    table = model.table.weight.detach().numpy()
    arrays = {"table": table, "user_ids": inputs.user_ids, "user_dense": inputs.user_dense}
    dense = {f"dense.{name}": value.numpy() for name, value in _dense_state(model).items()}
    if model.user_tower.network == "sum" and inputs.moving is None:
        with torch.inference_mode():
            arrays["profile"] = model.profiles().numpy()
    return arrays | dense


def _facts(
    inputs: SideInputs, choice: ResolvedOptions, model: TwoTowers, warm: bool
) -> dict[str, Any]:
    """Plain values to save with the arrays, from which the user tower can be rebuilt."""
    return {
        "layout": inputs.user.to_dict(),
        "history": inputs.history,
        "network": choice.networks[0],
        "item_network": choice.networks[1],
        "shape": vars(choice.shape) | {"hidden_units": list(choice.shape.hidden_units)},
        "loss": choice.loss,
        "examples": choice.examples,
        "gamma": float(model.gamma.detach()),
        "bias": float(model.bias.detach()),
        "item_bias": model.item_bias is not None,
        "values": inputs.values,
        "warm": warm,
    }


def _ranges(facts: dict[str, Any]) -> list[tuple[str, int, int]]:
    """Name, first row and size of every range of a fused table."""
    return [(t["name"], t["start"], t["size"]) for t in facts["layout"]["tables"]]


def _spectral_start(model: TwoTowers, inputs: SideInputs, likes: Likes, seed: int) -> None:
    """Sets the items' embeddings, and those of the history's items, to `co_liked_vectors`."""
    n_items, width = len(inputs.item_ids), model.table.dim
    found = co_liked_vectors(likes.indptr, likes.item, n_items, width, seed)
    vectors = torch.from_numpy(scaled_to_unit_rms(found))
    known = vectors.any(dim=1)
    with torch.no_grad():
        for name in {"item", inputs.history}:
            rows = inputs.user.table[name].start + FIRST + torch.nonzero(known).squeeze(1)
            model.table.weight[rows, : vectors.shape[1]] = vectors[known]


def _dense_state(model: TwoTowers) -> dict[str, torch.Tensor]:
    """All parameters and statistics except the embedding table."""
    return {name: value for name, value in model.state_dict().items() if name != "table.weight"}


def _same_values(old: list[str], new: list[str]) -> tuple[Any, Any]:
    """Indices in `new` and in `old` of the values that both have."""
    _, to, at = np.intersect1d(np.array(new, str), np.array(old, str), return_indices=True)
    return to, at
