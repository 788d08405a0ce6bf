"""Deep Retrieval: items live on paths that a network learns to walk."""

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

NET = ("user", "bias", "node", "out", "out_bias")
TREE = ("node", "first", "indptr", "item")
FEW = 200
"""Items that are scored in no time."""


class DeepRetrievalConfig(ComponentConfig):
    """Options of the Deep Retrieval channel."""

    embedding_dim: Annotated[int, Field(ge=2, le=1024)] = 64
    """Width of the vectors that score."""
    layers: Annotated[int, Field(ge=1, le=6)] = 3
    """D: nodes of a path."""
    nodes: Annotated[int, Field(ge=2, le=4096)] | None = None
    """K: nodes a layer has; None = as many as give about four paths per item."""
    paths: Annotated[int, Field(ge=1, le=16)] = 3
    """J: paths an item lies on."""
    hidden_units: tuple[Annotated[int, Field(ge=1)]] = (128,)
    """Of each layer's network."""
    beam: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Paths whose items are scored."""
    most: Annotated[int, Field(ge=1)] | None = None
    """Items scored per query, at most, the likeliest paths' first; None = a quarter of the
    catalogue, or 200 if that is more."""
    training_beam: Annotated[int, Field(ge=2, le=1000)] = 200
    """Paths per example that a reassignment looks at."""
    penalty: Annotated[float, Field(ge=0)] = 1.0
    """Of |path|^4 / 4, in units of an item's mean number of targets: larger spreads items more."""
    warm_up: Annotated[float, Field(ge=0, le=1)] = 0.25
    """First share of the epochs, in which the vectors learn alone; then they say where the items
    lie at first. At least one epoch."""
    reassignments: Annotated[int, Field(ge=0)] = 1
    """Times that the items' paths are chosen anew, evenly between the first ones and the end."""
    history: Annotated[int, Field(ge=1, le=1000)] = 100
    """Most recent distinct liked items that make the user's vector (their mean)."""
    targets: Annotated[int, Field(ge=1, le=1000)] = 100
    """Likes after an example's moment that it learns to find, at most."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the user's vector dropped in training."""
    temperature: Annotated[float, Field(gt=0)] = 0.1
    """logit of the scoring model = cosine / temperature."""
    negatives: Annotated[int, Field(ge=1)] = 2000
    """Negatives per batch of the sampled softmax, half uniform, half by popularity^0.75."""
    full_below: Annotated[int, Field(ge=0)] = 20_000
    """Items up to which the scoring model's softmax runs over all of them."""
    epochs: Annotated[int, Field(ge=1)] = 20
    """Passes over the users, each at a new moment of his past."""
    batch_size: Annotated[int, Field(ge=2)] = 256
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3

    @model_validator(mode="after")
    def _numbered(self) -> Self:
        if self.nodes is not None and self.nodes**self.layers >= 2**62:
            raise ValueError(
                f"nodes = {self.nodes} in layers = {self.layers} are more paths than can be "
                f"numbered (2^62); take fewer of either"
            )
        return self


class DeepRetrieval(BaseChannel):
    """Deep Retrieval: items lie on paths through D layers of K nodes, and a network walks them.

    p(path | user) is a product of D softmaxes, each conditioned on the nodes before. Items first
    lie where their vectors put them; then training alternates: the network is fitted to the items'
    J paths, and each item's paths are chosen anew by coordinate descent over what beam searches for
    its users found, with a penalty on crowded paths (|path|^4). Asked, it walks the paths that hold
    items by beam search and scores only the items on the best ones, by the inner product of vectors
    trained along. Items without a positive event lie on no path.

    When to use: catalogues so large that even an index of vectors is too slow, or whose likes do
    not follow a distance; beside a two-tower, as a second opinion. On small ones it is a study.

    Cost: fit about twice a two-tower's, and a beam search per user for each reassignment; memory
    the tables and `training_beam` paths per user. Recall: D small matrix products per path of the
    beam, then the items on `beam` paths.

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
                f"channel {self.name!r}: no user has two liked items, so nothing can be learnt; "
                f"use itemcf or hot until there are more events"
            )
        reassignment = PathReassignment(
            examples, n_items, c.paths, c.training_beam, c.penalty,
            _when(c.epochs, c.warm_up, c.reassignments), context.seed,
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
        c = self.config
        popularity = np.bincount(likes.item, minlength=n_items)
        shares = {"uniform": 0.5, "popular": 0.5}
        mixture = Mixture(shares, c.negatives, np.random.default_rng(seed), popularity)
        return UserItemObjective("full" if n_items <= c.full_below else "sampled", mixture)

    def _options(self, context: FitContext) -> FitOptions:
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
        return PathNet(*(self._arrays[f"net.{name}"] for name in NET))

    @property
    def _tree(self) -> Tree:
        assert self._facts is not None
        arrays = [self._arrays[f"tree.{name}"] for name in TREE]
        return Tree(arrays[0], arrays[1], self._facts["roots"], *arrays[2:])

    def user_vectors(self, queries: Queries) -> Float32:
        """(Q, dim) unit vectors of the queries' users now; zero without a liked item."""
        arrays = self._arrays
        return mean_liked_vector(
            queries, arrays["interest"], self.config.history, arrays["history"]
        )

    def item_vectors(self) -> Float32:
        """(I, dim) unit vectors of all items."""
        return self._arrays["vectors"]

    def items_scored(self, queries: Queries) -> NDArray[np.int64]:
        """(Q,) how many items the beams of each query lead to, which are all that is scored."""
        return self._found(queries, 1)[2]

    def _found(self, queries: Queries, k: int) -> tuple[Any, Any, NDArray[np.int64]]:
        c, users = self.config, self.user_vectors(queries)
        item, score, scored = recall_items(
            self._net, self._tree, users, self._arrays["vectors"], queries.exclude,
            c.beam, c.most or max(FEW, self._n_items // 4), k,
        )  # fmt: skip
        unknown = ~users.any(axis=1)
        item[unknown], score[unknown], scored[unknown] = -1, -np.inf, 0
        return item, score, scored

    def _recall(self, queries: Queries, k: int) -> Recalled:
        return Recalled(*self._found(queries, k)[:2])

    def because(self, queries: Queries, item: int) -> int | None:
        """The liked item whose embedding points most towards `item`, if any does."""
        arrays = self._arrays
        target = arrays["vectors"][item]
        return nearest_liked_item(queries, arrays["interest"], arrays["history"], target)


def _when(epochs: int, warm_up: float, times: int) -> list[int]:
    """Epochs after which paths are chosen: first by the vectors, then anew."""
    begin = min(max(1, round(warm_up * epochs)), epochs)
    rest = (epochs - begin) / (times + 1)
    return [begin, *(begin + round(rest * t) for t in range(1, times + 1))]


def _served(model: PathModel, tree: Tree) -> dict[str, Any]:
    """What answers need."""
    model.eval()
    first = model.history_pad + FIRST
    with torch.inference_mode():
        arrays = {
            "vectors": model.items().numpy(),
            "history": model.table.weight[first : first + model.n_items].numpy().copy(),
        }
    net = model.net()
    arrays |= {f"net.{name}": getattr(net, name) for name in NET}
    return arrays | {f"tree.{name}": getattr(tree, name) for name in TREE}
