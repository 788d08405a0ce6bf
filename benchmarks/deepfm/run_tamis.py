"""DeepFM by tamis: frames in, the research API that a user would write."""

import numpy as np
import polars as pl
import torch
from common import BATCH, DIM, HIDDEN, SINGLE, Stopwatch, arguments, auc, coded, split

from tamis.features import Block, IdColumn, Layout, Rows, TableRange
from tamis.rank import DeepFM
from tamis.schema import Side, SparseFeat, VarLenSparseFeat

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


def small(watch: Stopwatch) -> DeepFM:
    """From raw tables to the best epoch."""
    data = frames()
    features = [SparseFeat(name) for name in SINGLE]
    features.append(VarLenSparseFeat("genres", separator="|", max_len=6))
    model = DeepFM(
        features=features,
        embedding_dim=DIM,
        hidden_units=HIDDEN,
        batch_size=BATCH,
        epochs=given.epochs,
        patience=given.patience,
        bfloat16=given.bfloat16,
        seed=given.seed,
    )
    model.fit(data["train"], valid=data["valid"])
    watch.rows, watch.best = len(data["train"]), model.best_epoch
    watch.valid, watch.test = (
        model.best["auc"],
        auc(data["test"]["label"], model.predict(data["test"])),
    )
    return model


def large() -> DeepFM:
    """Codes as the peers get them, user ids spread over a large table."""
    data = coded(given.data, given.vocabulary)
    names, sizes = [*SINGLE, "genres"], [*data.vocabulary, data.genres]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    tables = [
        TableRange(n, int(s), int(size)) for n, s, size in zip(names, starts, sizes, strict=True)
    ]
    columns = [IdColumn(n, Side.CONTEXT, n, k) for k, n in enumerate(SINGLE)]
    columns.append(IdColumn("genres", Side.CONTEXT, "genres", 7, data.G.shape[1], "mean", True))
    ids = np.concatenate([data.X + starts[:7], data.G + starts[7]], 1).astype(np.int32)
    at = data.split["train"]
    block = Block(ids[at], np.zeros((len(at), 0), np.float32))
    layout = Layout(tuple(tables), tuple(columns), ())
    rows = Rows(layout, [block], len(at), data.y[at][:, None])
    options = {"epochs": given.epochs, "batch_size": BATCH, "bfloat16": given.bfloat16}
    return DeepFM(embedding_dim=DIM, hidden_units=HIDDEN, **options).fit(rows)


watch = Stopwatch(given)
model = large() if given.vocabulary else small(watch)
watch.epochs = [epoch.seconds for epoch in model.history]
watch.rows = round(model.result.samples_per_second * float(np.median(watch.epochs)))
watch.report("tamis", bfloat16=model.result.bfloat16)
