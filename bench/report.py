"""The page of a sweep of 1000 runs: what reading the runs takes, and what all of it takes.

The sweep is trained first, which is not measured: relu and silu, SGD and Adam, five learning rates,
50 seeds, 20 epochs on `data=students`. Everything measured is a whole process: one that only
imports what reads runs, one that also reads them, and `python src/report.py`.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from parts import LRS
from population import KINDS, MEBI, Cost, measure, tell

GRID = (
    *("activation=relu,silu", "optimizer=sgd,adam", f"optimizer.lr={','.join(map(str, LRS))}"),
    *("trainer=cpu", "trainer.max_epochs=20"),
)
IMPORTS = """
import sys
from pathlib import Path
sys.path.insert(0, "src")
from neuronlab.results import read_results
"""
READING = IMPORTS + "print(len(read_results([Path(sys.argv[1])]).runs))"


def compare(sweep: Path, page: Path, repeats: int) -> dict[str, Cost]:
    """Measures each process several times, in turn.

    Args:
        sweep: The folder of the sweep.
        page: Where to write its page.
        repeats: How often each is run.

    Returns:
        Medians, by what was run.
    """
    commands: Mapping[str, Sequence[str]] = {
        "imports alone": ["-c", IMPORTS],
        "imports and reading": ["-c", READING, str(sweep)],
        "**`python src/report.py`**": ["src/report.py", f"sweep={sweep}", f"output={page}"],
    }
    for command in commands.values():
        measure(command)  # files into the page cache, byte code written
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(repeats):
        for name, command in commands.items():
            tell(name)
            costs[name].append(measure(command))
    return {name: _median(some) for name, some in costs.items()}


def _median(costs: Sequence[Cost]) -> Cost:
    cpu, wall, memory = (
        statistics.median(values)
        for values in zip(*((cost.cpu, cost.wall, cost.memory) for cost in costs), strict=True)
    )
    return Cost(cpu, wall, memory, costs[0].printed)


def main() -> None:
    """Trains, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000, help="a multiple of 20")
    parser.add_argument("--repeats", type=int, default=3, help="how often each is run")
    given = parser.parse_args()
    one_seed = KINDS * len(LRS)
    if given.runs < one_seed or given.runs % one_seed:
        parser.error(f"{given.runs} runs: must be a multiple of {one_seed}, those of one seed")
    with tempfile.TemporaryDirectory() as folder:
        sweep, page = Path(folder) / "sweep", Path(folder) / "page.html"
        tell(f"training {given.runs} runs first")
        seeds = f"seed=range(0,{given.runs // one_seed})"
        measure(["src/train.py", "-m", *GRID, seeds, f"hydra.sweep.dir={sweep}"])
        costs = compare(sweep, page, given.repeats)
        size = page.stat().st_size
    read = costs["imports and reading"].printed
    if read != str(given.runs):
        sys.exit(f"{read} of {given.runs} runs were read")
    print(
        f"{os.cpu_count()} cores, Python {platform.python_version()}, pandas {version('pandas')}, "
        f"plotly {version('plotly')}, median of {given.repeats}\n"
    )
    print(f"| report of {given.runs} runs | wall s | CPU s | peak MiB |")
    print("|---|--:|--:|--:|")
    for name, cost in costs.items():
        assert cost.wall is not None
        assert cost.memory is not None
        print(f"| {name} | {cost.wall:.1f} | {cost.cpu:.1f} | {cost.memory / MEBI:.0f} |")
    print(f"\nThe page has {size / 1e6:.1f} MB.")


if __name__ == "__main__":
    main()
