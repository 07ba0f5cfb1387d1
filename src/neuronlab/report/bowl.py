"""The loss of a neuron with one input over its weight and bias, and the ways that runs took in it.

Such a network has two numbers, so that its whole loss can be drawn: a bowl, or a long valley. Here
is what to draw; `neuronlab.report.bowl_figures` draws it.

Letters: T steps, G places along one side of the map.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from neuronlab.build import build
from neuronlab.errors import ConfigError
from neuronlab.pictures import spread
from neuronlab.predict import load_learner
from neuronlab.records import OVER
from neuronlab.regularization import is_penalized
from neuronlab.replay import Descent, count_numbers, losses_at, replay
from neuronlab.report.bowl_figures import Bowl, Map, contours, surfaces
from neuronlab.report.comparisons import value_label
from neuronlab.report.panel import Panel
from neuronlab.report.rates import LR, rate_bound
from neuronlab.results import Results
from neuronlab.statistics import COMPLETED, DIVERGED, rank
from neuronlab.theory import is_linear_regression, least_squares

OPTIMIZER = "optimizer"  # a key that is swept
SIZELESS = ("optimizer", "trainer", "callbacks", "logger", "loss")  # leave a network's size alone
MOST_STEPS = 500  # of a replay
RATES, MOST_BOWLS, MOST_SCENES = 4, 8, 4
PLACES = 60  # G
STAR = "The star is the least possible loss. "
RIM = 1.5  # times the highest loss at a start: what is higher is off the map
BEYOND = 0.5  # of the way from the start to the optimum is shown behind it
NEAR = 0.05  # of the side of the map: so close to the optimum is at the bottom
LOW = 0.01  # of the height of the start above the optimum: so low is in the valley
SWINGS, SEEN, STEEP = 4, 20, 0.05  # turns back, in how many steps, where so steep as at the start


def loss_bowls(results: Results) -> list[Panel]:
    """The training loss over weight and bias with the steps of a few runs, flat and in 3-D.

    Of a sweep over optimizers each at its best setting by `val/loss`, else of one over rates the
    telling ones; always with the first seed. These runs are trained again to know their steps.

    Args:
        results: Runs of one task.

    Returns:
        The panels `bowl` and `bowl_3d`; none where no network has just a weight and a bias.
    """
    results = results.select(_drawable(results))
    chosen = choose(results)
    if not chosen:
        return []
    descents = [replay(results.config(run), _steps(results, run)) for run in chosen]
    optima = [_optimum(descent) for descent in descents]
    field = region(descents, optima)
    grid = torch.cartesian_prod(*map(torch.as_tensor, (field.w, field.b)))  # [G², 2]
    labels = _labels(results, chosen)
    bowls = []
    for run, label, descent, optimum in zip(chosen, labels, descents, optima, strict=True):
        losses = losses_at(descent.learner, grid.double(), descent.data.rows["train"])
        lowest = min(losses.min().item(), descent.losses.min().item())
        diverged = results.runs.loc[run, "state"] == DIVERGED
        told = verdict(descent, optimum, lowest, field, diverged)
        bowls.append(
            Bowl(label, told, descent, optimum, losses.view(PLACES, PLACES).T.float().numpy())
        )
    note = " ".join(_remarks(results, chosen, descents))
    return [
        Panel(
            "bowl",
            f"Steps down the training loss. {summary(bowls)}.",
            contours(bowls, field),
            path_table(bowls),
            "Each place on a map is a network with that weight and bias, its color the training "
            "loss on a logarithmic scale. The white line is the run's way; the arrow, whose length "
            "says nothing, points straight downhill (against the gradient of the step's batch). "
            "Plain gradient descent steps along it, other optimizers beside it. "
            f"{STAR if optima[0] is not None else ''}{note}",
        ),
        Panel(
            "bowl_3d",
            f"The same steps in the bowl. {summary(bowls[:MOST_SCENES])}.",
            surfaces(bowls[:MOST_SCENES], field),
            path_table(bowls[:MOST_SCENES]),
            "Height and color are the training loss, the color on a logarithmic scale. Drag to "
            f"turn, scroll to come nearer. {note}",
        ),
    ]


def _drawable(results: Results) -> pd.Series:
    """Which runs have a network of just a weight and a bias."""
    keys = [key for key in results.setting_keys if key.partition(".")[0] not in SIZELESS]
    counts: dict[tuple[object, ...], int | None] = {}
    found = []
    for run, values in zip(results.runs.index, results.runs[keys].to_numpy().tolist(), strict=True):
        like = tuple(values)
        if counts.get(like) is None:
            counts[like] = _numbers(results, run)
        found.append(counts[like] == 2)
    return pd.Series(found, index=results.runs.index, dtype=bool)


def _numbers(results: Results, run: str) -> int | None:
    """How many numbers a run's network has; None where that cannot be told."""
    try:
        _, learner = build(results.config(run))
    except (ConfigError, KeyError):  # an old or foreign folder
        return None
    return count_numbers(learner.net)


def choose(results: Results) -> list[str]:
    """The runs to draw: what tells most about the sweep.

    Where optimizers are swept, each at its best setting. Else, where rates are, at most four: the
    lowest, the best, the highest with which the loss fell, and the lowest with which it did not
    (if these are fewer, one between the lowest and the best); what else is swept as in the best
    setting. Else the best setting. The best is the lowest mean of
    `val/loss` over seeds, without a diverged run; of its runs, the one with the sweep's first seed.
    """
    over = results.runs[results.runs["state"].isin(OVER)]
    if over.empty or "val/loss" not in over:
        return []
    keys, seeds = list(results.setting_keys), list(results.seed_keys)
    if keys:
        ranks = rank(over, keys, "val/loss", reported=())[["rank", *keys]]
        over = over.assign(rank=over[keys].merge(ranks, "left", keys)["rank"].to_numpy())
    else:
        over = over.assign(rank=1)
    runs = over[(over[seeds] == over[seeds].iloc[0]).all(axis=1)]
    ranked = runs.sort_values("rank", kind="stable")
    if OPTIMIZER in keys:
        best = ranked.drop_duplicates(OPTIMIZER).index[:MOST_BOWLS]
        return [run for run in runs.index if run in best]
    if LR in keys and pd.api.types.is_numeric_dtype(runs[LR]):
        others = [key for key in keys if key != LR]
        alike = (runs[others] == ranked[others].iloc[0]).all(axis=1)
        rates = runs[alike].sort_values(LR)
        fell = _fell(results, rates)
        order = list(rates.index)
        telling = {order[0], ranked.index[0], *rates.index[fell][-1:], *rates.index[~fell][:1]}
        if len(telling) < RATES:
            telling.add(order[order.index(ranked.index[0]) // 2])
        return [run for run in order if run in telling]
    return [ranked.index[0]]


def _fell(results: Results, runs: pd.DataFrame) -> pd.Series:
    """In which runs the training loss is lower at the end than at the beginning."""
    if "train/loss" not in results.curves:
        return runs["state"] != DIVERGED
    losses = results.curves.groupby("run")["train/loss"].agg(["first", "last"]).reindex(runs.index)
    return (runs["state"] != DIVERGED) & ~(losses["last"] > losses["first"])


def _steps(results: Results, run: str) -> int:
    """How many steps of a run to replay."""
    taken = results.runs.loc[run, "diverged_at_step"]
    if not taken > 0:
        taken = results.curves.loc[results.curves["run"] == run, "step"].max()
    return int(min(taken, MOST_STEPS)) if taken > 0 else MOST_STEPS


def _optimum(descent: Descent) -> Tensor | None:
    """The w and b of least squares [2], where that is what is asked for."""
    learner = descent.learner
    asked_for = is_linear_regression(learner.net, learner.loss)
    if not asked_for or is_penalized(learner.regularization):
        return None
    rows = descent.data.rows["train"]
    line = least_squares(rows.x, rows.y)
    return torch.cat([line.weights, line.bias[None]])


def region(descents: Sequence[Descent], optima: Sequence[Tensor | None]) -> Map:
    """The part of the plane with all steps and optima, but for steps that leave the bowl.

    It reaches beyond each optimum as seen from the start, so that there is a bowl around it.
    """
    rim = RIM * max(descent.losses[0].item() for descent in descents)
    points = [one.parameters[one.losses <= rim].double() for one in descents]
    for descent, optimum in zip(descents, optima, strict=True):
        if optimum is not None:
            points.append((optimum + BEYOND * (optimum - descent.parameters[0]))[None])
    w, b = (spread(torch.cat(points)[:, axis], PLACES).numpy() for axis in (0, 1))
    return Map(w, b, rim)


def verdict(
    descent: Descent, optimum: Tensor | None, lowest: float, field: Map, diverged: bool
) -> str:
    """What a run did, in the words of its numbers.

    Args:
        descent: Its steps.
        optimum: The best w and b [2], or None where it is not known.
        lowest: The lowest loss that is known.
        field: The map that they are seen on.
        diverged: Whether its loss was not finite in the end.
    """
    losses, steps = descent.losses, descent.parameters.double()
    if diverged or losses[-1] > losses[0]:
        return "diverges"
    slopes = descent.gradients[:SEEN].double()
    turned = (slopes[1:] * slopes[:-1]).sum(dim=1) < 0
    steep = slopes.norm(dim=1) >= STEEP * slopes[:1].norm(dim=1)
    way = "overshoots" if (turned & steep[1:]).sum() >= SWINGS else ""
    low = losses[-1] - lowest <= LOW * (losses[0] - lowest)
    near = bool(low)
    if optimum is not None:
        near = bool(np.linalg.norm((steps[-1] - optimum).numpy() / field.side) <= NEAR)
    if near:
        return f"{way}, finds the bottom" if way else "finds the bottom"
    if low:
        return f"{way}, then crawls along the valley" if way else "crawls along the valley"
    return way or "crawls"


def summary(bowls: Sequence[Bowl]) -> str:
    """Who did what, as `Crawls: sgd. Finds the bottom: momentum, adam`."""
    verdicts = dict.fromkeys(bowl.verdict for bowl in bowls)
    named = {told: [bowl.label for bowl in bowls if bowl.verdict == told] for told in verdicts}
    told = (f"{told.capitalize()}: {', '.join(names)}" for told, names in named.items())
    return unescape(". ".join(told))  # labels are made for figures, which read HTML


def path_table(bowls: Sequence[Bowl]) -> pd.DataFrame:
    """Every step of every run: `run`, `step`, `w`, `b`, `loss`, `gradient_w`, `gradient_b`.

    A row has the gradient of the step that begins there, so the last has none.
    """
    parts = []
    for bowl in bowls:
        one = bowl.descent
        gradients = torch.full_like(one.parameters, torch.nan)
        gradients[: len(one.gradients)] = one.gradients
        columns = {"run": unescape(bowl.label), "step": np.arange(len(one.losses))}
        columns |= {"w": one.parameters[:, 0], "b": one.parameters[:, 1], "loss": one.losses}
        columns |= {"gradient_w": gradients[:, 0], "gradient_b": gradients[:, 1]}
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def _labels(results: Results, chosen: Sequence[str]) -> list[str]:
    """The runs' settings, as far as they differ or say how the steps are made."""
    runs = results.runs.loc[list(chosen)]
    keys = [key for key in results.setting_keys if runs[key].nunique() > 1 or key == LR]
    return [
        " ".join(value_label(key, row[key], keys) for key in keys) or "the run"
        for row in runs.to_dict("records")
    ]


def _remarks(results: Results, chosen: Sequence[str], descents: Sequence[Descent]) -> list[str]:
    """What else there is to know of these runs."""
    remarks = []
    data = descents[0].data
    if results.seed_keys:
        seed = results.runs.loc[chosen[0], list(results.seed_keys)]
        remarks.append(f"Runs with {', '.join(f'{key}={value}' for key, value in seed.items())}.")
    scaling = data.scaling
    if any(s.ne(1).any() for s in (scaling.input_std, scaling.target_std)):
        remarks.append("Weight and bias are those of the standardized data.")
    bound = rate_bound(results.select(results.runs.index.isin(chosen)))
    if bound is not None and bound.full_batch:
        remarks.append(f"Theory: plain gradient descent diverges beyond lr = {bound.text()}.")
    elsewhere = []
    for run, descent in zip(chosen, descents, strict=True):
        taken = results.curves.loc[results.curves["run"] == run, "step"].max()
        if taken > MOST_STEPS:
            remarks.append(f"Shown are the first {MOST_STEPS} of {taken} steps.")
        elif results.runs.loc[run, "state"] == COMPLETED and not _same_end(Path(run), descent):
            elsewhere.append(run)
    if elsewhere:
        remarks.append(f"Trained again, {len(elsewhere)} of these did not end where they had.")
    return list(dict.fromkeys(remarks))


def _same_end(folder: Path, descent: Descent) -> bool:
    """Whether a replay came to where the run's checkpoint is, if there is one."""
    try:
        learner = load_learner(folder)
    except ConfigError:
        return True
    end = parameters_to_vector(learner.net.parameters()).detach()
    moved = (descent.parameters - descent.parameters[0]).norm(dim=1).max()
    return bool((descent.parameters[-1] - end).norm() <= LOW * moved + 1e-6)
