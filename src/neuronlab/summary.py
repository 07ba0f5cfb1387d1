"""What a run prints before it starts and when it is over."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable

import lightning.pytorch as pl
import torch
from rich.table import Table
from rich.text import Text

from neuronlab.data import SPLITS, DataModule
from neuronlab.folders import program, short
from neuronlab.learner import Learner
from neuronlab.models import Neuron
from neuronlab.records import Record
from neuronlab.regularization import is_penalized
from neuronlab.terminal import console, number, table
from neuronlab.theory import (
    Line,
    cosine,
    is_linear_regression,
    largest_curvature,
    least_squares,
    noise_floor,
    raw_line,
)

MOST_NAMES = 12  # of features, on one line


def print_start(learner: Learner, data: DataModule, trainer: pl.Trainer) -> None:
    """Says in one line what is about to be trained on what."""
    parameters = sum(p.numel() for p in learner.net.parameters())
    rows = " / ".join(str(len(data.rows[split])) for split in SPLITS)
    names = data.features.names
    shown = ", ".join(names[:MOST_NAMES])
    if len(names) > MOST_NAMES:
        shown += f" and {len(names) - MOST_NAMES} more"
    console.print(
        f"{type(learner.net).__name__}, {parameters} parameters, on "
        f"{trainer.strategy.root_device} · target {data.table.target} from "
        f"{shown} · rows {rows} (train / val / test)",
        soft_wrap=True,
    )
    print_notes([data])


def print_notes(data: Iterable[DataModule]) -> None:
    """Prints what a user should know of how data were read, once."""
    for note in dict.fromkeys(note for module in data for note in module.notes()):
        console.print(f"  {note}", soft_wrap=True)


def print_summary(
    learner: Learner, data: DataModule, record: Record, diverged_at: int | None
) -> None:
    """Prints the final metrics beside what theory knows, a neuron's weights, and the folder."""
    console.print(metrics_table(learner, data, record))
    if data.scaling.target_std.ne(1).any():
        target = data.table.target
        console.print(f"losses are of the standardized {target}; mae and mse are in its own units")
    if isinstance(learner.net, Neuron):
        console.print(weights_table(learner, data))
    _print_rate_bound(learner, data)
    if diverged_at is not None:
        said = f": the loss was not finite at step {diverged_at}; try a smaller optimizer.lr"
        console.print(Text.assemble(("diverged", "bold red"), said))
    folder = short(record.folder)
    command = shlex.join([short(program("tensorboard")), "--logdir", folder])
    console.print(f"folder       {folder}", soft_wrap=True)
    console.print(f"TensorBoard  {command}", soft_wrap=True)


def metrics_table(learner: Learner, data: DataModule, record: Record) -> Table:
    """Final metrics per split, then the closed-form optimum and the noise floor where known."""
    made = table("final metrics", "", *SPLITS)
    names = dict.fromkeys(tag.partition("/")[2] for tag in record.metrics if "/" in tag)
    for name in names:
        values = [record.metrics.get(f"{split}/{name}") for split in SPLITS]
        if any(value is not None for value in values):
            made.add_row(name, *("" if value is None else number(value) for value in values))
    if is_linear_regression(learner.net, learner.loss):
        line = least_squares(data.rows["train"].x, data.rows["train"].y)
        best = [(line(rows.x) - rows.y).square().mean().item() for rows in data.rows.values()]
        made.add_row("loss of least squares", *map(number, best))
    floors = [noise_floor(learner.loss, data.table.task, rows) for rows in data.rows.values()]
    if None not in floors:
        made.add_row("loss of the true rule (noise floor)", *map(number, floors))
    return made


def weights_table(learner: Learner, data: DataModule) -> Table:
    """A neuron's weights in the data's own units, beside the best and the true ones.

    Regression compares them as they are. A pass/fail rule fixes weights up to scale alone (the
    scale is how sharp the threshold is), so there the directions are compared.
    """
    assert isinstance(learner.net, Neuron)
    weight, bias = (p.detach().cpu() for p in (learner.net.weight, learner.net.bias))
    scaling = data.scaling
    learned = raw_line(Line(weight[0], bias[0]), scaling)
    columns = {"learned": learned}
    if is_linear_regression(learner.net, learner.loss):
        columns["least squares"] = raw_line(
            least_squares(data.rows["train"].x, data.rows["train"].y), scaling
        )
    truth = data.table.weights if data.features.as_they_are else None
    if truth is not None:
        true = Line(torch.tensor(truth), torch.tensor(data.table.bias or 0.0))
        columns["true"] = true
        if data.table.task == "binary":
            columns["learned, length 1"] = _unit(learned)
            columns["true, length 1"] = _unit(true)
    made = table("weights", "", *columns)
    for index, feature in enumerate(data.features.names):
        made.add_row(feature, *(number(line.weights[index].item()) for line in columns.values()))
    made.add_row("bias", *(number(line.bias.item()) for line in columns.values()))
    if truth is not None:
        alike = cosine(learned.weights, columns["true"].weights)
        made.add_row("cosine to true", f"{alike:.4f}")
    return made


def _unit(line: Line) -> Line:
    length = line.weights.norm()
    return Line(line.weights / length, line.bias / length)


def _print_rate_bound(learner: Learner, data: DataModule) -> None:
    penalized = is_penalized(learner.regularization)  # which adds a curvature of its own
    if is_linear_regression(learner.net, learner.loss) and not penalized:
        curvature = largest_curvature(data.rows["train"].x)
        console.print(
            f"largest curvature λmax = {number(curvature)}: full-batch gradient descent needs "
            f"lr < 2/λmax = {number(2 / curvature if curvature else math.inf)}",
            soft_wrap=True,
        )
