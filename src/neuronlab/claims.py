"""Claims of the lessons, and what a sweep says of them.

One rule for every verdict: a claim says in which region a number must lie; it is *supported* where
the number's whole interval lies inside, *refuted* where it lies outside, and *not settled* where
the interval reaches over the region's edge.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from rich.table import Table
from rich.text import Text

from neuronlab.checks import check_nodes, target_nodes
from neuronlab.configs import construct
from neuronlab.errors import ConfigError, require, show
from neuronlab.evidence import Evidence, Observed
from neuronlab.records import OVER
from neuronlab.results import Results
from neuronlab.statistics import Estimate
from neuronlab.terminal import number, table

Verdict = Literal["supported", "refuted", "not settled"]
LEVEL = 0.95  # of the intervals of one claim together
UNANSWERED = (ConfigError, ValueError, KeyError, TypeError)  # what runs or claims may lack
# What a claim may name, since it is read from a sweep's folder, where nothing is code.
ALLOWED = (
    *("neuronlab.claims.", "neuronlab.evidence.", "neuronlab.measures.", "neuronlab.probes."),
    *("neuronlab.report.lines.", "neuronlab.report.rates.", "neuronlab.report.comparisons."),
    *("neuronlab.report.curves.", "neuronlab.report.gradients.", "neuronlab.report.heatmap."),
)
NOTHING = Observed(Estimate(math.nan, math.nan, math.nan, 0, "none"))


class Test:
    """A number, and the region in which the claim says that it lies."""

    def __init__(
        self,
        what: str,
        observe: Evidence,
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> None:
        """Takes the number and the region; without any bound, it is shown but decides nothing.

        Args:
            what: What the number is, in words.
            observe: Where it comes from.
            at_least: The region's lower edge.
            at_most: The region's upper edge.

        Raises:
            ValueError: If the region is empty.
        """
        if at_least is not None and at_most is not None:
            require(at_least < at_most, "at_least", at_least, f"below at_most={at_most}")
        self.what, self.observe = what, observe
        self.low = -math.inf if at_least is None else at_least
        self.high = math.inf if at_most is None else at_most

    @property
    def decides(self) -> bool:
        """Whether there is a region."""
        return math.isfinite(self.low) or math.isfinite(self.high)


class Claim:
    """What a lesson says, and the numbers that would show it."""

    def __init__(
        self,
        statement: str,
        source: str,
        tests: list[Test],
        figure: Callable[[Results], Any] | None = None,
    ) -> None:
        """Takes the claim.

        Args:
            statement: What is claimed.
            source: The lesson.
            tests: All of them must hold; one that is refuted refutes the claim.
            figure: The plot that shows it, of `neuronlab.report`; None for the numbers themselves.

        Raises:
            ValueError: If no test could decide it.
        """
        kinds = [type(test).__name__ for test in tests]
        whole = all(isinstance(test, Test) for test in tests)
        require(whole, "tests", kinds, "a list of neuronlab.claims.Test")
        decisive = sum(test.decides for test in tests)
        require(decisive > 0, "tests", decisive, "at least one with at_least or at_most")
        self.statement, self.source, self.tests, self.figure = statement, source, tests, figure
        # Bonferroni: of several intervals of one claim, all hold their numbers with 95 %.
        self.level = 1 - (1 - LEVEL) / decisive


@dataclass(frozen=True)
class Finding:
    """What a sweep says of one test; `verdict` is None where it decides nothing."""

    test: Test
    observed: Observed
    verdict: Verdict | None
    problem: str = ""  # why nothing could be observed


@dataclass(frozen=True)
class Judgement:
    """What a sweep says of a claim."""

    claim: Claim
    findings: Sequence[Finding]
    verdict: Verdict


def read_claims(config: Mapping[str, Any]) -> dict[str, Claim]:
    """The claims of a configuration, by name.

    Raises:
        ConfigError: If one names what does not exist, or refuses its values.
    """
    nodes = config.get("claims") or {}
    if not isinstance(nodes, Mapping):
        raise ConfigError(f"claims={show(nodes)}: must be a mapping of names to claims")
    for name, node in nodes.items():
        if not isinstance(node, Mapping) or node.get("_target_") != "neuronlab.claims.Claim":
            raise ConfigError(
                f"claims.{name}: must be a mapping with _target_: neuronlab.claims.Claim"
            )
    for path, node in target_nodes(nodes, "claims"):
        if not str(node["_target_"]).startswith(ALLOWED):
            raise ConfigError(
                f"{path}._target_={node['_target_']}: must begin with one of {', '.join(ALLOWED)}"
            )
    check_nodes(nodes, "claims")
    return {name: _claim(name, json.dumps(node)) for name, node in nodes.items()}


def _claim(name: str, node: str) -> Claim:
    from neuronlab.build import blame

    with blame(f"claims.{name}"):
        return cast(Claim, construct(json.loads(node)))


def judge(claim: Claim, results: Results) -> Judgement:
    """What the runs say of a claim.

    Args:
        claim: The claim.
        results: All runs of the sweep that carries it.
    """
    findings = [_find(test, claim.level, results) for test in claim.tests]
    verdicts = {finding.verdict for finding in findings if finding.verdict is not None}
    if "refuted" in verdicts:
        return Judgement(claim, findings, "refuted")
    settled = verdicts == {"supported"}
    return Judgement(claim, findings, "supported" if settled else "not settled")


def _find(test: Test, level: float, results: Results) -> Finding:
    try:
        observed = test.observe(results, level if test.decides else LEVEL)
    except UNANSWERED as error:  # as where the sweep was stopped early
        return Finding(test, NOTHING, "not settled" if test.decides else None, str(error))
    verdict = decide(observed.estimate, test.low, test.high) if test.decides else None
    absent = int((~results.runs["state"].isin(OVER)).sum())
    if absent:  # nobody knows what these would have been
        words = f"{observed.detail}; {absent} of {len(results.runs)} runs failed or are not over"
        observed = replace(observed, detail=words)
        verdict = None if verdict is None else "not settled"
    if verdict == "supported" and observed.lost:  # what has no number cannot be in the region
        verdict = "not settled"
    return Finding(test, observed, verdict)


def decide(estimate: Estimate, low: float, high: float) -> Verdict:
    """The verdict on a number that is claimed to lie between `low` and `high`, edges left out."""
    above = low < estimate.low or low == -math.inf
    below = estimate.high < high or high == math.inf  # an interval may reach as far
    if above and below:
        return "supported"
    if estimate.high < low or estimate.low > high:
        return "refuted"
    return "not settled"  # also where there is no interval, which is NaN


def in_words(observed: Observed) -> str:
    """An observed number with its interval, as `−3.1 % (−5.2 to −1.0 %)`."""
    estimate = observed.estimate
    if math.isnan(estimate.value):
        return "–"
    scale = 100 if observed.percent else 1
    shown = _alike(*(scale * v for v in (estimate.value, estimate.low, estimate.high)))
    unit = " %" if observed.percent else ""
    if math.isnan(estimate.low):
        return f"{shown[0]}{unit} (no interval)"
    return f"{shown[0]}{unit} ({shown[1]} to {shown[2]}{unit})"


def _alike(value: float, low: float, high: float) -> list[str]:
    """Three numbers as text, with as many digits as show how wide the interval is."""
    width = high - low
    digits = 3
    if math.isfinite(width) and width > 0 and value:
        digits += max(0, math.floor(math.log10(abs(value))) - math.floor(math.log10(width)) - 1)
    return [f"{v:.{min(digits, 6)}g}".replace("-", "−") for v in (value, low, high)]


def region(test: Test, percent: bool) -> str:
    """Where a claim says that the number lies, in words."""
    low, high = (
        (f"{100 * v:g} %" if percent else number(v)).replace("-", "−")
        for v in (test.low, test.high)
    )
    if not test.decides:
        return ""
    if math.isinf(test.high):
        return f"above {low}"
    return f"below {high}" if math.isinf(test.low) else f"{low} to {high}"


def verdict_table(judgements: Sequence[Judgement]) -> Table:
    """All verdicts with their numbers, for the terminal."""
    made = table(
        "claims and what the runs say", "claim", "claimed", "found (interval)", "n", "verdict"
    )
    for column in made.columns[1:]:
        column.overflow = "fold"
    for judgement in judgements:
        color = {"supported": "green", "refuted": "red"}.get(judgement.verdict, "yellow")
        statement = f"{judgement.claim.statement} ({judgement.claim.source})"
        made.add_row(statement, "", "", "", Text(judgement.verdict, color), style="bold")
        for finding in judgement.findings:
            observed = finding.observed
            made.add_row(
                f"  {finding.test.what}",
                region(finding.test, observed.percent),
                finding.problem or in_words(observed),
                str(observed.estimate.n),
                finding.verdict or "",
            )
        made.add_section()
    return made
