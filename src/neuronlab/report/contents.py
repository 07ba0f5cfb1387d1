"""What is on the page of a sweep, and in which order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from neuronlab.errors import counted
from neuronlab.records import OVER
from neuronlab.report.bowl import loss_bowls
from neuronlab.report.comparisons import paired_comparisons
from neuronlab.report.curves import loss_curves
from neuronlab.report.fits import best_and_worst
from neuronlab.report.gradients import gradient_norms
from neuronlab.report.heatmap import heat_maps
from neuronlab.report.overview import ended, glossary, what_was_run
from neuronlab.report.page import Section
from neuronlab.report.ranking import ranking
from neuronlab.report.rates import final_loss_over_lr
from neuronlab.results import Results

# Sections of one task, each with what draws its figures.
FIGURES = (
    ("How the loss falls", loss_curves),
    ("The learning rate", final_loss_over_lr),
    ("Two keys at a time", heat_maps),
    ("Gradients", gradient_norms),
    ("The best and the worst run", best_and_worst),
    ("The loss around the weights", loss_bowls),
)


def make_sections(results: Results, verdicts: Sequence[Section] = ()) -> list[Section]:
    """The sections of a sweep's page; those that have nothing to show are left out.

    Args:
        results: All its runs.
        verdicts: What the sweep says of claims, which comes first.
    """
    tasks = list(dict.fromkeys(results.runs["task"]))
    sections = [*verdicts, what_was_run(results)]
    for task in tasks:
        one = of_task(results, task)
        below = list(_of_one_task(one))
        if len(tasks) > 1:
            counts = f"{counted(len(one.runs), 'run')}: {ended(one.runs).lower()}."
            sections.append(Section(task, counts))
            below = [replace(section, level=3) for section in below]
        sections += below
    comparisons = paired_comparisons(results)
    if comparisons:
        sections.append(Section("Compared seed by seed", panels=comparisons))
    return [*sections, glossary()]


def of_task(results: Results, task: str) -> Results:
    """The runs of one task; keys in which these do not differ are no longer swept.

    Args:
        results: Runs of several tasks.
        task: One of them.
    """
    return results.select(results.runs["task"] == task)


def _of_one_task(results: Results) -> Iterator[Section]:
    ranked = ranking(results)
    if ranked:
        yield ranked
    if not results.runs["state"].isin(OVER).any():
        return
    for title, draw in FIGURES:
        panels = draw(results)
        if panels:
            yield Section(title, panels=panels)
