"""Options of the loop: validation interval, decay, L1, and the order of rows."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from tamis.schema import TrainingError
from tamis.train import FitOptions, Order, fit


class Numbers:
    """Rows 0 … n − 1; a batch is its rows."""

    def __init__(self, n=6):
        self.n, self.taken = n, []

    def __len__(self):
        return self.n

    def take(self, index, device="cpu"):
        self.taken.append(index.tolist())
        return index.float()


class Odd(Numbers):
    """Rows with their own `order`: one batch of odd rows, one of even rows."""

    def order(self, batch_size, generator):
        assert isinstance(generator, torch.Generator)
        odd, even = torch.arange(1, self.n, 2), torch.arange(0, self.n, 2)
        return Order(torch.cat([odd, even]), [0, len(odd), self.n])


@dataclass
class Still:
    """A loss whose gradient is zero, with given validation metrics."""

    values: tuple = ()
    by_group: bool = False
    looks: int = 0

    def loss(self, model, batch):
        return 0.0 * sum(w.sum() for w in model.parameters()) * batch.mean()

    def evaluate(self, model, valid, device):
        self.looks += 1
        return {"value": self.values[self.looks - 1]}


def test_validation_every_few_epochs_and_after_the_last():
    objective = Still((0.1, 0.2, 0.3))
    options = FitOptions(epochs=7, evaluate_every=3, patience=99)
    result = fit(nn.Linear(2, 1), Numbers(), objective, valid=object(), options=options)
    assert [e.epoch for e in result.history if e.metrics] == [3, 6, 7]
    assert result.best_epoch == 7


def test_patience_counts_epochs_without_validation_too():
    options = FitOptions(epochs=50, evaluate_every=2, patience=4)
    falling = Still((0.5, 0.4, 0.3, 0.2))
    result = fit(nn.Linear(2, 1), Numbers(), falling, valid=object(), options=options)
    assert result.best_epoch == 2
    assert len(result.history) == 6


def test_decoupled_decay_shrinks_matrices_and_spares_biases():
    model = nn.Linear(3, 2)
    weight, bias = model.weight.detach().clone(), model.bias.detach().clone()
    options = FitOptions(epochs=1, batch_size=2, learning_rate=0.1, weight_decay=0.5)
    fit(model, Numbers(6), Still(), options=options)
    torch.testing.assert_close(model.weight.detach(), weight * (1 - 0.1 * 0.5) ** 3)
    torch.testing.assert_close(model.bias.detach(), bias)
    with pytest.raises(TrainingError, match="either dense_l2 or weight_decay"):
        fit(model, Numbers(), Still(), options=FitOptions(dense_l2=0.1, weight_decay=0.1))


class Slope(Still):
    def loss(self, model, batch):
        return model.weight.sum()


def moved(options, values=(), valid=None):
    """Distance that a weight of constant gradient moved; Adam steps are the learning rate long."""
    model = nn.Linear(1, 1)
    before = float(model.weight.detach())
    result = fit(model, Numbers(1), Slope(values), valid=valid, options=options)
    return before - float(model.weight.detach()), result


def test_the_learning_rate_falls_when_the_metric_does_not_rise():
    options = FitOptions(
        epochs=6, batch_size=1, learning_rate=0.1, patience=3, decay_on_plateau=0.5
    )
    values = (0.1, 0.2, 0.15, 0.2, 0.3, 0.4)
    way, result = moved(options, values, valid=object())
    assert result.decays == (3, 4)  # equal is not better
    assert way == pytest.approx(0.1 * (3 + 0.5 + 2 * 0.25), rel=1e-3)


def test_no_decay_without_a_factor_nor_after_the_end():
    values = (0.5, 0.4, 0.3)
    options = FitOptions(epochs=3, patience=9)
    assert moved(options, values, valid=object())[1].decays == ()
    options = FitOptions(epochs=9, patience=2, decay_on_plateau=0.1)
    assert moved(options, values, valid=object())[1].decays == (2,)


def test_a_fit_without_validation_decays_after_the_given_epochs():
    options = FitOptions(
        epochs=4, batch_size=1, learning_rate=0.1, decay_on_plateau=0.5, decay_after=(1, 3)
    )
    way, result = moved(options)
    assert result.decays == (1, 3)
    assert way == pytest.approx(0.1 * (1 + 2 * 0.5 + 0.25), rel=1e-3)


def test_l1_is_a_gradient_of_constant_size():
    model = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2.0], [0.0, 3.0]]))
    options = FitOptions(epochs=1, batch_size=6, learning_rate=0.1, dense_l1=0.5)
    fit(model, Numbers(6), Still(), options=options)
    want = torch.tensor([[0.9, -1.9], [0.0, 2.9]])  # Adam's first step: the gradient's sign
    torch.testing.assert_close(model.weight.detach(), want)


def test_a_source_can_define_the_order_of_its_rows():
    rows = Odd(5)
    fit(nn.Linear(2, 1), rows, Still(), options=FitOptions(epochs=2))
    assert rows.taken == [[1, 3], [0, 2, 4]] * 2
