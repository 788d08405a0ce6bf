"""DIN by DeepCTR-Torch 0.3.0: `model.fit` an epoch at a time, no metrics on training batches."""

import torch
from common import BATCH, DIM, HIDDEN, RATE, SINGLE, Stopwatch, arguments, auc
from deepctr_torch.inputs import SparseFeat, VarLenSparseFeat
from deepctr_torch.models import DIN
from histories import ATTENTION, LAST, coded

given = arguments()
torch.set_num_threads(given.threads)
watch = Stopwatch(given)
data = coded(given.data)
sizes = dict(zip(SINGLE, data.vocabulary, strict=True))
features = [SparseFeat(name, size, embedding_dim=DIM) for name, size in sizes.items()]
genres = SparseFeat("genres", data.genres, embedding_dim=DIM)
features.append(VarLenSparseFeat(genres, maxlen=data.G.shape[1], combiner="mean"))
history = SparseFeat("hist_item_id", sizes["item_id"], embedding_dim=DIM, embedding_name="item_id")
features.append(VarLenSparseFeat(history, maxlen=LAST, length_name="length"))


def inputs(at):
    columns = {name: data.X[at, k] for k, name in enumerate(SINGLE)}
    lists = {"genres": data.G[at], "hist_item_id": data.H[at], "length": data.lengths[at]}
    return {**columns, **lists}, data.y[at]


parts = {name: inputs(at) for name, at in data.split.items()}
model = DIN(
    features,
    ["item_id"],
    dnn_hidden_units=HIDDEN,
    att_hidden_size=ATTENTION,
    l2_reg_embedding=0,
    dnn_dropout=0,
    seed=1024 + given.seed,
    device="cpu",
)
model.compile(torch.optim.Adam(model.parameters(), lr=RATE), "binary_crossentropy", metrics=["auc"])
watch.prepared(len(parts["train"][1]))
watch.fit(
    lambda: model.fit(*parts["train"], batch_size=BATCH, epochs=1, verbose=0),
    lambda: auc(parts["valid"][1], model.predict(parts["valid"][0], BATCH)),
    lambda: auc(parts["test"][1], model.predict(parts["test"][0], BATCH)),
)
watch.report("deepctr-torch")
