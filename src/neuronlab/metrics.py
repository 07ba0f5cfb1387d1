"""What is measured per task, with torchmetrics: of one network batch by batch, of many at once.

Letters: N members, B batch rows, n data rows, K outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import BinaryAccuracy, BinaryF1Score, MulticlassAccuracy
from torchmetrics.functional.classification import binary_stat_scores, multiclass_stat_scores
from torchmetrics.functional.regression import mean_absolute_error, mean_squared_error, r2_score
from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError, R2Score

from neuronlab.datasets import Task
from neuronlab.scaling import Scaling


def as_measured(
    task: Task, scaling: Scaling, prediction: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:
    """Predictions and targets as metrics take them: values in the target's own units, labels whole.

    Args:
        task: What kind of target it is.
        scaling: What brings standardized values back.
        prediction: Predictions [B, K].
        target: Targets [B, K], or class indices [B].
    """
    if task == "regression":
        return scaling.raw(prediction), scaling.raw(target)
    return prediction, target.long()


def auroc(score: Tensor, target: Tensor) -> Tensor:
    """The area under the ROC curve, for many networks at once.

    It is the share of pairs of a positive and a negative row in which the positive has the higher
    score, ties counting half (Mann and Whitney 1947; Hanley and McNeil 1982). torchmetrics has no
    form that takes many networks in one go. A score that is no number ties with all that are none.

    Args:
        score: Scores [N, n].
        target: 1 for a positive row, 0 for a negative one [N, n]; each row of both kinds.

    Returns:
        [N], in the precision of the scores.
    """
    score = score.nan_to_num(nan=0.0)
    infinity = torch.full_like(score, torch.inf)
    negatives = torch.where(target == 0, score, infinity).sort(dim=1).values.contiguous()
    below = torch.searchsorted(negatives, score)  # [N, n]
    upto = torch.searchsorted(negatives, score, right=True)
    positive = target.sum(dim=1)
    pairs = ((below + upto) * target).sum(dim=1)  # twice the number of pairs in order
    return pairs.to(score) / (2 * positive * (target.shape[1] - positive)).to(score)


class AUROC(Metric):
    """`auroc` of one network, over all its batches."""

    higher_is_better = True
    scores: list[Tensor]
    targets: list[Tensor]

    def __init__(self) -> None:
        """Starts without rows."""
        super().__init__()
        self.add_state("scores", default=[], dist_reduce_fx="cat")
        self.add_state("targets", default=[], dist_reduce_fx="cat")

    def update(self, score: Tensor, target: Tensor) -> None:
        """Takes scores and targets [B, 1]."""
        self.scores.append(score.flatten())
        self.targets.append(target.flatten())

    def compute(self) -> Tensor:
        """The area, a scalar."""
        return auroc(torch.cat(self.scores)[None], torch.cat(self.targets)[None])[0]


def measure_each(
    task: Task, names: Collection[str], prediction: Tensor, target: Tensor
) -> dict[str, Tensor]:
    """What `make_metrics` measures of one network, for many at once.

    Args:
        task: What kind of target it is.
        names: The metrics, without prefix.
        prediction: Predictions of all rows, as `as_measured` gives them, [N, n, K].
        target: Targets [N, n, K], or class indices [N, n].

    Returns:
        By name, [N].
    """
    members, rows = prediction.shape[:2]
    if task == "regression":
        # torchmetrics measures columns: one per member and output, averaged over outputs.
        columns = [v.transpose(0, 1).reshape(rows, -1) for v in (prediction, target)]
        width = columns[0].shape[1]
        functions: dict[str, Any] = {
            "mse": lambda p, t: mean_squared_error(p, t, num_outputs=width),
            "mae": lambda p, t: mean_absolute_error(p, t, num_outputs=width),
            "r2": lambda p, t: r2_score(p, t, multioutput="raw_values"),
        }
        return {name: functions[name](*columns).view(members, -1).mean(dim=1) for name in names}
    how: dict[str, Any] = {"multidim_average": "samplewise", "validate_args": False}
    if task == "binary":
        # Scores of a diverged member are no numbers; torchmetrics would take a sigmoid of all.
        score, label = prediction.nan_to_num(nan=0.0).flatten(1), target.flatten(1)
        counts = binary_stat_scores(score, label, **how)  # [N, 5]
    else:
        score, label = prediction.transpose(1, 2), target  # [N, K, n], as torchmetrics has classes
        counts = multiclass_stat_scores(score, label, score.shape[1], average="micro", **how)
    # Hits and misses as counts, divided in the run's own precision.
    tp, fp, tn, fn, _ = counts.to(prediction.dtype).unbind(dim=1)
    found = {"f1": (2 * tp / (2 * tp + fp + fn)).nan_to_num(nan=0.0)}  # 0 of 0 is 0
    found["accuracy"] = (tp + tn) / rows if task == "binary" else tp / rows
    if "auroc" in names:
        found["auroc"] = auroc(score, label)
    return {name: found[name] for name in names}


def metric_names(task: Task, target: Tensor) -> tuple[str, ...]:
    """The metrics of a task that these targets can carry, in the order of the alphabet.

    R² needs two rows (it divides by their variance), AUROC both classes (it ranks one against the
    other); where the rows have fewer, the metric is left out rather than reported as nonsense.

    Args:
        task: What kind of target it is.
        target: The targets that will be compared with, [n, K] or class indices [n].
    """
    if task == "regression":
        return ("mae", "mse", "r2") if len(target) > 1 else ("mae", "mse")
    if task == "binary":
        both = bool(target.min() != target.max())
        return ("accuracy", "auroc", "f1") if both else ("accuracy", "f1")
    return ("accuracy",)


def make_metrics(task: Task, target: Tensor, out_features: int, prefix: str) -> MetricCollection:
    """The metrics of `metric_names`, for one network.

    Args:
        task: What kind of target it is.
        target: The targets that will be compared with, [n, K] or class indices [n].
        out_features: K, the number of outputs.
        prefix: What precedes the names, as `val/`.
    """
    # Validation is off: our own data need none, and it refuses the NaN of a diverged run.
    makers: dict[str, Callable[[], Metric]] = {
        "mse": MeanSquaredError,
        "mae": MeanAbsoluteError,
        "r2": R2Score,
        "accuracy": lambda: BinaryAccuracy(validate_args=False),
        "f1": lambda: BinaryF1Score(validate_args=False),
        "auroc": AUROC,
    }
    if task == "multiclass":
        makers["accuracy"] = lambda: MulticlassAccuracy(
            out_features, average="micro", validate_args=False
        )
    names = metric_names(task, target)
    return MetricCollection({name: makers[name]() for name in names}, prefix=prefix)
