from functools import partial
from itertools import chain

import numpy as np
import pytest
import torch

from neuronlab.data import BatchOrder, DataModule
from neuronlab.datasets import make_houses, make_line, make_students, make_three_students
from neuronlab.scaling import Scaling


def test_splits_do_not_overlap_and_cover_their_fractions() -> None:
    make = partial(make_line, rows=100, noise=0.0)
    data = DataModule(make, split=[0.7, 0.2, 0.1])
    x = [data.rows[name].x[:, 0].tolist() for name in ("train", "val", "test")]
    assert [len(part) for part in x] == [70, 20, 10]
    assert sorted(chain(*x)) == data.table.x[:, 0].tolist()


@pytest.mark.parametrize("fractions", [[0.8, 0.1, 0.1], [0.5, 0.25, 0.25], [0.4, 0.3, 0.3]])
def test_no_row_is_lost_to_rounding(fractions: list[float]) -> None:
    for rows in range(10, 60):
        data = DataModule(lambda g, rows=rows: make_line(g, rows=rows), split=fractions)
        assert sum(len(part) for part in data.parts.values()) == rows
        for part, fraction in zip(data.parts.values(), fractions, strict=True):
            assert abs(len(part) - fraction * rows) <= 1


def test_without_a_split_all_rows_serve_for_each() -> None:
    data = DataModule(make_three_students)
    for rows in data.rows.values():
        assert torch.equal(rows.x, data.table.x)


def test_the_split_is_a_function_of_the_seed() -> None:
    make = partial(make_line, rows=50)
    first, again, other = (DataModule(make, seed=s, split=[0.6, 0.2, 0.2]) for s in (0, 0, 1))
    assert torch.equal(first.rows["train"].x, again.rows["train"].x)
    assert not torch.equal(first.rows["train"].x, other.rows["train"].x)


def test_statistics_come_from_training_rows_alone() -> None:
    data = DataModule(make_houses, split=[0.5, 0.25, 0.25], standardize=True)
    train, val = data.rows["train"], data.rows["val"]
    np.testing.assert_allclose(train.x.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(train.x.numpy().std(0), 1, rtol=1e-5)
    np.testing.assert_allclose(train.y.mean(0), 0, atol=1e-5)
    assert abs(val.x.mean(0)).min() > 1e-4  # theirs are not zero, as they would be of their own
    nearest = (data.scaling.raw(val.y) - data.table.y.T).abs().min(dim=1).values
    np.testing.assert_allclose(nearest, 0, atol=0.1)  # dollars: each is a price of the table again


def test_pass_fail_targets_are_not_standardized() -> None:
    data = DataModule(make_students, split=[0.8, 0.1, 0.1], standardize=True)
    assert set(data.rows["train"].y.flatten().tolist()) == {0.0, 1.0}


def test_a_constant_feature_stays_finite() -> None:
    scaling = Scaling(2, 1)
    scaling.fit_inputs(torch.tensor([[1.0, 2.0], [1.0, 4.0]]))
    assert scaling.inputs(torch.tensor([[1.0, 3.0]])).tolist() == [[0.0, 0.0]]


def test_an_epoch_sees_every_row_once() -> None:
    order = BatchOrder(rows=10, batch_size=4, seed=3)
    batches = list(order)
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert len(order) == 3
    assert sorted(torch.cat(batches).tolist()) == list(range(10))


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    def epochs(seed: int, wanted: list[int]) -> list[list[int]]:
        order, seen = BatchOrder(20, 20, seed), []
        for epoch in wanted:
            order.set_epoch(epoch)
            seen.append(next(iter(order)).tolist())
        return seen

    first = epochs(0, [0, 1, 2])
    assert first[0] != first[1] != first[2]
    assert epochs(0, [2, 1, 0]) == first[::-1]
    assert epochs(1, [0])[0] != first[0]


def test_batches_come_as_they_were_ordered() -> None:
    data = DataModule(partial(make_line, rows=10, noise=0.0), batch_size=4)
    expected = [data.table.x[batch] for batch in data.order]
    served = [x for x, _ in data.train_dataloader()]
    assert all(torch.equal(a, b) for a, b in zip(served, expected, strict=True))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size=0: must be 1 to 100"),
        ({"batch_size": 101}, "batch_size=101: must be 1 to 100"),
        ({"split": [0.5, 0.5]}, r"split=\[0.5,0.5\]: must be three fractions"),
        ({"split": [0.9, 0.2, 0.2]}, "sum to 1"),
        ({"split": [0.99, 0.004, 0.006]}, "one row each"),
        ({"seed": -1}, "seed=-1: must be a whole number ≥ 0"),
    ],
)
def test_refusals(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataModule(make_line, **settings)  # type: ignore[arg-type]
