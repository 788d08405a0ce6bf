"""Models of Torch-RecHub 0.9.0: CTRTrainer and its DataGenerator.

Its MLPs normalise over the batch, always. Its FiBiNet cannot take a feature of several ids: it
goes without the genres.
"""

import torch
from common import BATCH, CROSSES, DIM, HIDDEN, RATE, SINGLE, Stopwatch, arguments, coded
from torch_rechub.basic.features import SequenceFeature, SparseFeature
from torch_rechub.models.ranking import DCN, DCNv2, DeepFM, FiBiNet, WideDeep
from torch_rechub.trainers import CTRTrainer
from torch_rechub.utils.data import DataGenerator

given = arguments()
torch.set_num_threads(given.threads)
torch.manual_seed(given.seed)
watch = Stopwatch(given)
data = coded(given.data, given.vocabulary)
features = [
    SparseFeature(name, vocab_size=size, embed_dim=DIM)
    for name, size in zip(SINGLE, data.vocabulary, strict=True)
]
if given.model != "fibinet":
    genres = {"vocab_size": data.genres, "embed_dim": DIM, "pooling": "mean", "padding_idx": 0}
    features.append(SequenceFeature("genres", **genres))


def inputs(at):
    columns = {name: data.X[at, k] for k, name in enumerate(SINGLE)}
    return {**columns, "genres": data.G[at]}, data.y[at]


parts = {name: inputs(at) for name, at in data.split.items()}
train, valid, test = DataGenerator(*parts["train"]).generate_dataloader(
    x_val=parts["valid"][0],
    y_val=parts["valid"][1],
    x_test=parts["test"][0],
    y_test=parts["test"][1],
    batch_size=BATCH,
    num_workers=0,
)
mlp = {"dims": list(HIDDEN), "dropout": 0, "activation": "relu"}
MODELS = {
    "wide_deep": lambda: WideDeep(features, features, mlp),
    "deepfm": lambda: DeepFM(features, features, mlp),
    "dcn": lambda: DCN(features, CROSSES, mlp),
    "dcnv2": lambda: DCNv2(features, CROSSES, mlp, use_low_rank_mixture=False),
    "fibinet": lambda: FiBiNet(features, mlp),
}
model = MODELS[given.model]()
trainer = CTRTrainer(
    model,
    optimizer_params={"lr": RATE, "weight_decay": 0.0},
    n_epoch=given.epochs,
    device="cpu",
    model_path=str(given.work),
)
watch.rows = len(parts["train"][1])
watch.fit(
    lambda: trainer.train_one_epoch(train),
    lambda: float(trainer.evaluate(model, valid)),
    lambda: float(trainer.evaluate(model, test)),
)
watch.report("torch-rechub")
