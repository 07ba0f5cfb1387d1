"""Kills a sweep again and again, and looks whether anything was lost or trained twice.

    python bench/kill.py --runs 300 --kills 10 --seed 0

One sweep runs undisturbed. A second one, with the same overrides, is killed (SIGKILL, to its whole
process group) at a random moment and started again with the same command, as often as asked. Every
third kill is aimed: it waits until a run ends and strikes within the next 100 ms, while the records
of a cohort are written, which random moments would hardly ever hit. In the end both sweeps must be
equal to the last bit. Exit status 1 if they are not.

Arguments after `--` are further overrides, for both.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
KINDS = 12  # of activation, optimizer and learning rate
SWEEP = (
    *("src/train.py", "-m", "data=circle", "model.hidden=[16]", "trainer=cpu"),
    *("data.rows=1250", "data.split=[0.8,0.1,0.1]", "data.batch_size=100"),
    *("activation=relu,silu", "optimizer=sgd,adam", "optimizer.lr=0.01,0.03,0.1"),
)
AIMED = 3  # every how many-th kill waits for a run to end
Stamps = dict[str, tuple[int, int]]  # inode and time of each run's status.json, by folder


@contextmanager
def started(folder: Path, overrides: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Starts the sweep, and kills it on leaving; what it prints goes to `<folder>.log`."""
    with open(f"{folder}.log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, *SWEEP, *overrides, f"hydra.sweep.dir={folder}"],
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a process group of its own, to be killed as one
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def undisturbed(folder: Path, overrides: Sequence[str]) -> float:
    """Runs the sweep to its end; returns the seconds that it took.

    Raises:
        SystemExit: If it failed.
    """
    began = time.monotonic()
    with started(folder, overrides) as process:
        status = process.wait()
    if status:
        lines = Path(f"{folder}.log").read_text().splitlines()
        sys.exit("\n".join([*lines[-15:], f"exit status {status}"]))
    return time.monotonic() - began


def stamps(folder: Path) -> Stamps:
    """The runs that are over: a run that trains again gets a new `status.json`."""
    found = {path: path.stat() for path in folder.glob("*/status.json")}
    return {path.parent.name: (s.st_ino, s.st_mtime_ns) for path, s in found.items()}


def strike(folder: Path, overrides: Sequence[str], moment: float, aimed: bool) -> float | None:
    """Starts the sweep and kills it.

    Args:
        folder: The sweep's folder.
        overrides: Its overrides.
        moment: Seconds until the kill; if it is aimed, after a run has ended.
        aimed: Whether to wait for the end of a run.

    Returns:
        When it was killed, in seconds after it began, or None if it came to its end before.
    """
    began = time.monotonic()
    before = stamps(folder)
    with started(folder, overrides) as process:
        while aimed and process.poll() is None and stamps(folder).keys() <= before.keys():
            time.sleep(0.002)
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            return time.monotonic() - began
    return None


def kill_often(
    folder: Path, overrides: Sequence[str], kills: int, runs: int, seconds: float
) -> Stamps:
    """Kills the sweep again and again, at moments spread over half of the time that it takes.

    Args:
        folder: The sweep's folder.
        overrides: Its overrides.
        kills: How often.
        runs: How many runs it has.
        seconds: What it takes undisturbed.

    Returns:
        For each run that was over at a kill, its stamp at the first one.
    """
    over: Stamps = {}
    done = 0
    while done < kills:
        aimed = done % AIMED == AIMED - 1 and len(over) < runs
        # Half of the time at most, or the first kill might come when nothing is left to do.
        moment = random.uniform(0, 0.1 if aimed else seconds / 2)
        began = time.monotonic()
        killed = strike(folder, overrides, moment, aimed)
        now = stamps(folder)
        over = now | over
        if killed is None:  # less is left to do than before; the next moment is drawn from that
            seconds = time.monotonic() - began
            print(f"  it ends by itself after {seconds:.1f} s, before the moment of its kill")
            continue
        done += 1
        begun = sum(1 for _ in folder.glob("*/.hydra/config.yaml"))
        print(
            f"  kill {done} {'while runs end' if aimed else 'at random'} after {killed:.1f} s: "
            f"{begun} of {runs} runs have begun, {len(now)} are over",
            flush=True,
        )
    return over


def problems(calm: Path, killed: Path, over: Stamps, runs: int) -> Iterator[str]:
    """Everything in which the sweep that was killed is not as the undisturbed one.

    Args:
        calm: The undisturbed sweep.
        killed: The other.
        over: The runs that were over at a kill, with their stamps then.
        runs: How many runs there are.
    """
    ours, theirs = ((folder / "results.csv").read_text() for folder in (killed, calm))
    if ours != theirs:
        lines = sum((Counter(ours.splitlines()) - Counter(theirs.splitlines())).values())
        yield f"results.csv: {lines} lines differ" if lines else "results.csv: other order of lines"
    for one, other in ((calm, killed), (killed, calm)):
        for name in sorted(names(one) - names(other)):
            yield f"{name}: only in the sweep {one.name}, or more often"
    states = {path.parent.name: read(path)["state"] for path in killed.glob("*/status.json")}
    for run, state in states.items():
        if state != "completed":
            yield f"{run}: {state}"
    if len(states) != runs:
        yield f"{len(states)} runs are over, not {runs}"
    now = stamps(killed)
    for run in sorted(over):
        if now.get(run) != over[run]:
            yield f"{run}: trained again after it was complete"
    for path in sorted(calm.glob("*/metrics.csv")):
        twin = killed / path.relative_to(calm)
        if twin.exists() and twin.read_bytes() != path.read_bytes():
            yield f"{path.parent.name}/metrics.csv: {difference(path, twin)}"
    for path in sorted(calm.glob("*/status.json")):
        twin = killed / path.relative_to(calm)
        if twin.exists() and without_time(path) != without_time(twin):
            yield f"{path.parent.name}/status.json: differs"


def names(folder: Path) -> Counter[str]:
    """All files of a sweep, those of TensorBoard without the time in their names."""
    files = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    return Counter(re.sub(r"(?<=events\.out\.tfevents)\..*", "", name) for name in files)


def read(path: Path) -> dict[str, object]:
    """The content of a JSON file."""
    content: dict[str, object] = json.loads(path.read_text())
    return content


def without_time(path: Path) -> dict[str, object]:
    """A `status.json` without how long the run took."""
    return {key: value for key, value in read(path).items() if key != "seconds"}


def difference(one: Path, other: Path) -> str:
    """The largest relative difference between two files of numbers, and where they first differ."""
    with one.open(newline="") as first, other.open(newline="") as second:
        rows, twins = list(csv.DictReader(first)), list(csv.DictReader(second))
    if len(rows) != len(twins) or rows[0].keys() != twins[0].keys():
        return f"{len(rows)} and {len(twins)} rows, or other columns"
    largest, column, first_row = 0.0, "", None
    for row, twin in zip(rows, twins, strict=True):
        for key in row:
            a, b = float(row[key]), float(twin[key])
            if row[key] != twin[key]:
                first_row = first_row or f"epoch {row['epoch']}"
                relative = abs(a - b) / max(abs(a), abs(b))
                largest, column = max((largest, column), (relative, key))
    return f"differs from {first_row} on, by {largest:.1e} relative at most ({column})"


def main() -> int:
    """Runs both sweeps and compares them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=300, help=f"a multiple of {KINDS}")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--epochs", type=int, default=50, help="of each run")
    parser.add_argument("overrides", nargs="*", help="further overrides of both sweeps")
    given = parser.parse_args()
    if given.runs < KINDS or given.runs % KINDS:
        parser.error(f"--runs {given.runs}: must be a multiple of {KINDS}")
    random.seed(given.seed)
    seeds = f"seed=range(0,{given.runs // KINDS})"
    overrides = [seeds, f"trainer.max_epochs={given.epochs}", *given.overrides]
    with tempfile.TemporaryDirectory() as place:
        calm, killed = Path(place) / "undisturbed", Path(place) / "killed"
        print(f"{given.runs} runs, undisturbed:", flush=True)
        seconds = undisturbed(calm, overrides)
        print(f"  {seconds:.1f} s\nthe same, killed {given.kills} times:", flush=True)
        over = kill_often(killed, overrides, given.kills, given.runs, seconds)
        last = undisturbed(killed, overrides)
        print(f"  the last time it ends by itself, after {last:.1f} s")
        found = list(problems(calm, killed, over, given.runs))
        for problem in found[:20]:
            print(f"  {problem}")
        if found:
            print(f"failed: {len(found)} differences to the undisturbed sweep")
            return 1
    print(
        f"all {given.runs} runs completed once; results.csv and every metrics.csv are equal to the "
        "undisturbed sweep's, byte by byte; no drafts are left"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
