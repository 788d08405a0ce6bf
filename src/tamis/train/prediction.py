"""Prediction with a fitted module, batch by batch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tamis.train.batches import Order, RowSource, batches


def predict(
    model: nn.Module,
    rows: RowSource,
    batch_size: int = 8192,
    device: torch.device | str = "cpu",
) -> NDArray[np.float32]:
    """The model's outputs, float32 (n, T) in the rows' order, in evaluation mode.

    The module's mode (training or evaluation) is restored afterwards.
    """
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        order = Order.plain(len(rows), batch_size)
        out = [model(batch).float().cpu() for batch in batches(rows, order, device)]
    model.train(was_training)
    return torch.cat(out).numpy()
