"""DIN by Torch-RecHub 0.9.0: CTRTrainer and its DataGenerator."""

import torch
from common import BATCH, DIM, HIDDEN, RATE, SINGLE, Stopwatch, arguments
from histories import ATTENTION, coded
from torch_rechub.basic.features import SequenceFeature, SparseFeature
from torch_rechub.models.ranking import DIN
from torch_rechub.trainers import CTRTrainer
from torch_rechub.utils.data import DataGenerator

given = arguments()
torch.set_num_threads(given.threads)
torch.manual_seed(given.seed)
watch = Stopwatch(given)
data = coded(given.data)
sizes = dict(zip(SINGLE, data.vocabulary, strict=True))
others = [
    SparseFeature(name, vocab_size=size, embed_dim=DIM)
    for name, size in sizes.items()
    if name != "item_id"
]
others.append(
    SequenceFeature("genres", vocab_size=data.genres, embed_dim=DIM, pooling="mean", padding_idx=0)
)
item = SparseFeature("item_id", vocab_size=sizes["item_id"], embed_dim=DIM, padding_idx=0)
history = SequenceFeature(
    "history",
    vocab_size=sizes["item_id"],
    embed_dim=DIM,
    pooling="concat",
    shared_with="item_id",
)


def inputs(at):
    columns = {name: data.X[at, k] for k, name in enumerate(SINGLE)}
    return {**columns, "genres": data.G[at], "history": data.H[at]}, data.y[at]


parts = {name: inputs(at) for name, at in data.split.items()}
train, valid, test = DataGenerator(*parts["train"]).generate_dataloader(
    x_val=parts["valid"][0],
    y_val=parts["valid"][1],
    x_test=parts["test"][0],
    y_test=parts["test"][1],
    batch_size=BATCH,
    num_workers=0,
)
model = DIN(
    others,
    [history],
    [item],
    mlp_params={"dims": list(HIDDEN), "dropout": 0},
    attention_mlp_params={"dims": list(ATTENTION)},
)
trainer = CTRTrainer(
    model,
    optimizer_params={"lr": RATE, "weight_decay": 0.0},
    n_epoch=given.epochs,
    device="cpu",
    model_path=str(given.work),
)
watch.prepared(len(parts["train"][1]))
watch.fit(
    lambda: trainer.train_one_epoch(train),
    lambda: float(trainer.evaluate(model, valid)),
    lambda: float(trainer.evaluate(model, test)),
)
watch.report("torch-rechub")
