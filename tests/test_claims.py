"""Verdicts come from the runs alone: for each shipped claim, sweeps in which it holds and fails.

No sweep of the table was trained: their numbers are made up, and networks get their weights by
hand. One that was trained closes the file.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CONF, Config, compose_run, run_sweep
from hypothesis import assume, given
from hypothesis import strategies as st
from made_up import NAN, Values, leave_network, made_up, seeded, untrained
from numpy.random import Generator
from rich.console import Console

from neuronlab import evidence
from neuronlab.claims import (
    LEVEL,
    Claim,
    Judgement,
    decide,
    in_words,
    judge,
    read_claims,
    region,
    verdict_table,
)
from neuronlab.claims import Test as ClaimTest  # pytest would collect a class that is called so
from neuronlab.errors import ArgumentError, ConfigError
from neuronlab.evidence import Observed
from neuronlab.results import Results, read_results
from neuronlab.statistics import Estimate
from neuronlab.theory import least_squares

Sweep = Callable[[Path], Results]  # made up, in a folder that may hold networks
S, R, N = "supported", "refuted", "not settled"


@functools.cache
def composed(experiment: str, *overrides: str) -> Config:
    return compose_run(f"experiment={experiment}", "trainer=cpu", *overrides)[0]


@functools.cache
def claims_of(experiment: str) -> dict[str, Claim]:
    return read_claims(composed(experiment))


# --- sweeps, each a function of what is to be true in it -----------------------------------------


def gradients(factors: Mapping[str, float], seeds: int = 20, sd: float = 0.1) -> Sweep:
    """Gradients that end as so many times what they began with, with noise of so many e-folds."""

    def row(run: Values, rng: Generator) -> dict[str, Any]:
        change = factors[run["data"]] * math.exp(sd * rng.normal())
        first, second = rng.uniform(0.1, 1, size=2)
        return {
            "train/loss": [1.0, 0.4],
            "val/loss": 0.5,
            "gradient_norm/layer1.weight": [first, first * change],
            "gradient_norm/layer1.bias": [second, second * change],
        }

    grid = {"data": ["sketches", "sine", "students"], "seed": range(seeds)}
    return lambda place: made_up(grid, row, place)


ALL_DATA = ("sketches", "sine", "students")
BOUND = 0.0293  # 2/λmax of the line's data


def rates(overshoots: float, crawls: float, seeds: int = 10, sd: float = 0.1) -> Sweep:
    """Runs that are lost beyond so many times the bound; what the smallest rate leaves over."""

    def row(run: Values, rng: Generator) -> dict[str, Any]:
        lr = run["optimizer.lr"]
        left = 0.25 * math.exp(sd * rng.normal()) * (crawls if lr == 1e-4 else 1)
        losses = {"train/loss": [1.0, 2.0], "val/loss": 0.5, "test/loss": left, "lr": lr}
        if lr <= overshoots * BOUND:
            return losses
        return {**losses, "val/loss": 3.0, "state": "diverged" if lr > 0.3 else "completed"}

    grid = {"optimizer.lr": log_spaced(1e-4, 1, 17), "seed": range(seeds)}
    return lambda place: with_network(made_up(grid, row, place), "learning_rate")


def log_spaced(first: float, last: float, count: int) -> list[float]:
    return [float(f"{value:.3g}") for value in np.geomspace(first, last, count)]


def with_network(results: Results, experiment: str) -> Results:
    """Leaves a network in each run's folder, for theory to see what it was to train: the same."""
    (place,) = results.folders
    leave_network(place / "same", untrained(composed(experiment))[1])
    for run in results.runs.index:
        Path(run).symlink_to(place / "same")
    return results


def one_step(below: float, beyond: float, seeds: int = 450) -> Sweep:
    """Neurons of which one step lowers so many losses, below the bound and beyond."""

    def row(run: Values, rng: Generator) -> dict[str, Any]:
        share = below if run["optimizer.lr"] < BOUND else beyond
        after = 0.5 if run["seed"] < share * seeds else 2.0
        return {"train/loss": [1.0], "val/loss": [after], "lr": run["optimizer.lr"]}

    grid = {"optimizer.lr": [0.01, 0.1], "seed": range(seeds)}
    return lambda place: with_network(made_up(grid, row, place), "one_step")


def lines(
    slope: float = 2,
    intercept: float = 1,
    off: Sequence[float] = (0, 0),
    seeds: int = 6,
    sd: float = 0.002,
) -> Sweep:
    """Neurons that come to lie off the best line by so much, with noise of their own."""
    grid = {"trainer.max_epochs": [200, 2000], "seed": range(seeds)}

    def sweep(place: Path) -> Results:
        results = made_up(grid, lambda run, rng: {"val/loss": 0.25}, place)
        truth = {"slope": slope, "intercept": intercept, "noise": 0.1}
        for run, seed in results.runs["seed"].items():
            data, learner = untrained(seeded(composed("linear_neuron"), seed, **truth))
            rng = np.random.default_rng(seed)
            best = least_squares(data.rows["train"].x, data.rows["train"].y)
            weight, bias = learner.net.parameters()
            weight.fill_(best.weights[0] + off[0] + sd * rng.normal())
            bias.fill_(best.bias + off[1] + sd * rng.normal())
            leave_network(str(run), learner)
        return results

    return sweep


def best_rates(best: float, decades: float = 0.0, seeds: int = 10) -> Sweep:
    """Seven optimizers whose best rate is this one, or in every other seed so much above it."""
    optimizers = ("sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "adagrad")
    grid = {
        "optimizer": optimizers,
        "optimizer.lr": log_spaced(1e-5, 10, 13),
        "seed": range(seeds),
    }

    def row(run: Values, rng: Generator) -> dict[str, Any]:
        center = math.log10(best) + decades * (run["seed"] % 2)
        distance = abs(math.log10(run["optimizer.lr"]) - center)
        if distance > 4:
            return {"state": "diverged", "val/loss": NAN}
        return {"val/loss": 0.3 + 0.1 * distance + 0.02 * rng.uniform()}

    return lambda place: made_up(grid, row, place)


def silu(ratio: float, sd: float = 0.1, seeds: int = 20) -> Sweep:
    """SiLU's losses as so many times ReLU's."""
    grid = {
        "activation": ["relu", "silu"],
        "data": ["students", "sine", "blobs"],
        "optimizer.lr": [0.001, 0.003, 0.01, 0.03],
        "seed": range(seeds),
    }

    def row(run: Values, rng: Generator) -> dict[str, Any]:
        loss = 0.3 * math.exp(sd * rng.normal()) * (ratio if run["activation"] == "silu" else 1)
        return {"val/loss": loss * math.exp(0.1 * rng.normal()), "test/loss": loss}

    return lambda place: made_up(grid, row, place)


TRUE_WEIGHTS = (0.9, 0.6, 0.3, 0.8)


def neurons(weights: Sequence[float], sd: float = 0.01, seeds: int = 60) -> Sweep:
    """Restaurant neurons with these weights, and noise."""

    def sweep(place: Path) -> Results:
        results = made_up({"seed": range(seeds)}, lambda run, rng: {"val/loss": 0.2}, place)
        learner = untrained(composed("restaurant"))[1]
        for run, seed in results.runs["seed"].items():
            noisy = 5 * (np.array(weights) + sd * np.random.default_rng(seed).normal(size=4))
            next(learner.net.parameters()).copy_(torch.tensor(noisy))
            leave_network(str(run), learner)
        return results

    return sweep


Losses = Callable[[int], float]  # from the number of a rate, counted from the smallest, to a loss


def stability(adam: Losses, sgd: Losses, sd: float = 0.01, seeds: int = 20) -> Sweep:
    """Losses over nine rates; training starts from a loss of 1, above 5 it is said to diverge."""
    steps = log_spaced(1e-3, 10, 9)
    grid = {"optimizer": ["sgd", "adam"], "optimizer.lr": steps, "seed": range(seeds)}

    def row(run: Values, rng: Generator) -> dict[str, Any]:
        loss = {"adam": adam, "sgd": sgd}[run["optimizer"]](steps.index(run["optimizer.lr"]))
        loss *= math.exp(sd * rng.normal())
        state = "diverged" if loss > 5 else "completed"
        return {"train/loss": [1.0, loss], "val/loss": NAN if loss > 5 else loss, "state": state}

    return lambda place: made_up(grid, row, place)


def steady(rate: int) -> float:
    """Falls at every rate, and little depends on it."""
    return 0.3 + 0.02 * rate


def bursting(rate: int) -> float:
    """Falls at small rates, and diverges at large ones."""
    return 0.3 + 0.05 * rate if rate < 6 else 10.0


def steep(rate: int) -> float:
    """Falls at every rate, to losses that differ by orders of magnitude."""
    return 0.9 * 0.5**rate


def late(rate: int) -> float:
    """Alike at all rates; at the largest a little more than where training began."""
    return 0.9 if rate < 8 else 1.2


def straight(
    without: Mapping[str, float],
    added: Mapping[str, float],
    activation: str = "identity",
    seeds: int = 10,
    sd: float = 0.02,
) -> Sweep:
    """Accuracies without activation, what ReLU adds to them, and what those without really have."""
    grid = {"activation": ["identity", "relu"], "data": ["circle", "xor"], "seed": range(seeds)}

    def row(run: Values, rng: Generator) -> dict[str, Any]:
        more = added[run["data"]] if run["activation"] == "relu" else 0
        return {"test/accuracy": without[run["data"]] + more + sd * rng.normal()}

    def sweep(place: Path) -> Results:
        results = made_up(grid, row, place)
        config = composed("straight_lines", "data=circle", f"activation={activation}")
        for run in results.runs.index[results.runs["activation"] == "identity"]:
            seed = results.runs.loc[run, "seed"]
            leave_network(run, untrained(seeded(config, seed, rows=20, batch_size=16))[1])
        return results

    return sweep


def vanishing(ratios: Mapping[str, float], seeds: int = 10, sd: float = 0.3) -> Sweep:
    """First gradients of ten layers over those of one, by activation."""
    sizes = [[8] * layers for layers in (1, 5, 10)]
    texts = [str(size).replace(" ", "") for size in sizes]
    grid = {"activation": list(ratios), "model.hidden": texts, "seed": range(seeds)}

    def row(run: Values, rng: Generator) -> dict[str, Any]:
        layers = run["model.hidden"].count("8")
        gradient = ratios[run["activation"]] ** ((layers - 1) / 9) * math.exp(sd * rng.normal())
        # What comes later says nothing: the claim is about the first.
        return {"gradient_norm/layer1.weight": [0.1 * gradient, rng.uniform()], "val/loss": 0.5}

    return lambda place: made_up(grid, row, place)


# --- the table: experiment, claim, what is true in a sweep, the sweep, what each test must say ----

HALF = dict.fromkeys(ALL_DATA, 0.5)
GUESSING, MUCH = {"circle": 0.5, "xor": 0.5}, {"circle": 0.45, "xor": 0.45}
DEEP = {"sigmoid": 1e-6, "tanh": 1e-3, "relu": 0.4, "silu": 1e-4}
Case = tuple[str, str, str, Sweep, Sequence[str | None]]
CASES: list[Case] = [
    *(
        ("gradients_shrink", "gradients_shrink", truth, sweep, verdicts)
        for truth, sweep, verdicts in [
            ("they shrink", gradients(HALF), [S, S, S]),
            ("they grow", gradients(dict.fromkeys(ALL_DATA, 3.0)), [R, R, R]),
            ("on students they grow", gradients({**HALF, "students": 2.0}), [S, S, R]),
            ("nobody knows", gradients(dict.fromkeys(ALL_DATA, 1.0), sd=1), [N, N, N]),
            ("two seeds", gradients(HALF, seeds=2, sd=1), [N, N, N]),
        ]
    ),
    *(
        ("learning_rate", "too_large_too_small", truth, sweep, verdicts)
        for truth, sweep, verdicts in [
            ("as theory has it", rates(1, 10), [S, S, S, S]),
            ("overshoots at a tenth of the bound", rates(0.1, 10), [R, S, S, S]),
            ("overshoots from very small rates on", rates(0.01, 10), [R, S, R, S]),
            ("overshoots far beyond the bound alone", rates(10, 10), [R, R, S, S]),
            ("never overshoots", rates(1000, 10), [N, R, S, S]),
            ("does not crawl", rates(1, 1), [S, S, S, R]),
            ("two seeds", rates(1, 10, seeds=2, sd=1), [S, N, N, N]),
        ]
    ),
    *(
        ("linear_neuron", "finds_the_line", truth, sweep, [*verdicts, None])
        for truth, sweep, verdicts in [
            ("it does", lines(), [S, S, S, S]),
            ("the line is y = 3x + 1", lines(slope=3), [R, S, S, S]),
            ("the line is y = 2x", lines(intercept=0), [S, R, S, S]),
            ("it stops on the way", lines(off=(0.05, 0.05)), [S, S, R, R]),
            ("three that disagree", lines(seeds=3, sd=0.5), [N, N, N, N]),
        ]
    ),
    *(
        ("one_step", "one_step", truth, sweep, verdicts)
        for truth, sweep, verdicts in [
            ("it does", one_step(1, 0), [S, S]),
            ("it never does", one_step(0, 0), [R, S]),
            ("in 97 of 100", one_step(0.97, 0), [R, S]),
            ("it always does", one_step(1, 1), [S, R]),
            ("twenty neurons are too few", one_step(1, 0, seeds=20), [N, N]),
        ]
    ),
    *(
        ("optimizers", "useful_rates", truth, sweep, verdicts)
        for truth, sweep, verdicts in [
            ("they do", best_rates(1e-4), [S] * 7),
            ("they are larger", best_rates(1e-1), [R] * 7),
            ("seeds disagree", best_rates(1e-4, decades=3), [N] * 7),
            ("one seed", best_rates(1e-4, seeds=1), [N] * 7),
        ]
    ),
    *(
        ("relu_vs_silu", "silu_beats_relu", truth, sweep, [verdict, None, None, None, None])
        for truth, sweep, verdict in [
            ("by 10 %", silu(0.9), S),
            ("by 2 %", silu(0.98), R),
            ("they are alike", silu(1.0), R),
            ("ReLU is better", silu(1.1), R),
            ("noise", silu(0.95, sd=1), N),
            ("two seeds", silu(0.9, seeds=2, sd=1), N),
        ]
    ),
    *(
        ("restaurant", "weights_show_importance", truth, sweep, verdicts)
        for truth, sweep, verdicts in [
            ("they do", neurons(TRUE_WEIGHTS), [S, S]),
            ("they are random", neurons((0, 0, 0, 0)), [R, R]),
            ("they exaggerate", neurons([w**5 for w in TRUE_WEIGHTS], sd=0), [R, S]),
            ("two are exchanged", neurons((0.8, 0.6, 0.3, 0.9)), [S, R]),
            ("five neurons are too few", neurons(TRUE_WEIGHTS, seeds=5), [S, N]),
        ]
    ),
    *(
        ("sgd_vs_adam", "adam_is_stable", truth, sweep, verdicts)
        for truth, sweep, verdicts in [
            ("it is", stability(steady, bursting), [S, S]),
            ("SGD is", stability(bursting, steady), [R, R]),
            ("it is lost less, but depends on the rate", stability(steep, late), [S, R]),
            ("it depends less on the rate, but is lost", stability(late, steep), [R, S]),
            ("they are alike", stability(steady, steady, sd=0.5), [N, N]),
            ("two seeds", stability(steady, steep, sd=2, seeds=2), [N, N]),
        ]
    ),
    *(
        ("straight_lines", "only_straight_lines", truth, sweep, verdicts)
        for truth, sweep, verdicts in [
            ("they do", straight(GUESSING, MUCH), [S, S, S, S, S]),
            ("they are curved", straight(GUESSING, MUCH, "relu"), [R, S, S, S, S]),
            ("they solve circle", straight({**GUESSING, "circle": 0.9}, MUCH), [S, R, S, S, S]),
            ("they solve xor", straight({**GUESSING, "xor": 0.9}, MUCH), [S, S, S, R, S]),
            ("relu adds nothing", straight(GUESSING, {"circle": 0, "xor": 0}), [S, S, R, S, R]),
            ("noise", straight(GUESSING, MUCH, seeds=3, sd=0.4), [S, N, N, N, N]),
        ]
    ),
    *(
        ("vanishing_gradient", "gradients_vanish", truth, sweep, [*verdicts, None])
        for truth, sweep, verdicts in [
            ("they do", vanishing(DEEP), [S, S, S]),
            ("none does", vanishing(dict.fromkeys(DEEP, 0.8)), [R, R, S]),
            ("all do", vanishing(dict.fromkeys(DEEP, 1e-4)), [S, S, R]),
            ("two seeds", vanishing(DEEP, seeds=2, sd=5), [N, N, N]),
        ]
    ),
]


def overall(verdicts: Sequence[str | None]) -> str:
    decided = [verdict for verdict in verdicts if verdict is not None]
    return R if R in decided else S if set(decided) == {S} else N


@pytest.mark.parametrize(
    ("experiment", "name", "sweep", "expected"),
    [(case[0], case[1], *case[3:]) for case in CASES],
    ids=[f"{case[1]}-{case[2]}" for case in CASES],
)
def test_verdicts_are_those_of_the_runs(
    experiment: str, name: str, sweep: Sweep, expected: Sequence[str | None], tmp_path: Path
) -> None:
    judgement = judge(claims_of(experiment)[name], sweep(tmp_path))
    assert [finding.problem for finding in judgement.findings] == [""] * len(expected)
    assert [finding.verdict for finding in judgement.findings] == list(expected)
    assert judgement.verdict == overall(expected)


def test_every_shipped_claim_is_in_the_table() -> None:
    """And each of its tests is refuted in one sweep and supported in another."""
    experiments = [path.stem for path in (CONF / "experiment").glob("*.yaml")]
    shipped = {(one, name): claim for one in experiments for name, claim in claims_of(one).items()}
    assert {case[:2] for case in CASES} == set(shipped)
    for key, claim in shipped.items():
        verdicts = [case[4] for case in CASES if case[:2] == key]
        assert {overall(one) for one in verdicts} == {S, R, N}, key
        for index, test in enumerate(claim.tests):
            given_to = {one[index] for one in verdicts}
            assert {S, R} <= given_to if test.decides else given_to == {None}, (key, test.what)


def test_other_experiments_carry_no_claims() -> None:
    assert read_claims(compose_run("trainer=cpu")[0]) == {}
    assert read_claims({"claims": None}) == {}


# --- sweeps that are not whole -------------------------------------------------------------------

TRUE = {case[1]: (case[0], case[3]) for case in reversed(CASES) if overall(case[4]) == S}


def stopped(results: Results, runs: int) -> Results:
    """The same, of which only the first runs are over."""
    states = results.runs["state"].where(np.arange(len(results.runs)) < runs, "unfinished")
    return replace(results, runs=results.runs.assign(state=states))


@pytest.mark.parametrize("name", TRUE)
def test_a_sweep_that_was_stopped_settles_nothing_and_is_no_crash(
    name: str, tmp_path: Path
) -> None:
    experiment, sweep = TRUE[name]
    claim, results = claims_of(experiment)[name], sweep(tmp_path)
    runs = len(results.runs)
    for over in (0, 1, 2, runs // 2, runs - 1):
        for rest in (stopped(results, over), results.select(np.arange(runs) < over)):
            verdict = judge(claim, rest).verdict
            assert verdict == N if over <= 2 else verdict != R
    assert judge(claim, results.select(results.runs["seed"] == 0)).verdict == N


# Where all runs diverge, what is claimed of their losses is false, what is claimed of the time
# before any step may be true, and nothing is known of anything else.
ALL_DIVERGED = {"too_large_too_small": R, "one_step": R, "gradients_vanish": S}


@pytest.mark.parametrize("name", TRUE)
def test_a_sweep_whose_runs_all_diverged(name: str, tmp_path: Path) -> None:
    experiment, sweep = TRUE[name]
    results = sweep(tmp_path)
    lost = replace(results, runs=results.runs.assign(state="diverged"))
    assert judge(claims_of(experiment)[name], lost).verdict == ALL_DIVERGED.get(name, N)


def single(metric: str = "val/loss", **bounds: float) -> Claim:
    return Claim("It is", "nowhere", [ClaimTest("number", evidence.mean(metric), **bounds)])


def losses(values: Sequence[float], states: Mapping[int, str] | None = None) -> Results:
    """Runs that differ in their seeds."""

    def row(run: Values, rng: Generator) -> dict[str, Any]:
        state = (states or {}).get(run["seed"], "completed")
        return {"val/loss": values[run["seed"]], "state": state}

    return made_up({"seed": range(len(values))}, row)


def test_what_diverged_cannot_support() -> None:
    claim, values = single(at_most=1), [0.5, 0.51, 0.49, 0.5]
    assert judge(claim, losses(values)).verdict == S
    judgement = judge(claim, losses(values, {3: "diverged"}))
    assert judgement.verdict == N
    assert judgement.findings[0].observed.lost == 1


@pytest.mark.parametrize("state", ["failed", "unfinished"])
@pytest.mark.parametrize("bounds", [{"at_most": 2.0}, {"at_least": 2.0}])
def test_what_failed_or_is_not_over_settles_nothing(state: str, bounds: dict[str, float]) -> None:
    whole = judge(single(**bounds), losses([1.0, 1.1, 0.9, 1.0, 1.05]))
    assert whole.verdict == ("supported" if "at_most" in bounds else "refuted")
    judged = judge(single(**bounds), losses([1.0, 1.1, 0.9, 1.0, 1.05], {4: state}))
    assert judged.verdict == "not settled"
    assert "1 of 5 runs failed or are not over" in judged.findings[0].observed.detail


def test_what_diverged_does_not_save_what_is_refuted() -> None:
    claim, values = single(at_most=1), [2.5, 2.51, 2.49, 2.5]
    assert judge(claim, losses(values)).verdict == R
    assert judge(claim, losses(values, {3: "diverged"})).verdict == R


def test_a_metric_that_does_not_exist_settles_nothing() -> None:
    judgement = judge(single("val/los", at_most=1), losses([0.5] * 5))
    assert (judgement.verdict, judgement.findings[0].verdict) == (N, N)
    assert "val/los: no such metric" in judgement.findings[0].problem
    assert "did you mean val/loss?" in judgement.findings[0].problem


def test_what_only_informs_may_fail() -> None:
    tests = [
        ClaimTest("a", evidence.mean("val/loss"), at_most=1),
        ClaimTest("b", evidence.mean("val/los")),
    ]
    judgement = judge(Claim("It is", "nowhere", tests), losses([0.5] * 5))
    assert judgement.verdict == S
    assert judgement.findings[1].verdict is None
    assert judgement.findings[1].problem


# --- one rule for every verdict ------------------------------------------------------------------

ENDS = st.integers(-8, 8).map(lambda v: v / 2)
EDGES = st.one_of(st.none(), ENDS)


@given(st.tuples(ENDS, ENDS).map(sorted), EDGES, EDGES)
def test_decide_reads_plainly(interval: list[float], low: float | None, high: float | None) -> None:
    """Supported is where all points lie between the edges, refuted where all lie outside."""
    assume(low is None or high is None or low < high)
    low, high = (-math.inf if low is None else low), (math.inf if high is None else high)
    points = np.arange(interval[0], interval[1] + 0.01, 0.25)
    expected = N
    if ((low < points) & (points < high)).all():
        expected = S
    elif ((points < low) | (points > high)).all():
        expected = R
    assert decide(Estimate(points.mean(), *interval, 5, "t"), low, high) == expected


@pytest.mark.parametrize(
    ("interval", "edges", "expected"),
    [
        ((NAN, NAN), (0, 1), N),
        ((NAN, NAN), (-math.inf, 1), N),
        ((NAN, NAN), (0, math.inf), N),
        ((2, math.inf), (1, math.inf), S),
        ((2, math.inf), (1, 5), N),
        ((2, math.inf), (-math.inf, 1), R),
        ((-math.inf, 2), (-math.inf, 3), S),
        ((-math.inf, math.inf), (0, math.inf), N),
    ],
)
def test_decide_at_infinity(
    interval: tuple[float, float], edges: tuple[float, float], expected: str
) -> None:
    assert decide(Estimate(1.5, *interval, 5, "t"), *edges) == expected


@pytest.mark.parametrize("decisive", [1, 2, 5])
def test_intervals_of_one_claim_hold_together(decisive: int) -> None:
    """Bonferroni: each of m intervals misses with 5 %/m; what decides nothing is left at 95 %."""
    levels = []

    def observe(results: Results, level: float) -> Observed:
        levels.append(level)
        return Observed(Estimate(0.5, 0.4, 0.6, 5, "t"))

    held = [ClaimTest("held", observe, at_most=1)] * decisive
    claim = Claim("It is", "nowhere", [ClaimTest("shown", observe), *held])
    assert judge(claim, losses([0.5] * 5)).verdict == S
    assert claim.level == pytest.approx(1 - 0.05 / decisive)
    assert levels == pytest.approx([LEVEL, *[1 - 0.05 / decisive] * decisive])


def test_one_refuted_test_refutes() -> None:
    def saying(verdict: str) -> ClaimTest:
        ends = {S: (0.1, 0.2), R: (3, 4), N: (0, 2)}[verdict]
        number = Observed(Estimate(sum(ends) / 2, *ends, 5, "t"))
        return ClaimTest(verdict, lambda results, level: number, at_most=1)

    for said in ([S], [R], [N], [S, S], [S, R], [S, N], [N, R], [N, N], [S, N, R]):
        claim = Claim("It is", "nowhere", [saying(verdict) for verdict in said])
        assert judge(claim, losses([0.5])).verdict == overall(said)


def test_a_claim_needs_a_test_that_decides() -> None:
    shown = ClaimTest("number", evidence.mean("val/loss"))
    assert not shown.decides
    for tests in ([], [shown]):
        with pytest.raises(ArgumentError, match="tests=0: must be at least one with at_least or"):
            Claim("It is", "nowhere", tests)
    held = ClaimTest("number", shown.observe, at_least=0)
    assert Claim("It is", "nowhere", [shown, held]).level == LEVEL


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1)])
def test_an_empty_region_is_refused(low: float, high: float) -> None:
    with pytest.raises(ArgumentError, match=f"at_least={low}: must be below at_most={high}"):
        single(at_least=low, at_most=high)


# --- words ---------------------------------------------------------------------------------------

REGIONS = [
    ({"at_least": 0.95}, False, "above 0.95"),
    ({"at_least": 0.95}, True, "above 95 %"),
    ({"at_most": 1e-6}, False, "below 1e−06"),
    ({"at_most": -0.05}, True, "below −5 %"),
    ({"at_most": 0}, False, "below 0"),
    ({"at_least": -1, "at_most": 1.5}, False, "−1 to 1.5"),
    ({"at_least": -0.1, "at_most": 0.125}, True, "−10 % to 12.5 %"),
    ({"at_least": 12345.678}, False, "above 12,346"),
    ({}, False, ""),
    ({}, True, ""),
]


@pytest.mark.parametrize(("bounds", "percent", "expected"), REGIONS)
def test_region(bounds: dict[str, float], percent: bool, expected: str) -> None:
    assert region(ClaimTest("number", evidence.mean("val/loss"), **bounds), percent) == expected


WORDS = [
    ((0.5, 0.4, 0.6), False, "0.5 (0.4 to 0.6)"),
    ((-0.031, -0.052, -0.01), True, "−3.1 % (−5.2 to −1 %)"),
    ((2.0012345, 2.0011, 2.0013), False, "2.00123 (2.0011 to 2.0013)"),
    ((0.987654, 0.98, 0.99), True, "98.8 % (98 to 99 %)"),
    ((1e-9, 5e-10, 2e-9), False, "1e−09 (5e−10 to 2e−09)"),
    ((0.5, NAN, NAN), False, "0.5 (no interval)"),
    ((0.5, NAN, NAN), True, "50 % (no interval)"),
    ((1.0, 1.0, 1.0), True, "100 % (100 to 100 %)"),
    ((0.0, -1.0, 1.0), False, "0 (−1 to 1)"),
    ((3.0, 2.0, math.inf), False, "3 (2 to inf)"),
    ((NAN, NAN, NAN), False, "–"),
]


@pytest.mark.parametrize(("ends", "percent", "expected"), WORDS)
def test_in_words(ends: tuple[float, float, float], percent: bool, expected: str) -> None:
    assert in_words(Observed(Estimate(*ends, 5, "t"), percent=percent)) == expected


def printed(judgements: Sequence[Judgement]) -> str:
    console = Console(width=160, color_system=None)
    with console.capture() as capture:
        console.print(verdict_table(judgements))
    return capture.get()


def test_the_table_says_it_all() -> None:
    tests = [
        ClaimTest("the loss", evidence.mean("val/loss"), at_most=1),
        ClaimTest("the lost", evidence.mean("val/los"), at_most=1),
        ClaimTest("for comparison", evidence.mean("val/loss")),
    ]
    results = losses([0.5, 0.51, 0.49, 0.5])
    text = printed([judge(Claim("It is so", "lesson 9", tests), results)])
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines()]
    claim, held, failed, shown = (
        next(row for row in rows if row and row[0].startswith(start))
        for start in ("It is so", "the loss", "the lost", "for comparison")
    )
    assert claim == ["It is so (lesson 9)", "", "", "", N]
    found = judge(Claim("It is so", "lesson 9", tests), results).findings[0]
    assert held == ["the loss", "below 1", in_words(found.observed), "4", S]
    assert failed[0:2] + failed[3:] == ["the lost", "below 1", "0", N]
    assert "val/los: no such metric" in failed[2]
    assert shown == ["for comparison", "", "0.5 (0.487 to 0.513)", "4", ""]


def test_the_table_colors_verdicts() -> None:
    for values, color in (([0.5, 0.51], "green"), ([2.5, 2.51], "red"), ([0.0, 2.0], "yellow")):
        made = verdict_table([judge(single(at_most=1), losses(values))])
        assert next(iter(made.columns[-1].cells)).style == color


def test_no_claims_no_rows() -> None:
    assert verdict_table([]).row_count == 0


# --- claims from configurations ------------------------------------------------------------------

MEAN = {"_target_": "neuronlab.evidence.mean", "metric": "val/loss"}
HELD = {"_target_": "neuronlab.claims.Test", "what": "loss", "observe": MEAN, "at_most": 1}
CLAIM: dict[str, Any] = {
    "_target_": "neuronlab.claims.Claim",
    "statement": "It is",
    "source": "nowhere",
    "tests": [HELD],
}


def node(**changes: Any) -> dict[str, Any]:
    return {"claims": {"mine": {**CLAIM, **changes}}}


def held(**changes: Any) -> dict[str, Any]:
    return node(tests=[HELD, {**HELD, **changes}])


def without(mapping: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name != key}


def test_a_claim_of_one_s_own() -> None:
    claims = read_claims(node())
    assert list(claims) == ["mine"]
    assert judge(claims["mine"], losses([0.5, 0.51, 0.49])).verdict == S
    assert judge(claims["mine"], losses([1.5, 1.51, 1.49])).verdict == R


A_CLAIM = "must be a mapping with _target_: neuronlab.claims.Claim"
BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"claims": 3}, "claims=3: must be a mapping of names to claims"),
    ({"claims": [CLAIM]}, "must be a mapping of names to claims"),
    ({"claims": {"mine": 3}}, f"claims.mine: {A_CLAIM}"),
    ({"claims": {"mine": None}}, f"claims.mine: {A_CLAIM}"),
    (node(_target_="neuronlab.models.MLP"), f"claims.mine: {A_CLAIM}"),
    (node(_target_="os.system"), f"claims.mine: {A_CLAIM}"),
    (node(statment="x"), "claims.mine.statment: no such key; did you mean claims.mine.statement?"),
    (node(statement=3), "claims.mine.statement=3: must be text"),
    (node(tests=3), "claims.mine.tests=3: must be a list, each a mapping with the _target_ of a T"),
    (node(tests=[3]), "claims.mine.tests=[3]: must be a list, each a mapping with the _target_"),
    (node(tests=[]), "claims.mine.tests=0: must be at least one with at_least or at_most"),
    (node(tests=[without(HELD, "_target_")]), "claims.mine.tests=[dict]: must be a list of"),
    (node(tests=[MEAN]), "claims.mine.tests=[function]: must be a list of neuronlab.claims.Test"),
    (node(tests=[without(HELD, "at_most")]), "at least one with at_least or at_most"),
    (node(tests=[without(HELD, "observe")]), "missing 1 required positional argument: 'observe'"),
    (held(at_mst=1), "claims.mine.tests[1].at_mst: no such key; did you mean"),
    (held(at_most="much"), "claims.mine.tests[1].at_most=much: must be a number or null"),
    (held(at_least=2), "at_least=2: must be below at_most=1"),
    (held(observe=3), "claims.mine.tests[1].observe=3: must be a mapping with the _target_ of"),
    (
        held(observe={**MEAN, "_target_": "neuronlab.evidence.meen"}),
        "claims.mine.tests[1].observe._target_=neuronlab.evidence.meen: cannot be found",
    ),
    (
        held(observe={**MEAN, "_target_": "numpy.mean"}),
        "claims.mine.tests[1].observe._target_=numpy.mean: must begin with one of neuronlab.",
    ),
    (
        held(observe={**MEAN, "geometrc": True}),
        "claims.mine.tests[1].observe.geometrc: no such key; did you mean claims.mine.tests[1]."
        "observe.geometric?",
    ),
    (
        held(observe={**MEAN, "only": {"_target_": "neuronlab.measures.improvd"}}),
        "claims.mine.tests[1].observe.only._target_=neuronlab.measures.improvd: cannot be found",
    ),
    (
        held(observe={**MEAN, "where": 3}),
        "claims.mine.tests[1].observe.where=3: must be a mapping",
    ),
    (
        node(figure={"_target_": "neuronlab.report.page.write_page"}),
        "claims.mine.figure._target_=neuronlab.report.page.write_page: must begin with one of",
    ),
    (
        node(figure={"_target_": "neuronlab.report.rates.nothing"}),
        "claims.mine.figure._target_=neuronlab.report.rates.nothing: cannot be found",
    ),
]


@pytest.mark.parametrize(("config", "message"), BROKEN)
def test_broken_claims_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_claims(config)
    assert message in str(caught.value)
    assert len(caught.value.problems) == len(str(caught.value).splitlines()) == 1


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        read_claims(held(at_mst=1, observe={**MEAN, "metrik": "a"}))
    assert len(caught.value.problems) == 2


# --- a sweep that was trained --------------------------------------------------------------------


def test_a_trained_sweep_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One step of gradient descent, taken indeed; and the same with what it did turned around."""
    small = ("experiment=one_step", "data.batch_size=null", "trainer.max_epochs=1", "logger=csv")
    assert run_sweep(tmp_path, *small, "seed=range(0,20)") == 0
    monkeypatch.chdir(tmp_path)
    results = read_results([Path("sweep")])
    (claim,) = read_claims(results.config(results.runs.index[0])).values()
    found = [finding.observed for finding in judge(claim, results).findings]
    assert [(one.estimate.value, one.estimate.n) for one in found] == [(1, 20), (0, 20)]
    assert judge(claim, results).verdict == N  # twenty neurons are too few for 99 %
    before, after = (results.curves.set_index("run")[f"{part}/loss"] for part in ("train", "val"))
    turned = replace(
        results,
        runs=results.runs.assign(**{"val/loss": before.reindex(results.runs.index)}),
        curves=results.curves.assign(**{"train/loss": after.to_numpy()}),
    )
    assert [finding.verdict for finding in judge(claim, turned).findings] == [R, R]
