"""Tamis's own: from the raw tables by frames, the research API that a user would write; from coded
rows as the peers are given them."""

import numpy as np
import polars as pl
import torch
from common import BATCH, CROSSES, DIM, HIDDEN, SINGLE, Stopwatch, arguments, auc, coded, split

from tamis.features import Block, IdColumn, Layout, Rows, TableRange
from tamis.schema import Side, SparseFeat, VarLenSparseFeat
from tamis.service import registry

given = arguments()
torch.set_num_threads(given.threads)


def frames() -> dict[str, pl.DataFrame]:
    """Train, valid and test, the users' and items' columns joined to the events."""
    events, items, users = (
        pl.read_csv(given.data / f"{name}.csv", schema_overrides={"zip_code": pl.String})
        for name in ("events", "items", "users")
    )
    kept = events.filter(pl.col("rating") != 3)
    joined = kept.join(users, "user_id", how="left", maintain_order="left").join(
        items, "item_id", how="left", maintain_order="left"
    )
    labelled = joined.with_columns(label=(pl.col("rating") >= 4).cast(pl.Float32))
    return {name: labelled[at] for name, at in split(len(labelled)).items()}


def ranker(**more):
    """The model asked for, in the shape that all libraries share."""
    kind = registry.find("rank", given.model)
    options = {
        "embedding_dim": DIM,
        "hidden_units": HIDDEN,
        "cross_layers": CROSSES,
        "batch_size": BATCH,
        "epochs": given.epochs,
        "patience": given.patience,
        "bfloat16": given.bfloat16,
        "seed": given.seed,
        "engine": "torch",
    }
    return kind(**{k: v for k, v in options.items() if k in kind.Config.model_fields}, **more)


def from_tables(watch: Stopwatch):
    """From raw tables to the best epoch."""
    data = frames()
    features = [SparseFeat(name) for name in SINGLE]
    features.append(VarLenSparseFeat("genres", separator="|", max_len=6))
    model = ranker(features=features).fit(data["train"], valid=data["valid"])
    watch.test = auc(data["test"]["label"], model.predict(data["test"]))
    return model


def rows_of(data) -> dict[str, Rows]:
    """Codes as the peers get them."""
    names, sizes = [*SINGLE, "genres"], [*data.vocabulary, data.genres]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    tables = [
        TableRange(n, int(s), int(size)) for n, s, size in zip(names, starts, sizes, strict=True)
    ]
    columns = [IdColumn(n, Side.CONTEXT, n, k) for k, n in enumerate(SINGLE)]
    columns.append(IdColumn("genres", Side.CONTEXT, "genres", 7, data.G.shape[1], "mean", True))
    ids = np.concatenate([data.X + starts[:7], data.G + starts[7]], 1).astype(np.int32)
    layout = Layout(tuple(tables), tuple(columns), ())
    return {
        name: Rows(
            layout,
            [Block(ids[at], np.zeros((len(at), 0), np.float32))],
            len(at),
            data.y[at][:, None],
        )
        for name, at in data.split.items()
    }


def from_codes(watch: Stopwatch):
    """From the one file of all libraries to the best epoch."""
    rows = rows_of(coded(given.data))
    model = ranker().fit(rows["train"], rows["valid"])
    watch.test = auc(rows["test"].labels, model.score_rows(rows["test"])["label"])
    return model


def large():
    """User ids spread over a large table; speed only."""
    return ranker().fit(rows_of(coded(given.data, given.vocabulary))["train"])


watch = Stopwatch(given)
if given.vocabulary:
    model = large()
else:
    model = from_codes(watch) if given.data.suffix == ".npz" else from_tables(watch)
    watch.best, watch.valid = model.best_epoch, model.best["auc"]
watch.epochs = [epoch.seconds for epoch in model.history]
watch.rows = round(model.result.samples_per_second * float(np.median(watch.epochs)))
watch.report("tamis", bfloat16=model.result.bfloat16)
