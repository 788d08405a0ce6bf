"""Deep Retrieval: items are assigned to paths through a network, found by beam search."""

from __future__ import annotations

from typing import Annotated, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator

from tamis.cascade import FitContext, Queries, Recalled
from tamis.data import Dataset
from tamis.recall._common.channel import BaseChannel, need_positives
from tamis.recall._common.interactions import interest_of_behaviour
from tamis.recall._common.mean_vector import mean_liked_vector, nearest_liked_item
from tamis.recall._common.side_features import FIRST
from tamis.recall._common.user_item_examples import Likes, UserItemExamples
from tamis.recall._common.user_item_objective import UserItemObjective
from tamis.recall.deep_retrieval._network import PathModel, PathObjective, PathReassignment
from tamis.recall.deep_retrieval._search import PathNet, Tree, recall_items
from tamis.runtime import Float32
from tamis.schema import ComponentConfig, TrainingError
from tamis.train import FitOptions, Mixture, fit

TREE_ARRAYS = ("node", "first", "indptr", "item")
MIN_SCORED = 200
"""Smallest default of `most`."""


class DeepRetrievalConfig(ComponentConfig):
    """Options of the Deep Retrieval channel."""

    embedding_dim: Annotated[int, Field(ge=2, le=1024)] = 64
    """Width of the vectors that score items."""
    layers: Annotated[int, Field(ge=1, le=6)] = 3
    """Number D of layers, and of nodes in a path."""
    nodes: Annotated[int, Field(ge=2, le=4096)] | None = None
    """Number K of nodes per layer. If omitted: about (4 · items)^(1 / layers), which makes four
    paths per item."""
    paths: Annotated[int, Field(ge=1, le=16)] = 3
    """Number J of paths to which an item is assigned."""
    hidden_units: tuple[Annotated[int, Field(ge=1)]] = (128,)
    """Width of the hidden layer of each layer's network."""
    beam: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Number of most probable paths whose items are scored at a request."""
    most: Annotated[int, Field(ge=1)] | None = None
    """Maximum number of items scored per query, those on the most probable paths first. If omitted:
    a quarter of the items, but at least 200."""
    training_beam: Annotated[int, Field(ge=2, le=1000)] = 200
    """Number of paths per example that a reassignment considers."""
    penalty: Annotated[float, Field(ge=0)] = 1.0
    """Factor of the penalty |path|^4 / 4 on paths with many items, in units of an item's mean
    number of targets; larger values spread the items more evenly."""
    warm_up: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Share of the epochs before paths are first assigned, in which only the vectors are trained;
    at least one epoch."""
    reassignments: Annotated[int, Field(ge=0)] = 1
    """Number of later assignments of the items' paths, at equal intervals between the first and the
    last epoch."""
    history: Annotated[int, Field(ge=1, le=1000)] = 100
    """Number of most recent distinct liked items whose mean is the user's vector."""
    targets: Annotated[int, Field(ge=1, le=1000)] = 100
    """Maximum number of likes after an example's moment that are its targets."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Dropout rate of the user's vector in training."""
    temperature: Annotated[float, Field(gt=0)] = 0.1
    """Temperature of the item scores: logit = cosine / temperature."""
    negatives: Annotated[int, Field(ge=1)] | None = None
    """Negatives per batch of the sampled softmax, half uniform, half by popularity^0.75. If
    omitted: 2000."""
    full_below: Annotated[int, Field(ge=0)] = 20_000
    """Number of items up to which the softmax over items is a full one, unless `negatives` is
    given."""
    epochs: Annotated[int, Field(ge=1)] = 20
    """Passes over the users, each at a newly drawn moment of his history."""
    batch_size: Annotated[int, Field(ge=2)] = 256
    """Examples per step."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    """Learning rate of Adam."""

    @model_validator(mode="after")
    def _numbered(self) -> Self:
        """Refuses more paths than an int64 can number."""
        if self.nodes is not None and self.nodes**self.layers >= 2**62:
            raise ValueError(
                f"nodes = {self.nodes} with layers = {self.layers} makes more than 2^62 paths; "
                f"lower one of them"
            )
        return self


class DeepRetrieval(BaseChannel):
    """Deep Retrieval: items are assigned to paths through D layers of K nodes.

    `p(path | user) = Π_d p(node_d | user, nodes before)` is a product of D softmaxes. At a request,
    a beam search over the paths with items finds the most probable ones, and only the items on them
    are scored, by `score(u, i) = cos(x_u, v_i)` with vectors that are trained together with the
    network. Paths are first assigned by the items' vectors; then training fits the network to the
    items' J paths, and reassigns each item's paths by coordinate descent over the paths that beam
    search finds for its users, with a penalty on paths with many items (|path|^4). Items without a
    positive event have no path and are never returned.

    When to use: for catalogues that are too large for an index of vectors, or whose likes are not
    described well by a distance; in addition to a two-tower model. For small catalogues it has no
    advantage.

    Cost: fit: about twice that of a two-tower model, and a beam search per user for each
    reassignment; memory for the tables and `training_beam` paths per user. Recall: D small matrix
    products per path of the beam, then the items on `beam` paths.

    Source: Gao et al. 2020, Deep Retrieval: Learning A Retrievable Structure for Large-Scale
    Recommendations.
    """

    name = "deep_retrieval"
    Config = DeepRetrievalConfig
    config: DeepRetrievalConfig

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        need_positives(data, self.name)
        c, n_items = self.config, len(data.items)
        likes = Likes.of(data)
        nodes = c.nodes or max(2, round((4 * n_items) ** (1 / c.layers)))
        generator = torch.Generator().manual_seed(context.seed)
        model = PathModel(
            n_items, c.embedding_dim, (c.layers, nodes, c.hidden_units[0]), c.dropout,
            c.temperature, generator,
        )  # fmt: skip
        kind = "splits" if likes.lacks_order() else "moments"
        examples = UserItemExamples(
            likes, c.history, c.targets, model.history_pad, context.seed, kind
        )
        if not len(examples):
            raise TrainingError(
                f"channel {self.name!r}: no user has two liked items, so it cannot be trained; "
                f"use itemcf or hot until there are more events"
            )
        reassignment = PathReassignment(
            examples, n_items, c.paths, c.training_beam, c.penalty,
            _assignment_epochs(c.epochs, c.warm_up, c.reassignments), context.seed,
        )  # fmt: skip
        objective = PathObjective(
            self._scoring(likes, n_items, context.seed), reassignment, c.layers, nodes
        )
        fit(model, examples, objective, valid=(), options=self._options(context))
        assert objective.paths is not None
        tree = Tree.of(objective.paths, c.layers, nodes)
        self._arrays = _served(model.cpu(), tree)
        self._arrays["paths"] = objective.paths
        self._arrays["interest"] = interest_of_behaviour(data.behaviours)
        return {"nodes": nodes, "roots": tree.roots}

    def _scoring(self, likes: Likes, n_items: int, seed: int) -> UserItemObjective:
        """The objective of the item scores."""
        c = self.config
        popularity = np.bincount(likes.item, minlength=n_items)
        shares = {"uniform": 0.5, "popular": 0.5}
        mixture = Mixture(shares, c.negatives or 2000, np.random.default_rng(seed), popularity)
        full = n_items <= c.full_below and c.negatives is None
        return UserItemObjective("full" if full else "sampled", mixture)

    def _options(self, context: FitContext) -> FitOptions:
        """The options of the training loop."""
        c = self.config
        return FitOptions(
            epochs=c.epochs,
            batch_size=c.batch_size,
            learning_rate=c.learning_rate,
            embedding_learning_rate=c.learning_rate,
            embedding_optimiser="lazyadam",
            seed=context.seed,
            device=context.device,
            progress=context.progress,
        )

    @property
    def _net(self) -> PathNet:
        """The saved network."""
        return PathNet(**{name: self._arrays[f"net.{name}"] for name in PathNet._fields})

    @property
    def _tree(self) -> Tree:
        """The saved tree."""
        assert self._facts is not None
        arrays = {name: self._arrays[f"tree.{name}"] for name in TREE_ARRAYS}
        return Tree(roots=self._facts["roots"], **arrays)

    def user_vectors(self, queries: Queries) -> Float32:
        """(Q, dim) unit vectors of the queries' users; zero without a liked item."""
        arrays = self._arrays
        return mean_liked_vector(
            queries, arrays["interest"], self.config.history, arrays["history"]
        )

    def item_vectors(self) -> Float32:
        """(I, dim) unit vectors of all items."""
        return self._arrays["vectors"]

    def items_scored(self, queries: Queries) -> NDArray[np.int64]:
        """(Q,) number of items scored for each query: those on the paths of its beam."""
        return self._found(queries, 1)[2]

    def _found(self, queries: Queries, k: int) -> tuple[Any, Any, NDArray[np.int64]]:
        """Items (Q, k), scores (Q, k) and the number of scored items (Q,)."""
        c, users = self.config, self.user_vectors(queries)
        item, score, scored = recall_items(
            self._net, self._tree, users, self._arrays["vectors"], queries.exclude,
            c.beam, c.most or max(MIN_SCORED, self._n_items // 4), k,
        )  # fmt: skip
        unknown = ~users.any(axis=1)
        item[unknown], score[unknown], scored[unknown] = -1, -np.inf, 0
        return item, score, scored

    def _recall(self, queries: Queries, k: int) -> Recalled:
        return Recalled(*self._found(queries, k)[:2])

    def because(self, queries: Queries, item: int) -> int | None:
        """The liked item whose embedding has the largest inner product with the vector of `item`;
        None if none is positive."""
        arrays = self._arrays
        target = arrays["vectors"][item]
        return nearest_liked_item(queries, arrays["interest"], arrays["history"], target)


def _assignment_epochs(epochs: int, warm_up: float, times: int) -> list[int]:
    """Epochs after which paths are assigned: after the warm-up, then `times` more."""
    begin = min(max(1, round(warm_up * epochs)), epochs)
    rest = (epochs - begin) / (times + 1)
    return [begin, *(begin + round(rest * t) for t in range(1, times + 1))]


def _served(model: PathModel, tree: Tree) -> dict[str, Any]:
    """The arrays that recall needs."""
    model.eval()
    first = model.history_pad + FIRST
    with torch.inference_mode():
        arrays = {
            "vectors": model.items().numpy(),
            "history": model.table.weight[first : first + model.n_items].numpy().copy(),
        }
    arrays |= {f"net.{name}": array for name, array in model.net()._asdict().items()}
    branches = tree._asdict()
    return arrays | {f"tree.{name}": branches[name] for name in TREE_ARRAYS}
