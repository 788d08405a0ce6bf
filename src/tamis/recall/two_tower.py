"""Two-tower (DSSM): a user's vector meets the items' vectors in an index."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import polars as pl
import torch
from numba import njit
from pydantic import Field

from tamis.cascade import FitContext, Queries, Recalled
from tamis.events import Dataset, Table
from tamis.index import VectorIndex, scratch
from tamis.recall.base import BaseChannel, ChannelSettings, need_positives
from tamis.recall.interactions import Float32, at_end, distinct, interest_of_behaviour
from tamis.recall.tower_examples import Likes, TowerExamples
from tamis.recall.tower_features import FIRST, TowerInputs, tower_inputs
from tamis.recall.tower_model import Listwise, Sampler, TwoTowers
from tamis.schema import TrainingError
from tamis.train import FitOptions, fit

INDEX = "index"
TUNING_USERS = 256


class TwoTowerConfig(ChannelSettings):
    """Options of the two-tower channel."""

    embedding_dim: Annotated[int, Field(ge=2, le=1024)] = 64
    """Width of the vectors."""
    hidden_units: tuple[int, ...] = ()
    """Hidden layers of each tower's MLP, added to the sum of its embeddings; () = the sum alone."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the user side's embedded values dropped in training."""
    history: Annotated[int, Field(ge=1, le=1000)] = 100
    """Most recent distinct liked items that make the user's vector (their mean)."""
    share_history: bool = False
    """Do the history's items use the item tower's embeddings, or have their own?"""
    user_id: bool = False
    """An embedding per user: remembers, but says nothing about new users and needs refitting."""
    targets: Annotated[int, Field(ge=1, le=1000)] = 100
    """Likes after an example's moment that it learns to rank, at most."""
    temperature: Annotated[float, Field(gt=0)] = 0.1
    """logit = cosine / temperature."""
    negatives: Annotated[int, Field(ge=1)] = 2000
    """Negatives per batch of the sampled softmax, shared by its examples."""
    popular: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the negatives drawn by popularity^0.75; the rest are uniform."""
    full_below: Annotated[int, Field(ge=0)] = 20_000
    """Items up to which the softmax runs over all of them."""
    epochs: Annotated[int, Field(ge=1)] = 10
    """Passes over the users, each at a new moment of his past."""
    warm_epochs: Annotated[int, Field(ge=1)] = 3
    """Passes when it starts from a former version's weights."""
    batch_size: Annotated[int, Field(ge=2)] = 256
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    l2: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay of the embedding rows a batch touches."""
    index_recall: Annotated[float, Field(gt=0, le=1)] = 0.98
    """Share of the exact best `index_k` that the index must find."""
    index_k: Annotated[int, Field(ge=1)] = 300
    """List length for which the index is tuned: the channel's quota."""


class TwoTower(BaseChannel):
    """DSSM (Huang et al. 2013) with list-wise training (Covington et al. 2016; Yi et al. 2019).

    The user tower reads the user's attributes and the mean of the embedded liked items; the item
    tower the item's id and attributes. Both vectors have unit length; logit = cosine / temperature.
    Trained on moments drawn from each user's past: the history had arrived strictly before, the
    targets are the likes from there on. A stranger without a history gets no answer.
    """

    Config = TwoTowerConfig

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self.index: VectorIndex | None = None

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        need_positives(data, self.name)
        c = self.config
        inputs = tower_inputs(data, context.features, c.history, c.user_id, c.share_history)
        generator = torch.Generator().manual_seed(context.seed)
        model = TwoTowers(inputs, c.embedding_dim, c.hidden_units, c.dropout, generator)
        warm = self._start_from(context.former, model, inputs, data)
        likes = Likes.of(data)
        history = inputs.user.ids[0]
        start = inputs.user.table[history.table].start
        examples = TowerExamples(likes, c.history, c.targets, start, context.seed)
        if not len(examples):
            raise TrainingError(
                f"channel {self.name!r}: no user has two liked items, so nothing can be learnt; "
                f"use itemcf or hot until there are more events"
            )
        fit(
            model,
            examples,
            Listwise(c.temperature, self._sampler(likes, len(data.items), context.seed)),
            options=FitOptions(
                epochs=c.warm_epochs if warm else c.epochs,
                batch_size=c.batch_size,
                learning_rate=c.learning_rate,
                embedding_learning_rate=c.learning_rate,
                embedding_optimiser="lazyadam",
                l2=c.l2,
                seed=context.seed,
                device=context.device,
                progress=context.progress,
            ),
        )
        self._arrays = _served(model.cpu(), len(data.items))
        self._arrays["interest"] = interest_of_behaviour(data.behaviours)
        layers = _user_layers(model)
        self.index = self._built_index(data, model, layers, context.seed)
        tables = {t.name: (t.start, t.size) for t in inputs.user.tables}
        rows = {name: digest(table.ids) for name, table in _id_tables(data).items()}
        return {
            "tables": tables,
            "rows": rows,
            "values": inputs.values,
            "warm": warm,
            "user_layers": layers,
        }

    def _sampler(self, likes: Likes, n_items: int, seed: int) -> Sampler | None:
        c = self.config
        if n_items <= c.full_below:
            return None
        popularity = np.bincount(likes.item, minlength=n_items)
        return Sampler.mixed(popularity, c.popular, c.negatives, seed)

    def _built_index(
        self, data: Dataset, model: TwoTowers, layers: list[str], seed: int
    ) -> VectorIndex:
        """The items' vectors, searched as widely as some users' own queries need."""
        with torch.inference_mode():
            vectors = model.items().numpy()
        some = np.random.default_rng(seed).permutation(len(data.users))[:TUNING_USERS]
        self._facts = {"user_layers": layers}
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
        if arrays["table"].shape[1] != model.table.dim:
            return False
        weight, ids, copied = model.table.weight.detach().numpy(), _id_tables(data), set[str]()
        for name, (start, size) in facts["tables"].items():
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
            for name, value in _dense_state(model).items():
                old = arrays.get(f"dense.{name}")
                if old is not None and old.shape == tuple(value.shape):
                    value.copy_(torch.from_numpy(np.array(old)))
        return "item" in copied

    def user_vectors(self, queries: Queries) -> Float32:
        """(Q, dim) unit vectors of the queries' users now; zero where nothing is known of one."""
        arrays, history = self._arrays, queries.history
        known = len(arrays["profile"]) - 1
        rows = np.where((queries.user >= 0) & (queries.user < known), queries.user, known)
        vectors = arrays["profile"][rows].astype(np.float32)
        _add_history(
            history.indptr,
            history.item,
            arrays["interest"][history.behaviour],
            self.config.history,
            arrays["history"],
            scratch("slot", len(arrays["history"]), np.int32),
            vectors,
        )
        vectors = vectors + self._user_mlp(vectors)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return (vectors / np.maximum(length, 1e-12)).astype(np.float32)

    def _user_mlp(self, x: Float32) -> Float32 | float:
        assert self._facts is not None
        layers = self._facts["user_layers"]
        for number, name in enumerate(layers):
            weight, bias = self._arrays[f"dense.{name}.weight"], self._arrays[f"dense.{name}.bias"]
            x = (x if number == 0 else np.maximum(x, 0)) @ weight.T + bias
        return x if layers else 0.0

    def item_vectors(self) -> Float32:
        """(I, dim) unit vectors of all items."""
        assert self.index is not None
        return self.index.vectors

    def _recall(self, queries: Queries, k: int) -> Recalled:
        assert self.index is not None
        vectors = self.user_vectors(queries)
        item, score = self.index.search(vectors, k, queries.exclude)
        unknown = ~vectors.any(axis=1)
        item[unknown], score[unknown] = -1, -np.inf
        return Recalled(item, score)

    def because(self, queries: Queries, item: int) -> int | None:
        """The liked item whose embedding points most towards `item`, if any does."""
        arrays, history = self._arrays, queries.history
        past = history.item[arrays["interest"][history.behaviour] >= 0]
        past = np.unique(past[past < len(arrays["history"])])
        if not len(past):
            return None
        pull = arrays["history"][past] @ self.item_vectors()[item]
        return int(past[pull.argmax()]) if pull.max() > 0 else None

    def save(self, directory: Path) -> None:
        super().save(directory)
        assert self.index is not None
        self.index.save(Path(directory) / INDEX)

    @classmethod
    def load(cls, directory: Path, config: Any = None) -> Self:
        channel = super().load(directory, config)
        channel.index = VectorIndex.load(Path(directory) / INDEX)
        return channel


def _id_tables(data: Dataset) -> dict[str, Table]:
    """Whose rows the rows of an embedding table are."""
    return {"item": data.items, "history": data.items, "user": data.users}


def _served(model: TwoTowers, n_items: int) -> dict[str, Any]:
    """What answers need (profiles, the history's embeddings, dense weights); and the table."""
    model.eval()
    with torch.inference_mode():
        profile = model.profiles().numpy()
    table = model.table.weight.detach().numpy()
    first = model.history_pad + FIRST
    arrays = {"profile": profile, "history": table[first : first + n_items].copy(), "table": table}
    dense = {f"dense.{name}": value.numpy() for name, value in _dense_state(model).items()}
    return arrays | dense


def _dense_state(model: TwoTowers) -> dict[str, torch.Tensor]:
    return {name: p.detach() for name, p in model.named_parameters() if name != "table.weight"}


def _user_layers(model: TwoTowers) -> list[str]:
    """The user MLP's linear layers, in order."""
    prefix = "user_tower.mlp."
    linear = [n for n, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)]
    return [name for name in linear if name.startswith(prefix)]


def digest(ids: pl.Series) -> str:
    """A fingerprint of text ids in their order."""
    return hashlib.blake2b("\0".join(ids.to_list()).encode(), digest_size=16).hexdigest()


def _same_values(old: list[str], new: list[str]) -> tuple[Any, Any]:
    """Places in `new` and in `old` of the values that both hold."""
    _, to, at = np.intersect1d(np.array(new, str), np.array(old, str), return_indices=True)
    return to, at


@njit(cache=True, nogil=True)
def _add_history(indptr, item, value, last, embedding, slot, out):
    """Adds to each row of `out` the mean embedding of its `last` most recent liked items."""
    liked, interest = np.empty(last, np.int32), np.empty(last, np.float32)
    dim = out.shape[1]
    for q in range(len(indptr) - 1):
        n = distinct(item, value, indptr[q], indptr[q + 1], last, slot, liked, interest)
        for s in range(n):
            for d in range(dim):
                out[q, d] += embedding[liked[s], d] / np.float32(n)
