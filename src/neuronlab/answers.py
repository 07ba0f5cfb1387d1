"""What a trained network says of new inputs, in words that fit the task.

Letters: B rows, D features, K outputs.
"""

from __future__ import annotations

from rich.table import Table
from torch import Tensor

from neuronlab.learner import Learner
from neuronlab.terminal import number, table

Answer = dict[str, float | str]


def answers(learner: Learner, inputs: Tensor) -> list[Answer]:
    """The network's answers, one per row.

    Args:
        learner: A trained learner.
        inputs: Raw features [B, D].

    Returns:
        Per row, by name: the target's value (regression), the probability and the verdict
        (pass/fail), or the class and its probability.
    """
    prediction = learner.ask(inputs).cpu()  # [B, K]
    target, task = learner.hparams["target"], learner.hparams["task"]
    if task == "regression":
        return [{target: value} for value in prediction[:, 0].tolist()]
    if task == "binary":
        return [
            {"probability": p, target: "yes" if p >= 0.5 else "no"}
            for p in prediction[:, 0].tolist()
        ]
    names = learner.hparams["classes"]
    best = prediction.max(dim=1)
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [{target: names[index], "probability": p} for index, p in pairs]


def answers_table(learner: Learner, inputs: Tensor, given: list[Answer]) -> Table:
    """The answers beside the inputs, for the terminal.

    Args:
        learner: The trained learner, which knows the names of its features.
        inputs: Raw features [B, D].
        given: The answers, one per row.
    """
    features = learner.hparams["features"]
    made = table("predictions", *features, *given[0])
    made.columns[0].justify = "right"
    for row, answer in zip(inputs.tolist(), given, strict=True):
        made.add_row(*map(number, row), *map(number, answer.values()))
    return made
