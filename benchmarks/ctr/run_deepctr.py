"""Models of DeepCTR-Torch 0.3.0: `model.fit` an epoch at a time, no metrics on training batches."""

import torch
from common import BATCH, CROSSES, DIM, HIDDEN, RATE, SINGLE, Stopwatch, arguments, auc, coded
from deepctr_torch.inputs import SparseFeat, VarLenSparseFeat
from deepctr_torch.models import DCN, WDL, DeepFM, FiBiNET

given = arguments()
torch.set_num_threads(given.threads)
watch = Stopwatch(given)
data = coded(given.data, given.vocabulary)
features = [
    SparseFeat(name, size, embedding_dim=DIM)
    for name, size in zip(SINGLE, data.vocabulary, strict=True)
]
genres = SparseFeat("genres", data.genres, embedding_dim=DIM)
features.append(VarLenSparseFeat(genres, maxlen=data.G.shape[1], combiner="mean"))


def inputs(at):
    columns = {name: data.X[at, k] for k, name in enumerate(SINGLE)}
    return {**columns, "genres": data.G[at]}, data.y[at]


parts = {name: inputs(at) for name, at in data.split.items()}
MODELS = {
    "wide_deep": (WDL, {}),
    "deepfm": (DeepFM, {}),
    "dcn": (DCN, {"cross_num": CROSSES, "l2_reg_cross": 0}),
    "dcnv2": (DCN, {"cross_num": CROSSES, "l2_reg_cross": 0, "cross_parameterization": "matrix"}),
    "fibinet": (FiBiNET, {}),
}
kind, options = MODELS[given.model]
model = kind(
    features,
    features,
    dnn_hidden_units=HIDDEN,
    l2_reg_linear=0,
    l2_reg_embedding=0,
    dnn_dropout=0,
    seed=1024 + given.seed,
    device="cpu",
    **options,
)
model.compile(torch.optim.Adam(model.parameters(), lr=RATE), "binary_crossentropy", metrics=["auc"])
watch.rows = len(parts["train"][1])
watch.fit(
    lambda: model.fit(*parts["train"], batch_size=BATCH, epochs=1, verbose=0),
    lambda: auc(parts["valid"][1], model.predict(parts["valid"][0], BATCH)),
    lambda: auc(parts["test"][1], model.predict(parts["test"][0], BATCH)),
)
watch.report("deepctr-torch")
