"""A cold `python src/train.py` against the least that such a run could cost.

The least: a fresh Python that imports torch, Lightning and Hydra and fits the same network on data
of the same shape under a bare Trainer, without logger, checkpoint, or progress bar. Both are
whole processes, run in turn, so that a busy machine disturbs both alike.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]

BARE = """
import hydra, lightning.pytorch as pl, torch, warnings
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

warnings.filterwarnings("ignore")

class Bare(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 1)
        )

    def training_step(self, batch, index):
        x, y = batch
        return nn.functional.binary_cross_entropy_with_logits(self.net(x), y)

    def validation_step(self, batch, index):
        x, y = batch
        self.log("val/loss", nn.functional.binary_cross_entropy_with_logits(self.net(x), y))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

def rows(n, **how):
    x = torch.randn(n, 4)
    return DataLoader(TensorDataset(x, (x.sum(1, keepdim=True) > 0).float()), 100, **how)

trainer = pl.Trainer(
    max_epochs=50, accelerator="cpu", logger=False, enable_checkpointing=False,
    enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
)
trainer.fit(Bare(), rows(1000, shuffle=True), rows(125))
"""


def measure(command: list[str]) -> tuple[float, float]:
    """Runs a process; returns its wall time and its CPU time, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measures both in turn and prints medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="how often each is run")
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        commands = {
            "bare imports and fit": [sys.executable, "-c", BARE],
            "python src/train.py": [
                *(sys.executable, "src/train.py", "trainer=cpu"),
                f"hydra.run.dir={folder}/run",
            ],
        }
        for command in commands.values():
            measure(command)  # files into the page cache, byte code written
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(repeats):
            for name, command in commands.items():
                times[name].append(measure(command))
    medians = {
        name: [statistics.median(column) for column in zip(*pairs, strict=True)]
        for name, pairs in times.items()
    }
    print(f"median of {repeats}, {os.cpu_count()} cores     wall s   CPU s")
    for name, (wall, cpu) in medians.items():
        print(f"{name:<24} {wall:10.2f} {cpu:7.2f}")
    bare, ours = medians.values()
    print(f"{'ratio':<24} {ours[0] / bare[0]:10.2f} {ours[1] / bare[1]:7.2f}")


if __name__ == "__main__":
    main()
