"""DeepFM by Torch-RecHub 0.9.0: CTRTrainer and its DataGenerator."""

import torch
from common import BATCH, DIM, HIDDEN, RATE, SINGLE, Stopwatch, arguments, coded
from torch_rechub.basic.features import SequenceFeature, SparseFeature
from torch_rechub.models.ranking import DeepFM
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
features.append(
    SequenceFeature("genres", vocab_size=data.genres, embed_dim=DIM, pooling="mean", padding_idx=0)
)


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
model = DeepFM(features, features, {"dims": list(HIDDEN), "dropout": 0, "activation": "relu"})
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
