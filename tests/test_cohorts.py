"""Which runs train together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import compose_run, make_job

from neuronlab.build import build
from neuronlab.cohorts import CHECKPOINTS, cohort_key, in_chunks, most_members, why_alone
from neuronlab.population import make_plan


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        (["seed=0"], ["seed=1"], True),
        (["data.seed=0"], ["data.order_seed=3"], True),
        (["data.noise=0.1"], ["data.noise=0.2"], True),
        (["optimizer.lr=0.1"], ["optimizer.lr=1"], True),
        (["optimizer=adam"], ["optimizer=adam", "optimizer.betas=[0.5,0.9]"], True),
        (["optimizer=rmsprop"], ["optimizer=rmsprop", "optimizer.centered=true"], False),
        (["optimizer=sgd"], ["optimizer=adam"], False),
        (["regularization.l1=0.1"], ["regularization.l2=0.2"], True),
        (["regularization.l1=0.1"], [], False),  # whose records have no penalty
        (["data.features=[inputs]"], ["data.features=[squares]"], False),
        (["activation=relu"], ["activation=silu"], False),  # equal shapes, different networks
        (["activation=elu"], ["activation=elu", "activation.alpha=0.5"], False),
        (["data.rows=100"], ["data.rows=200"], False),
        (["data=circle"], ["data=xor"], False),
        (["trainer.max_epochs=3"], ["trainer.max_epochs=4"], False),
        # Adam with amsgrad has no rule of ours: torch's own class takes one lr for all.
        (
            ["optimizer=adam", "+optimizer.amsgrad=true"],
            ["optimizer=adam", "+optimizer.amsgrad=true", "optimizer.lr=1"],
            False,
        ),
    ],
)
def test_what_may_differ_in_a_cohort(one: list[str], other: list[str], together: bool) -> None:
    keys = [cohort_key(compose_run("trainer=cpu", *overrides)[0]) for overrides in (one, other)]
    assert (keys[0] == keys[1]) is together


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ([], None),
        (["experiment=linear_neuron"], None),  # its story is only told to runs alone
        (["callbacks=diary"], "callbacks.diary is for runs alone"),
        (["callbacks.checkpoint.every_n_epochs=2"], "callbacks.checkpoint is for runs alone"),
        (["+trainer.accumulate_grad_batches=2"], "trainer.accumulate_grad_batches=2"),
        (["trainer.precision=bf16-mixed"], "trainer.precision=bf16-mixed"),
        (["trainer.max_epochs=-1"], "no last epoch"),
        (["~logger"], "other loggers"),
        (["~callbacks.checkpoint"], "without callbacks.checkpoint"),
        (["~optimizer.weight_decay", "optimizer._target_=torch.optim.LBFGS"], "LBFGS"),
        (["activation._target_=torch.nn.Dropout"], "randomness"),
        (["activation._target_=torch.nn.BatchNorm1d", "+activation.num_features=8"], "buffers"),
    ],
)
def test_what_trains_alone(overrides: list[str], reason: str | None) -> None:
    config, _ = compose_run("trainer=cpu", *overrides)
    _, learner = build(config)
    found = why_alone(config, learner)
    assert (found is None) if reason is None else (found is not None and reason in found)


def test_a_plan_names_reasons(tmp_path: Path) -> None:
    jobs = [
        make_job(tmp_path / str(n), *overrides)
        for n, overrides in enumerate(
            [["seed=0"], ["seed=1"], ["activation=tanh"], ["callbacks=diary"]]
        )
    ]
    plan = make_plan(jobs)
    assert [len(cohort) for _, _, cohort in plan.cohorts] == [2, 1]
    assert plan.alone == [(jobs[3], "callbacks.diary is for runs alone")]


@pytest.mark.parametrize("most", [2, 3, 7, 100])
def test_chunks_are_even(most: int) -> None:
    chunks = in_chunks(list(range(23)), most)
    sizes = [len(chunk) for chunk in chunks]
    assert [one for chunk in chunks for one in chunk] == list(range(23))
    assert max(sizes) <= most
    assert max(sizes) - min(sizes) <= 1


def test_members_fit_the_cache() -> None:
    """A hundred rows through 4 → 16 → 8 → 1: 29 numbers a row and the output, three times."""
    _, learner = build(compose_run("trainer=cpu")[0])
    bound = most_members(learner, 100, 1250, 4, torch.device("cpu"))
    assert bound == 32 * 2**20 // (3 * 100 * (4 + 16 + 8 + 1 + 1) * 4)
    larger = most_members(learner, 10**9, 10**9, 4, torch.device("cpu"))
    assert larger == 2


def test_the_checkpoints_that_a_population_leaves_are_the_shipped_ones() -> None:
    shipped = compose_run("trainer=cpu")[0]["callbacks"]["checkpoint"]
    assert shipped == CHECKPOINTS
