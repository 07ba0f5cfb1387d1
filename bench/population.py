"""A sweep trained as populations, against the other ways to train as many networks.

Workload W: a network 2→16→1 with binary cross-entropy on `data=circle`, 1000 rows to train on in
batches of 100, 50 epochs, so 500 steps; jobs over learning rate × seed × {relu, silu} × {sgd,
adam}; all scalars in each epoch and a checkpoint per run, no histograms.

Each way is a whole process with its children, in turn:

    ours               `python src/train.py -m …`, from the imports to results.csv
    basic, joblib      the same command under Hydra's own launchers, which train run after run
    bare loop          PyTorch alone, run after run; writes, measures and validates nothing
    bare stacked loop  PyTorch alone, all at once as batched matrix products; training only

Hydra's launchers and the bare loop train few jobs and are scaled up; memory is not. Hydra's are
multiplied as they are, which counts imports and the start of a sweep again and again: about a tenth
of what they take with 20 jobs. For the bare loop it would be a third, so its imports count once.
CPU-seconds are user and system time of a process and the children it has waited for; peak memory is
that of the largest among them.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from parts import LRS, ROOT

KINDS = 4  # of activation and optimizer
TRAIN = (
    *("-m", "data=circle", "model.hidden=[16]", "activation=relu,silu", "optimizer=sgd,adam"),
    *("data.rows=1250", "data.split=[0.8,0.1,0.1]", "data.batch_size=100"),
    *("trainer=cpu", "trainer.max_epochs=50", "~callbacks.histograms"),
    f"optimizer.lr={','.join(map(str, LRS))}",
)
MEBI = 2**20


@dataclass(frozen=True)
class Cost:
    """What a process took.

    Attributes:
        cpu: CPU-seconds.
        wall: Seconds.
        memory: Peak memory in bytes, or None where it says nothing.
        printed: The last line that it printed.
    """

    cpu: float
    wall: float | None
    memory: float | None
    printed: str = ""

    def times(self, factor: float) -> Cost:
        """The same for more jobs; memory stays."""
        wall = None if self.wall is None else self.wall * factor
        return replace(self, cpu=self.cpu * factor, wall=wall)


def measure(arguments: Sequence[str]) -> Cost:
    """Runs Python with arguments and measures it.

    Raises:
        SystemExit: If it fails.
    """
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
        )
        # Usage of this child alone: RUSAGE_CHILDREN gives the peak of all so far. A child's peak
        # is never below its parent's at the fork, so nothing heavy is imported here.
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        lines = output.read().decode(errors="replace").splitlines() or [""]
    if process.returncode:
        sys.exit("\n".join([*lines[-15:], f"exit status {process.returncode}: {arguments}"]))
    unit = 1 if sys.platform == "darwin" else 1024
    return Cost(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss * unit, lines[-1])


def sweep(jobs: int, *overrides: str, program: Sequence[str] = ("src/train.py",)) -> Cost:
    """Runs W with a number of jobs in a folder that is removed at once: many runs are many files.

    Args:
        jobs: A multiple of `one_seed()`.
        overrides: Further overrides.
        program: What to run instead of `src/train.py`.
    """
    with tempfile.TemporaryDirectory() as folder:
        seeds = f"seed=range(0,{jobs // one_seed()})"
        place = f"hydra.sweep.dir={folder}/sweep"
        cost = measure([*program, *TRAIN, seeds, *overrides, place])
        finished = sum(1 for _ in Path(folder).glob("sweep/*/status.json"))
    if finished != jobs:
        sys.exit(f"{finished} of {jobs} runs finished: {[*overrides]}")
    return cost


def one_seed() -> int:
    """The number of jobs of one seed."""
    return KINDS * len(LRS)


def others(solo: int, jobs: int) -> dict[str, tuple[str, Cost | None]]:
    """Measures the other ways.

    Args:
        solo: How many runs those train that train run after run.
        jobs: How many all of them are scaled to.

    Returns:
        By name: how many jobs were trained, and what that took; None where it is not installed.
    """
    factor = jobs / solo
    scaled = f"{solo} × {factor:g}"
    tell(f"hydra/launcher=basic, {solo} jobs")
    basic = sweep(solo, "hydra/launcher=basic")
    joblib = None
    if is_installed("hydra_plugins.hydra_joblib_launcher"):
        tell(f"hydra/launcher=joblib, {solo} jobs")
        joblib = sweep(solo, "hydra/launcher=joblib").times(factor)
    tell(f"bare loop, {solo} runs")
    loop = measure(["bench/parts.py", "bare", str(solo)])
    spent = json.loads(loop.printed)
    per_cpu = loop.wall / loop.cpu if loop.wall else 0
    cpu = spent["once"] + factor * (loop.cpu - spent["once"])
    tell(f"bare stacked loop, {jobs} members")
    together = measure(["bench/parts.py", "stacked", str(jobs)])
    alone = Cost(json.loads(together.printed)["runs"], None, together.memory)
    return {
        "`hydra/launcher=basic`": (scaled, basic.times(factor)),
        "`hydra/launcher=joblib`": (scaled, joblib),
        "bare loop": (scaled, Cost(cpu, cpu * per_cpu, loop.memory)),
        "bare stacked loop, training only": (str(jobs), alone),
    }


def is_installed(module: str) -> bool:
    """Whether a module can be imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def tell(text: str) -> None:
    """Says what is being measured, apart from the tables."""
    print(f"measuring: {text}", file=sys.stderr, flush=True)


def print_costs(rows: Sequence[tuple[str, str, int, Cost | None]], ours: Cost, jobs: int) -> None:
    """Prints the table of all ways.

    Args:
        rows: Of each way its name, the jobs as text, how many those are, and what they took.
        ours: What the others are compared with.
        jobs: How many jobs that is of.
    """
    print(f"| | jobs | CPU s | wall s | peak MiB | CPU ms per run | ratio to ours at {jobs} |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name, text, count, cost in rows:
        if cost is None:
            print(f"| {name} | not installed | | | | | |")
            continue
        each = 1000 * cost.cpu / count
        ratio = each / (1000 * ours.cpu / jobs)
        cells = [
            *(name, text, f"{cost.cpu:.1f}"),
            "" if cost.wall is None else f"{cost.wall:.1f}",
            "" if cost.memory is None else f"{cost.memory / MEBI:.0f}",
            *(f"{each:.1f}", f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"),
        ]
        print(f"| {' | '.join(cells)} |")


def print_parts(parts: dict[str, float], jobs: int, stacked: float) -> None:
    """Prints where the time of a sweep of ours goes.

    Args:
        parts: CPU-seconds of each part.
        jobs: The number of jobs.
        stacked: CPU-seconds of the bare stacked loop with as many members.
    """
    print(f"\n| ours at {jobs}, by part | CPU s | CPU ms per run |")
    print("|---|--:|--:|")
    for part, cpu in sorted(parts.items(), key=lambda item: -item[1]):
        print(f"| {part} | {cpu:.2f} | {1000 * cpu / jobs:.2f} |")
    saving = 1000 * (parts["composing"] + parts["saving configs"]) / jobs
    within = ("training", "validation and test", "records", "checkpoints")
    fit = sum(parts[name] for name in within)
    print(
        f"\nTraining is {parts['training'] / stacked:.2f} × the bare stacked loop, "
        f"with validation, records and checkpoints {fit / stacked:.2f} ×.\n"
        f"Per run: composing and saving configs {saving:.2f} ms, records "
        f"{1000 * parts['records'] / jobs:.2f} ms, checkpoint "
        f"{1000 * parts['checkpoints'] / jobs:.2f} ms."
    )


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--jobs", type=int, nargs="+", default=[100, 1000, 10000], help="sizes of our sweeps"
    )
    parser.add_argument("--solo", type=int, default=20, help="jobs of Hydra's launchers")
    parser.add_argument("--quick", action="store_true", help="as --jobs 20 100")
    parser.add_argument("--threads", type=int, help="of every process, for OpenMP; else its own")
    given = parser.parse_args()
    if given.quick:
        given.jobs = [20, 100]
    wrong = [n for n in (*given.jobs, given.solo) if n < 1 or n % one_seed()]
    if wrong:
        parser.error(f"{wrong[0]} jobs: must be a multiple of {one_seed()}, the jobs of one seed")
    return given


def main() -> None:
    """Measures and prints."""
    given = arguments()
    if given.threads:
        os.environ["OMP_NUM_THREADS"] = str(given.threads)
    sizes = sorted(set(given.jobs))
    reference = 1000 if 1000 in sizes else sizes[-1]
    found = others(given.solo, reference)
    ours = {}
    for jobs in sizes:
        tell(f"ours, {jobs} jobs")
        ours[jobs] = sweep(jobs)
    tell(f"ours by part, {reference} jobs")
    parts = sweep(reference, program=("bench/parts.py", "ours"))
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, torch {version('torch')}\n")
    rows = [(name, text, reference, cost) for name, (text, cost) in found.items()]
    rows += [("**ours**, end to end", str(jobs), jobs, cost) for jobs, cost in ours.items()]
    print_costs(rows, ours[reference], reference)
    stacked = found["bare stacked loop, training only"][1]
    assert stacked is not None
    print_parts(json.loads(parts.printed), reference, stacked.cpu)


if __name__ == "__main__":
    main()
