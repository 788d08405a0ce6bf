"""Two-tower (DSSM): a user's vector meets the items' vectors in an index."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from tamis.cascade import FitContext, Queries, at_end
from tamis.data import Dataset, Table
from tamis.index import VectorIndex
from tamis.recall._common.channel import need_positives
from tamis.recall._common.interactions import interest_of_behaviour
from tamis.recall._common.popularity import births
from tamis.recall._common.side_features import FIRST, TowerInputs, tower_inputs
from tamis.recall._common.spectral import co_liked_vectors, of_length_one
from tamis.recall._common.user_item_examples import Likes, TowerExamples
from tamis.recall._common.vector_channel import VectorChannel, digest
from tamis.recall.two_tower._config import Choices, TwoTowerConfig, chosen
from tamis.recall.two_tower._hard_negatives import hard_negatives
from tamis.recall.two_tower._network import TwoTowers
from tamis.recall.two_tower._objective import TowerObjective
from tamis.recall.two_tower._online import UserSide
from tamis.recall.two_tower._validation import TowerValid, held_out, valid_of
from tamis.runtime import Float32
from tamis.schema import TrainingError, reading
from tamis.train import FitOptions, FitResult, Mixture, fit, kept_memory

TUNING_USERS = 256
PATIENCE = 3
"""Epochs without a better validation NDCG before a fit that is validated stops."""


class TwoTower(VectorChannel):
    """DSSM (Huang et al. 2013): two networks whose vectors' cosine says how well they match.

    The user tower reads the user's id where that is on, the attributes and the liked items; the
    item tower the item's id, attributes and text tokens (a `VarLenSparseFeat`). Networks: the sum
    of all embeddings, an MLP, an MLP with batch norm, DCN, or an encoder of the history (CNN, GRU,
    LSTM, transformer). Losses: pointwise, pairwise (hinge, logistic) and listwise (full softmax,
    sampled, in-batch with logQ correction, gBCE). Negatives: uniform, by popularity^0.75, of the
    batch, hard ones from the serving log, or any mixture; shown items that were not clicked are
    refused. A log with an order is learnt at moments drawn from each user's past: the history had
    arrived strictly before, the targets come from there on; a log without times from all of a
    user's likes at once, each left out of its own history. A stranger of whom nothing is known gets
    no answer.

    When to use: the main channel where items or users have attributes, where new users' histories
    must count at once, and where the catalogue is too large for item–item matrices.

    Cost: fit O(epochs · users · items · dim) with the full softmax, O(epochs · likes · negatives ·
    dim) with sampled ones; memory the tables and one batch × items matrix. Recall: the mean of the
    history and one index search, well under a millisecond; an encoder adds its forward pass.

    Source: Huang et al. 2013, Learning Deep Structured Semantic Models for Web Search; Yi et al.
    2019, Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations.
    """

    name = "two_tower"
    Config = TwoTowerConfig
    config: TwoTowerConfig

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self.training: FitResult | None = None
        """How the last fit went: epochs, losses, rows a second."""
        self._side: UserSide | None = None

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        need_positives(data, self.name)
        c = self.config
        likes = Likes.of(data, c.weak_positives)
        choice = chosen(c, likes, len(data.items))
        hard = hard_negatives(c.hard_negatives, data)
        inputs = tower_inputs(data, context.features, c.user_id, c.share_history)
        generator = torch.Generator().manual_seed(context.seed)
        model = TwoTowers(
            inputs, choice.networks, choice.shape, choice.temperature, choice.learn, generator
        )
        warm = self._start_from(context.former, model, inputs, data)
        start = inputs.user.table[inputs.history].start
        valid, learnt = self._stop_by(context, likes, choice, data, start)
        if not warm and c.start == "spectral":
            _begin_near(model, inputs, learnt, context.seed)
        examples = TowerExamples(
            learnt, choice.history, choice.targets, start, context.seed, choice.examples
        )
        if not len(examples):
            raise TrainingError(
                f"channel {self.name!r}: no user has two liked items, so nothing can be learnt; "
                f"use itemcf or hot until there are more events"
            )
        popularity = np.bincount(likes.item, minlength=len(data.items))
        random = np.random.default_rng(context.seed)
        mixture = Mixture(choice.mix, choice.negatives, random, popularity, hard)
        objective = TowerObjective(choice.loss, mixture, c.margin)
        options = self._fit_options(context, choice, warm)
        with kept_memory():
            self.training = fit(model, examples, objective, valid=valid, options=options)
        self._arrays = _served(model.cpu(), inputs)
        self._arrays["interest"] = interest_of_behaviour(data.behaviours)
        self._arrays["born"] = births(self.name, data, context)
        self._facts = _facts(inputs, choice, model, warm)
        self._facts["rows"] = {name: digest(t.ids) for name, t in _id_tables(data).items()}
        self._side = UserSide.of(self._arrays, self._facts)
        self.index = self._built_index(data, model, context.seed)
        return self._facts

    def _stop_by(
        self, context: FitContext, likes: Likes, choice: Choices, data: Dataset, start: int
    ) -> tuple[TowerValid | None, Likes]:
        """What the fit stops by, and the likes that it learns from."""
        if context.valid is not None and len(context.valid.targets.values):
            interest = interest_of_behaviour(data.behaviours)
            n_items = len(data.items)
            return valid_of(context.valid, interest, choice.history, n_items, start), likes
        if not choice.stops or not (np.diff(likes.indptr) >= 3).any():
            return None, likes
        kept, valid = held_out(likes, choice.history, start, context.seed)
        return valid, kept

    def _fit_options(self, context: FitContext, choice: Choices, warm: bool) -> FitOptions:
        c = self.config
        return FitOptions(
            epochs=c.warm_epochs if warm else choice.epochs,
            batch_size=c.batch_size,
            learning_rate=choice.learning_rate,
            embedding_learning_rate=choice.learning_rate,
            # a user comes once an epoch, while the full softmax touches all items at every step
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
        """The items' vectors, searched as widely as some users' own queries need."""
        with torch.inference_mode():
            vectors = model.items().numpy()
        some = np.random.default_rng(seed).permutation(len(data.users))[:TUNING_USERS]
        asked = self.user_vectors(at_end(data, some.astype(np.int32), exclude_seen=False))
        return VectorIndex.build(
            vectors,
            k=self.config.index_k,
            target_recall=self.config.index_recall,
            queries=asked[asked.any(axis=1)],
            seed=seed,
        )

    def _start_from(
        self, former: Any, model: TwoTowers, inputs: TowerInputs, data: Dataset
    ) -> bool:
        """Copies the weights of `former` that mean the same; did the items' own come along?"""
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
                # rows may only have been added at the end since
                if (
                    size <= new.size
                    and digest(ids[name].ids[: size - FIRST]) == facts["rows"][name]
                ):
                    weight[new.start : new.start + size] = old
                    copied.add(name)
            elif name in facts["values"] and name in inputs.values:
                to, at = _same_values(facts["values"][name], inputs.values[name])
                weight[new.start + FIRST + to] = old[FIRST + at]
        if "item" in copied:
            state = model.state_dict()
            for name in _dense_state(model):
                old = arrays.get(f"dense.{name}")
                if name == "item_bias" and old is not None:  # as the table's rows: of the first
                    state[name][: len(old)] = torch.from_numpy(np.array(old))
                elif old is not None and old.shape == tuple(state[name].shape):
                    state[name].copy_(torch.from_numpy(np.array(old)))
        return "item" in copied

    def user_vectors(self, queries: Queries) -> Float32:
        """(Q, output_dim) vectors of the queries' users now; zero where nothing is known of one."""
        assert self._side is not None
        arrays, history = self._arrays, queries.history
        known = len(arrays["user_ids"]) - 1
        users = np.where((queries.user >= 0) & (queries.user < known), queries.user, known)
        value = arrays["interest"][history.behaviour]
        return self._side.vectors(users, history.indptr, history.item, value)

    def because(self, queries: Queries, item: int) -> int | None:
        """The liked item whose embedding points most towards `item`, if any does."""
        assert self._side is not None
        arrays, history = self._arrays, queries.history
        past = history.item[arrays["interest"][history.behaviour] >= 0]
        past = np.unique(past[past < self._n_items])
        embedded = self._side.embedded(past)
        target = self.item_vectors()[item]
        target = target[: -1 if self._facts and self._facts["item_bias"] else None]
        if not len(past) or embedded.shape[1] != len(target):
            return None
        pull = embedded @ target
        return int(past[pull.argmax()]) if pull.max() > 0 else None

    @classmethod
    def load(cls, directory: Path, config: Any = None) -> Self:
        channel = super().load(directory, config)
        with reading(Path(directory) / "channel.json"):
            channel._side = UserSide.of(channel._arrays, channel._facts or {})
        return channel


def _id_tables(data: Dataset) -> dict[str, Table]:
    """Whose rows the rows of an embedding table are."""
    return {"item": data.items, "history": data.items, "user": data.users}


def _served(model: TwoTowers, inputs: TowerInputs) -> dict[str, Any]:
    """What answers and warm starts need: the table, the users' inputs and the dense weights."""
    model.eval()
    table = model.table.weight.detach().numpy()
    arrays = {"table": table, "user_ids": inputs.user_ids, "user_dense": inputs.user_dense}
    dense = {f"dense.{name}": value.numpy() for name, value in _dense_state(model).items()}
    if model.user_tower.network == "sum":
        with torch.inference_mode():
            arrays["profile"] = model.profiles().numpy()
    return arrays | dense


def _facts(inputs: TowerInputs, choice: Choices, model: TwoTowers, warm: bool) -> dict[str, Any]:
    """Plain values beside the arrays; enough to build the user tower anew."""
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


def _begin_near(model: TwoTowers, inputs: TowerInputs, likes: Likes, seed: int) -> None:
    """Items begin near those that the same users like, as targets and in histories."""
    n_items, width = len(inputs.item_ids), model.table.dim
    found = co_liked_vectors(likes.indptr, likes.item, n_items, width, seed)
    vectors = torch.from_numpy(of_length_one(found))
    known = vectors.any(dim=1)
    with torch.no_grad():
        for name in {"item", inputs.history}:
            rows = inputs.user.table[name].start + FIRST + torch.nonzero(known).squeeze(1)
            model.table.weight[rows, : vectors.shape[1]] = vectors[known]


def _dense_state(model: TwoTowers) -> dict[str, torch.Tensor]:
    """All weights and statistics but the table."""
    return {name: value for name, value in model.state_dict().items() if name != "table.weight"}


def _same_values(old: list[str], new: list[str]) -> tuple[Any, Any]:
    """Places in `new` and in `old` of the values that both hold."""
    _, to, at = np.intersect1d(np.array(new, str), np.array(old, str), return_indices=True)
    return to, at
