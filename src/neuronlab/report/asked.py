"""A run's rows with what its network answers.

Letters: n data rows, K outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from neuronlab.data import DataModule
from neuronlab.datasets import Table
from neuronlab.learner import Learner
from neuronlab.pictures import predicted

ANSWERS = ("rows", "rule", "prediction", "probability")
MOST_POINTS = 1500  # of each split; more would only cover each other


@dataclass(frozen=True)
class Fit:
    """A run's network and its data.

    Attributes:
        run: The run's folder.
        learner: The network, as the run left it.
        data: What it learned from.
        passed_over: What kept runs that are better (or worse) from being drawn, by their folders.
    """

    run: str
    learner: Learner
    data: DataModule
    passed_over: dict[str, str]


def asked(fit: Fit) -> pd.DataFrame:
    """The rows with what the network answers, in the data's own units.

    Returns:
        `rows` (train, val, test; or all), the columns, the target, `rule` (what the rule that made
        the data says of it, where there is one), and the `prediction`: a value, the probability of
        a pass, or a class, then with the `probability` that its own class was given.
    """
    table, parts = fit.data.table, []
    for name, split in fit.data.kinds_of_rows().items():
        chosen = fit.data.parts[split]
        answers = torch.as_tensor(predicted(fit.learner, fit.data.x[chosen]))  # [n, K]
        true = table.y[chosen]
        part = _columns(table, chosen)
        part.insert(0, "rows", name)
        if table.task == "multiclass":
            names = np.array(table.classes)
            part[column_of(table.target)] = names[true.numpy()]
            part["prediction"] = names[answers.argmax(dim=1).numpy()]
            part["probability"] = answers.gather(1, true[:, None])[:, 0].numpy()
        else:
            part[column_of(table.target)] = true[:, 0].numpy()
            if table.truth is not None:
                part["rule"] = table.truth[chosen][:, 0].numpy()
            part["prediction"] = answers[:, 0].numpy()
        parts.append(part.iloc[:: -(-len(part) // MOST_POINTS)])
    return pd.concat(parts, ignore_index=True)


def column_of(name: str) -> str:
    """What a column of the data is called beside the answers."""
    return f"{name} (column)" if name in ANSWERS else name


def _columns(table: Table, chosen: Tensor) -> pd.DataFrame:
    """Some rows of a table as they were read, under names that leave room for the answers."""
    columns = {}
    for name, values in zip(table.columns, table.x[chosen].T, strict=True):
        texts = table.categories.get(name)
        codes = values.nan_to_num(-1).long().tolist() if texts else []
        cells = [texts[code] if code >= 0 else "" for code in codes] if texts else values.numpy()
        columns[column_of(name)] = cells
    return pd.DataFrame(columns)
