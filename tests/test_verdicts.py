"""Verdicts on the page: their numbers, the plot that shows them, and what cannot be drawn."""

import numpy as np
import pytest
from made_up import made_up
from numpy.random import Generator
from scipy import stats

from neuronlab import evidence, measures
from neuronlab.claims import Claim, Test, judge
from neuronlab.report.lines import over, over_epochs
from neuronlab.report.verdicts import numbers, verdict_sections
from neuronlab.results import Results

Test.__test__ = False  # type: ignore[attr-defined] # a claim's, not one of ours


def falling(swept: object, rng: Generator) -> dict[str, object]:
    loss = 1 + 0.1 * rng.normal()
    return {"val/loss": [2.0, loss], "gradient_norm/weight": [10.0, 1.0 + rng.uniform()]}


@pytest.fixture
def results() -> Results:
    return made_up({"activation": ["relu", "tanh"], "seed": range(8)}, falling)


def claim(**options: object) -> Claim:
    tests = [
        Test("the loss", evidence.mean("val/loss"), at_most=1.5),
        Test("b", evidence.mean("x")),
    ]
    return Claim("The loss falls", "lesson 9", tests, **options)  # type: ignore[arg-type]


def test_a_verdict_on_the_page(results: Results) -> None:
    above, section = verdict_sections([("falls", judge(claim(), results), results)])
    assert "The loss falls" in above.html
    assert 'class="badge supported"' in above.html
    assert above.level == 2
    assert section.title == "The loss falls"
    assert "below 1.5" in section.html
    assert "for comparison" in section.html
    assert "x: no such metric" in section.html  # of the number that is not there
    (panel,) = section.panels
    assert panel.name == "falls_numbers"
    (row,) = panel.data.to_dict("records")
    means = results.runs.groupby("seed")["val/loss"].mean()
    interval = stats.ttest_1samp(means, 0).confidence_interval(0.95)
    assert row["found"] == pytest.approx(means.mean())
    assert [row["low"], row["high"]] == pytest.approx([interval.low, interval.high])
    assert (row["n"], row["at most"], row["verdict"]) == (8, 1.5, "supported")
    (point,) = [trace for trace in panel.figure.data if trace.mode == "markers"]
    assert point.x[0] == pytest.approx(means.mean())
    (shape,) = panel.figure.layout.shapes
    assert shape.x1 == 1.5


def test_no_claims_no_sections() -> None:
    assert verdict_sections([]) == []


def test_a_figure_that_cannot_be_drawn_is_no_reason_for_no_page(results: Results) -> None:
    figure = over("activation", "val/loss", "optimizer", "activation", "loss")
    (_, section) = verdict_sections([("falls", judge(claim(figure=figure), results), results)])
    assert section.text.startswith("No figure: ")
    assert len(section.panels) == 1


def test_numbers_that_nobody_has_are_not_drawn(results: Results) -> None:
    nothing = Claim("", "", [Test("x", evidence.mean("x"), at_most=1)])
    assert numbers("nothing", judge(nothing, results)) is None


def test_lines_are_geometric_means_with_t_intervals(results: Results) -> None:
    (panel,) = over(
        measures.first("val/loss"), "val/loss", "activation", "loss before", "loss after"
    )(results)
    assert panel.data["activation"].tolist() == ["relu", "tanh"]
    for (_, runs), row in zip(
        results.runs.groupby("activation"), panel.data.itertuples(), strict=True
    ):
        logs = np.log10(runs["val/loss"])
        interval = stats.ttest_1samp(logs, 0).confidence_interval(0.95)
        expected = [2.0, 10 ** logs.mean(), 10**interval.low, 10**interval.high]
        assert list(row[2:6]) == pytest.approx(expected)


def test_lines_over_epochs(results: Results) -> None:
    (panel,) = over_epochs(measures.whole_gradient(), "activation", "gradient")(results)
    relu = panel.data[panel.data["activation"] == "relu"]
    runs = results.runs.index[results.runs["activation"] == "relu"]
    last = results.curves[results.curves["run"].isin(runs) & (results.curves["epoch"] == 1)]
    logs = np.log10(last["gradient_norm/weight"])
    assert relu["epoch"].tolist() == [0, 1]
    assert relu["mean"].tolist() == pytest.approx([10.0, 10 ** logs.mean()])
    assert len(panel.figure.data) == 4  # a band and a line each
