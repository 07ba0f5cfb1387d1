"""What a trained network says of new inputs, in words that fit the task.

Letters: B rows, C columns, K outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table
from torch import Tensor

from neuronlab.learner import Learner
from neuronlab.terminal import number, table

Answer = dict[str, float | str]


def answers(learner: Learner, inputs: Tensor) -> list[Answer]:
    """The network's answers, one per row.

    Args:
        learner: A trained learner.
        inputs: The columns [B, C].
    """
    return in_words(learner, learner.ask(inputs))


def in_words(learner: Learner, prediction: Tensor) -> list[Answer]:
    """What predictions say, one answer per row.

    Args:
        learner: Whose they are.
        prediction: In the target's own units [B, K].

    Returns:
        Per row, by name: the target's value (regression), the probability and the verdict
        (pass/fail), or the class and its probability.
    """
    prediction = prediction.cpu()
    target, task = learner.hparams["target"], learner.hparams["task"]
    if task == "regression":
        return [{target: value} for value in prediction[:, 0].tolist()]
    names = learner.hparams["classes"]
    if task == "binary":
        no, yes = names or ("no", "yes")
        chance = _chance(f"P({yes})" if names else "probability", target)
        return [{chance: p, target: yes if p >= 0.5 else no} for p in prediction[:, 0].tolist()]
    best = prediction.max(dim=1)
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    chance = _chance("probability", target)
    return [{target: names[index], chance: p} for index, p in pairs]


def _chance(name: str, target: str) -> str:
    """What to call a probability, if need be otherwise than the target."""
    return f"{name} of {target}" if name == target else name


def answers_table(rows: Sequence[Mapping[str, object]]) -> Table:
    """Rows with their answers, for the terminal.

    Args:
        rows: Each row's values by name; one or more.
    """
    made = table("predictions", *rows[0])
    made.columns[0].justify = "right"
    for row in rows:
        made.add_row(*("" if value is None else number(value) for value in row.values()))
    return made
