"""What bench/population.py runs in processes of their own, to measure them from inside.

    python bench/parts.py bare RUNS          a plain PyTorch loop, one network after the other
    python bench/parts.py stacked MEMBERS    one loop for all, in batched matrix products
    python bench/parts.py ours OVERRIDE ...  `python src/train.py OVERRIDE ...`, part by part

Each prints CPU-seconds as one line of JSON, the last line of its output. Both loops are the least
that workload W can cost: no files, no measures, no validation.

Letters: N members, S seeds among them, B batch rows, n data rows, H hidden.
"""

from __future__ import annotations

import functools
import itertools
import json
import runpy
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ROWS, BATCH, EPOCHS, HIDDEN = 1000, 100, 50, 16  # workload W: 500 steps
LRS = (0.003, 0.01, 0.03, 0.1, 0.3)


def bare(runs: int) -> dict[str, float]:
    """Trains networks one after the other.

    Returns:
        The CPU time of the runs, and `once`, what a process needs that trains any number: imports,
        and a first run that makes torch load the rest of itself.
    """
    import torch
    from torch import nn

    def train(seed: int, activation: type[nn.Module], optimizer: Any, lr: float) -> None:
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(ROWS, 2, generator=generator)
        y = (x.norm(dim=1, keepdim=True) < 1).float()
        net = nn.Sequential(nn.Linear(2, HIDDEN), activation(), nn.Linear(HIDDEN, 1))
        rule = optimizer(net.parameters(), lr=lr)
        for _ in range(EPOCHS):
            for rows in torch.randperm(ROWS, generator=generator).split(BATCH):
                logit = net(x.index_select(0, rows))
                target = y.index_select(0, rows)
                loss = nn.functional.binary_cross_entropy_with_logits(logit, target)
                rule.zero_grad()
                loss.backward()
                rule.step()

    kinds = itertools.product((nn.ReLU, nn.SiLU), (torch.optim.SGD, torch.optim.Adam), LRS)
    train(0, nn.ReLU, torch.optim.Adam, 0.01)
    once = time.process_time()
    for seed, kind in enumerate(itertools.islice(itertools.cycle(kinds), runs)):
        train(seed, *kind)
    return {"runs": time.process_time() - once, "once": once}


def stacked(members: int) -> dict[str, float]:
    """Trains networks together: a stack for each activation and optimizer, one rate for all.

    Every member has its own batches. As among the jobs of W, those that differ in their learning
    rates alone share them, so the loop draws as many as W does.

    Returns:
        The CPU time of the loops alone.
    """
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits, relu, silu

    def train(count: int, activation: Any, optimizer: Any, epochs: int) -> None:
        seeds = max(1, count // len(LRS))
        x = torch.randn(seeds * ROWS, 2)
        y = (x.norm(dim=1, keepdim=True) < 1).float()
        seed_of = torch.arange(count) % seeds  # [N]
        shapes = ((2, HIDDEN), (1, HIDDEN), (HIDDEN, 1), (1, 1))
        weights = [torch.randn(count, *shape).div_(4).requires_grad_() for shape in shapes]
        w1, b1, w2, b2 = weights
        rule = optimizer(weights, lr=0.01)
        for _ in range(epochs):
            order = torch.stack([torch.randperm(ROWS) for _ in range(seeds)])  # [S, n]
            own = (order + ROWS * torch.arange(seeds)[:, None]).index_select(0, seed_of)  # [N, n]
            for rows in own.split(BATCH, dim=1):
                flat = rows.reshape(-1)  # [N·B]
                hidden = torch.baddbmm(b1, x.index_select(0, flat).view(count, BATCH, 2), w1)
                logit = torch.baddbmm(b2, activation(hidden), w2)  # [N, B, 1]
                target = y.index_select(0, flat).view_as(logit)
                losses = binary_cross_entropy_with_logits(logit, target, reduction="none")
                rule.zero_grad()
                losses.mean(dim=(1, 2)).sum().backward()
                rule.step()

    kinds = list(itertools.product((relu, silu), (torch.optim.SGD, torch.optim.Adam)))
    train(2, relu, torch.optim.Adam, epochs=1)
    start = time.process_time()
    for kind in kinds:
        train(members // len(kinds), *kind, epochs=EPOCHS)
    return {"runs": time.process_time() - start}


class Clock:
    """CPU time by part; what is called inside a part and is one itself, is not the outer's.

    Attributes:
        spent: CPU-seconds of each part.
    """

    def __init__(self, rest: str) -> None:
        """Starts with the time before; `rest` is what belongs to no part."""
        self.spent: defaultdict[str, float] = defaultdict(float)
        self._parts = [rest]
        self._since = 0.0  # process_time counts from the process's start

    def switch(self) -> None:
        """Books the time since the last switch."""
        now = time.process_time()
        self.spent[self._parts[-1]] += now - self._since
        self._since = now

    def watch(self, owner: Any, name: str, part: str) -> None:
        """Books the calls of a method, or of a function of a module."""
        called: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(called)
        def booked(*args: Any, **kwargs: Any) -> Any:
            self.switch()
            self._parts.append(part)
            try:
                return called(*args, **kwargs)
            finally:
                self.switch()
                self._parts.pop()

        setattr(owner, name, booked)


def ours(overrides: list[str]) -> dict[str, float]:
    """Runs a sweep as `python src/train.py` does.

    Returns:
        The CPU time of each of its parts.
    """
    sys.path.insert(0, str(ROOT / "src"))
    clock = Clock("imports, progress bar, the rest")
    import lightning.pytorch as pl
    from lightning.pytorch.loops.evaluation_loop import _EvaluationLoop

    from hydra_plugins.neuronlab_population import Composer, Job
    from neuronlab import learners, population, records, sweep

    watched: dict[str, list[tuple[Any, str]]] = {
        "composing": [(Composer, "compose")],
        "saving configs": [(Job, "save")],
        "checking the grid": [(sweep, "check_jobs")],
        "data, initial weights, stacking": [(population, "_train_cohort")],
        "training": [(pl.Trainer, "fit")],
        "validation and test": [(pl.Trainer, "test"), (_EvaluationLoop, "run")],
        "records": [
            *((records.Record, name) for name in ("__init__", "finish")),
            *((learners.Population, name) for name in ("on_train_epoch_end", "on_test_end")),
        ],
        "checkpoints": [(pl.Trainer, "save_checkpoint")],
        "closing table, results.csv": [(sweep, "close_sweep")],
    }
    for part, calls in watched.items():
        for owner, name in calls:
            clock.watch(owner, name, part)
    sys.argv = ["src/train.py", *overrides]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    clock.switch()
    return dict(clock.spent)


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    if what == "ours":
        found = ours(arguments)
    else:
        found = {"bare": bare, "stacked": stacked}[what](int(arguments[0]))
    print(json.dumps(found))
