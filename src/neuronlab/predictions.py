"""What a run's network says of every row of its data, kept when the run ends.

Letters: n data rows, K outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter

import lightning.pytorch as pl
import torch

from neuronlab.answers import in_words
from neuronlab.callbacks import ForMany, diverged_at, running
from neuronlab.data import DataModule
from neuronlab.learner import Learner, Runs, eval_mode
from neuronlab.records import csv_lines, replace

PREDICTIONS = "predictions.csv"


class Predictions(ForMany):
    """Writes `predictions.csv`: each row's number, its split, what is true and what was answered.

    The network is shown what training shows it, so that answers to the same rows from outside can
    be held against these.
    """

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes those of the runs that end."""
        assert isinstance(pl_module, Runs)
        diverged = diverged_at(trainer)  # whose networks have nothing to say
        for index, record, last in running(trainer):
            if last and index not in diverged:
                rows = sorted(said_of(*pl_module.one(index)), key=itemgetter("row"))
                replace(record.folder / PREDICTIONS, csv_lines(rows, list(rows[0]), header=True))


def said_of(learner: Learner, data: DataModule) -> Iterator[dict[str, float | str]]:
    """Each row of the data with what the network answers, split by split."""
    table, like = data.table, learner.scaling.input_mean
    numbers = torch.arange(1, len(table.x) + 1) if table.numbers is None else table.numbers
    for name, split in data.kinds_of_rows().items():
        with eval_mode(learner), torch.no_grad():
            prediction = learner.scaling.raw(learner.net(data.rows[split].x.to(like)))  # [n, K]
        part = data.parts[split]
        true = table.y[part].flatten().tolist()
        if table.task != "regression":
            names = table.classes or ("no", "yes")
            true = [names[int(label)] for label in true]
        answered = zip(numbers[part].tolist(), true, in_words(learner, prediction), strict=True)
        for number, value, answer in answered:
            told = {"predicted" if k == table.target else k: v for k, v in answer.items()}
            yield {"row": number, "split": name, "true": value, **told}
