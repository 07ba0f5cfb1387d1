"""Measures that look into the networks that runs have left, and into their data.

Like `neuronlab.measures`; each run's checkpoint is loaded, or its data made again.
"""

from __future__ import annotations

import copy
import functools
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from neuronlab.build import build_data
from neuronlab.checks import check_targets
from neuronlab.data import DataModule
from neuronlab.errors import ConfigError
from neuronlab.learner import Learner, load_checkpoint
from neuronlab.measures import Measure, values_of
from neuronlab.models import Neuron
from neuronlab.predict import load_learner
from neuronlab.records import CHECKPOINT
from neuronlab.regularization import is_penalized
from neuronlab.results import Results
from neuronlab.theory import Line, cosine, is_linear_regression, largest_curvature, least_squares
from neuronlab.theory import raw_line as in_raw_units

PLACES = 32  # per side of the square on which a network is looked at


def weight(feature: str) -> Measure:
    """The weight that a linear neuron has learned for a feature, in the data's own units."""

    def probe(learner: Learner) -> float:
        return _weight(_line(learner), learner, feature)

    return _of_networks(probe)


def bias() -> Measure:
    """The bias that a linear neuron has learned, in the data's own units."""
    return _of_networks(lambda learner: _line(learner).bias.item())


def weight_error(feature: str) -> Measure:
    """|learned − least squares| of a feature's weight, on the same training rows."""

    def probe(learner: Learner) -> float:
        best = _least_squares(learner)
        return abs(_weight(_line(learner), learner, feature) - _weight(best, learner, feature))

    return _of_networks(probe)


def bias_error() -> Measure:
    """|learned − least squares| of the bias, on the same training rows."""

    def probe(learner: Learner) -> float:
        best = _least_squares(learner)
        return abs((_line(learner).bias - best.bias).item())

    return _of_networks(probe)


def cosine_to_truth() -> Measure:
    """The cosine between a neuron's learned weights and those of the rule that made the data."""

    def probe(learner: Learner) -> float:
        return cosine(_line(learner).weights, _true_weights(learner))

    return _of_networks(probe)


def order_found() -> Measure:
    """Whether a neuron's weights rank the features as the rule that made the data does; 1 or 0."""

    def probe(learner: Learner) -> float:
        learned, true = _line(learner).weights, _true_weights(learner)
        return float(torch.equal(learned.argsort(), true.argsort()))

    return _of_networks(probe)


def nonlinearity() -> Measure:
    """How much of a network's weighted sum is not a linear function of its two inputs.

    1 − R² of the best plane through its logits on an even grid over the range of the data: 0 where
    the boundary can only be a straight line.
    """

    def probe(learner: Learner) -> float:
        x = _data(learner).table.x
        if x.shape[1] != 2:
            raise ConfigError(f"nonlinearity: is for data with 2 features, not {x.shape[1]}")
        low, high = x.amin(dim=0), x.amax(dim=0)
        sides = [torch.linspace(low[i], high[i], PLACES, dtype=torch.float64) for i in (0, 1)]
        grid = torch.cartesian_prod(*sides)  # [PLACES², 2]
        net = copy.deepcopy(learner).double().eval()
        with torch.no_grad():
            logits: Tensor = net.net.logits(net.seen(grid))[:, :1]  # type: ignore[operator]
        if (logits == logits[0]).all():  # as where all hidden neurons are dead: a plane, too
            return 0.0
        plane = least_squares(grid, logits)(grid)
        residual = (logits - plane).square().sum() / (logits - logits.mean()).square().sum()
        return residual.item()

    return _of_networks(probe)


def beyond_bound() -> Measure:
    """Whether gradient descent must diverge: lr > 2/λmax (linear neuron, mean squared error)."""
    return lambda results: rate_over_bound(results) > 1


def within_bound() -> Measure:
    """Whether gradient descent must converge: lr < 2/λmax (linear neuron, mean squared error)."""
    return lambda results: rate_over_bound(results) < 1


def bound() -> Measure:
    """2/λmax, beyond which gradient descent must diverge; see `bounds`."""
    return bounds


def rate_over_bound(results: Results) -> pd.Series:
    """Of each run, lr / (2/λmax); NaN where theory has no bound, see `bounds`."""
    return values_of(results, "lr") / bounds(results)


def bounds(results: Results) -> pd.Series:
    """2/λmax of each run's training rows, where it is the bound of its gradient descent.

    That is plain SGD with full batches on a linear neuron under mean squared error; NaN elsewhere.
    Runs that differ in nothing but the rate have it in common.
    """
    keys = [key for key in results.keys if key != "optimizer.lr"]
    found: dict[tuple[Any, ...], float] = {}
    given = []
    for run, values in zip(results.runs.index, results.runs[keys].to_numpy().tolist(), strict=True):
        like = tuple(values)
        folder, written = _as_written(run)
        if like not in found and written is not None:
            found[like] = _bound(folder, written)
        given.append(like)
    limits = [found.get(like, math.nan) for like in given]
    return pd.Series(limits, index=results.runs.index, dtype=float)


def _as_written(run: str) -> tuple[Path, int | None]:
    """A run's folder and when its checkpoint was written, which name what is in there for good."""
    folder = Path(run).resolve()
    path = folder / CHECKPOINT
    return folder, path.stat().st_mtime_ns if path.exists() else None


@functools.lru_cache(maxsize=4096)
def _bound(folder: Path, written: int | None) -> float:
    path = folder / CHECKPOINT  # of a run that diverged, too: what it was to train is in there
    given = load_checkpoint(path, str(path))["hyper_parameters"]
    check_targets(given)
    rest = {key: value for key, value in given.items() if key not in ("seed", "data")}
    data = _made(json.dumps(given["data"]))
    x = data.rows["train"].x
    if data.order.batch_size < len(x) or not _is_quadratic_descent(json.dumps(rest)):
        return math.nan
    return 2 / largest_curvature(x)


@functools.lru_cache(maxsize=4096)
def _is_quadratic_descent(given: str) -> bool:
    """Whether all that a learner is made from, but data and seed, is plain descent on a bowl."""
    learner = Learner(**json.loads(given), data={}, seed=0)
    plain = is_plain_descent(learner.optimizer_config, learner.regularization)
    return plain and is_linear_regression(learner.net, learner.loss)


def is_plain_descent(optimizer: Mapping[str, Any], regularization: Mapping[str, float]) -> bool:
    """Whether every step is −lr times the gradient of the loss.

    Args:
        optimizer: Its configuration.
        regularization: The rates of penalties, whose gradients would be added.
    """
    more = any(optimizer.get(key) for key in ("momentum", "weight_decay", "maximize"))
    more |= is_penalized(regularization)
    return optimizer["_target_"] == "torch.optim.SGD" and not more


def _of_networks(probe: Callable[[Learner], float]) -> Measure:
    """A measure of each run's network; NaN for a run that left none or diverged."""

    def measure(results: Results) -> pd.Series:
        values = pd.Series(math.nan, index=results.runs.index, dtype=float)
        for run in values.index[results.runs["state"] == "completed"]:
            folder, written = _as_written(run)
            if written is not None:
                values[run] = probe(_network(folder, written))
        return values

    return measure


@functools.lru_cache(maxsize=512)  # a claim asks the same networks for several numbers
def _network(folder: Path, written: int | None) -> Learner:
    return load_learner(folder)


def _data(learner: Learner) -> DataModule:
    return _made(json.dumps(learner.hparams["data"]))


@functools.lru_cache(maxsize=512)
def _made(node: str) -> DataModule:
    return build_data(json.loads(node))


def _line(learner: Learner) -> Line:
    """A neuron's rule in the data's own units."""
    if not isinstance(learner.net, Neuron):
        raise ConfigError("this measure reads the weights of model=neuron, which these runs lack")
    net = learner.net
    return in_raw_units(Line(net.weight.detach()[0], net.bias.detach()[0]), learner.scaling)


def _weight(line: Line, learner: Learner, feature: str) -> float:
    features = learner.hparams["features"]
    if feature not in features:
        raise ConfigError(f"feature={feature}: must be one of {', '.join(features)}")
    return line.weights[features.index(feature)].item()


def _least_squares(learner: Learner) -> Line:
    rows = _data(learner).rows["train"]
    return in_raw_units(least_squares(rows.x, rows.y), learner.scaling)


def _true_weights(learner: Learner) -> Tensor:
    data = _data(learner)
    weights = data.table.weights
    if weights is None or not data.features.as_they_are:
        raise ConfigError("this measure needs data that were made by a linear rule of its features")
    return torch.tensor(weights, dtype=torch.float64)
