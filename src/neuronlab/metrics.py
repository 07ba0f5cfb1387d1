"""What is measured per task, with torchmetrics.

Letters: B batch rows, n data rows, K outputs.
"""

from __future__ import annotations

from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryAUROC,
    BinaryF1Score,
    MulticlassAccuracy,
)
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


def make_metrics(task: Task, target: Tensor, out_features: int, prefix: str) -> MetricCollection:
    """The metrics of a task that these targets can carry.

    R² needs two rows (it divides by their variance), AUROC both classes (it ranks one against the
    other); where the rows have fewer, the metric is left out rather than reported as nonsense.

    Args:
        task: What kind of target it is.
        target: The targets that will be compared with, [n, K] or class indices [n].
        out_features: K, the number of outputs.
        prefix: What precedes the names, as `val/`.
    """
    # Validation is off: our own data need none, and it refuses the NaN of a diverged run.
    metrics: dict[str, Metric] = {}
    if task == "regression":
        metrics = {"mse": MeanSquaredError(), "mae": MeanAbsoluteError()}
        if len(target) > 1:
            metrics["r2"] = R2Score()
    elif task == "binary":
        metrics = {
            "accuracy": BinaryAccuracy(validate_args=False),
            "f1": BinaryF1Score(validate_args=False),
        }
        if target.min() != target.max():
            metrics["auroc"] = BinaryAUROC(validate_args=False)
    else:
        accuracy = MulticlassAccuracy(out_features, average="micro", validate_args=False)
        metrics = {"accuracy": accuracy}
    return MetricCollection(dict(metrics), prefix=prefix)
