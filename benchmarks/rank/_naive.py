"""MMoE with DIN as one writes it in plain PyTorch: a batch of rows that repeat the user.

The pinned opponent of the line `scoring`. Nothing is wasted on purpose: one gather for all ids, no
gradient, no copy that the formulas do not ask for; and nothing is clever either: the attention's
network reads [q, k, q − k, q ⊙ k], each expert is a chain of layers, and each row is its own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tamis.rank._network import Network


class Naive(nn.Module):
    """The same network as a trained `mmoe` with `sequence = "din"`, its weights copied.

    `forward(ids int64 (B, W), dense (B, D), real bool (B, L))`: the fields' ids, then the past's.
    """

    def __init__(self, network: Network, target: int) -> None:
        super().__init__()
        inputs, core = network.inputs, network.core
        assert network.sequence is not None
        attention, towers = network.sequence.blocks[0], core.towers
        self.target, self.length = target, inputs.pairs[0][0].width
        self.table = nn.Embedding.from_pretrained(inputs.table.weight.detach().clone())
        self.attention = _chain(
            [
                *((x.weight, x.bias) for x in attention.linears),
                (attention.last.weight, attention.last.bias),
            ]
        )
        count, tasks = core.experts.count, core.tasks
        first, gates = core.entry.weight.split(core.sizes)
        first_bias, gates_bias = core.entry.bias.split(core.sizes)
        self.experts = nn.ModuleList(
            _chain(
                [
                    (first.chunk(count)[e], first_bias.chunk(count)[e]),
                    *((x.weight[e].T, x.bias[e, 0]) for x in core.experts.layers),
                ],
                last_too=True,
            )
            for e in range(count)
        )
        self.gates = nn.ModuleList(
            _linear(gates.chunk(tasks)[t], gates_bias.chunk(tasks)[t]) for t in range(tasks)
        )
        self.towers = nn.ModuleList(
            _chain(
                [
                    *((x.weight[t].T, x.bias[t, 0]) for x in towers.layers),
                    (towers.weight[t : t + 1], towers.bias[t : t + 1]),
                ]
            )
            for t in range(tasks)
        )

    def forward(self, ids: Tensor, dense: Tensor, real: Tensor) -> Tensor:
        """Logits (B, T)."""
        vectors = self.table(ids)  # (B, W, dim)
        fields, past = vectors[:, : -self.length], vectors[:, -self.length :]
        q = fields[:, self.target].unsqueeze(1).expand_as(past)
        weight = self.attention(torch.cat([q, past, q - past, q * past], 2)).squeeze(2)  # (B, L)
        met = torch.bmm((weight * real).unsqueeze(1), past).squeeze(1)  # (B, dim)
        x = torch.cat([fields.flatten(1), met, dense], 1)
        experts = torch.stack([expert(x) for expert in self.experts], 1)  # (B, E, out)
        logits = []
        for gate, tower in zip(self.gates, self.towers, strict=True):
            share = torch.softmax(gate(x), 1).unsqueeze(1)  # (B, 1, E)
            logits.append(tower(torch.bmm(share, experts).squeeze(1)))
        return torch.cat(logits, 1)


def _chain(layers: list[tuple[Tensor, Tensor]], last_too: bool = False) -> nn.Sequential:
    """Linear layers with ReLU between, and after the last one where asked."""
    parts: list[nn.Module] = []
    for weight, bias in layers:
        parts += [_linear(weight, bias), nn.ReLU()]
    return nn.Sequential(*(parts if last_too else parts[:-1]))


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer
