"""What a person varies, as the runs that it means."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recap.sweeps import grid
from recap.sweeps.grid import points, seeds, values_of


def test_examples_in_docstrings() -> None:
    result = doctest.testmod(grid)
    assert result.attempted >= 4
    assert not result.failed


def test_axes_multiply_and_labels_are_fit_for_folders() -> None:
    found = points(["train.reweighting = @reweighting.recap, @reweighting.uniform", "adamw.learning_rate = 1e-5, 1e-4"])
    assert [point.label for point in found] == [
        "recap_learning_rate=1e-5", "recap_learning_rate=1e-4", "uniform_learning_rate=1e-5", "uniform_learning_rate=1e-4",
    ]  # fmt: skip
    assert found[3].bindings == ("train.reweighting = @reweighting.uniform", "adamw.learning_rate = 1e-4")


def test_labels_that_would_be_the_same_are_numbered() -> None:
    labels = [point.label for point in points(["a.path = 'x/y', 'x y', 'z'"])]
    assert labels == ["path=x_y-1", "path=x_y-2", "path=z"]


def test_nothing_varied_is_one_point() -> None:
    (point,) = points([], "quickstart")
    assert (point.label, point.bindings) == ("quickstart", ())


@pytest.mark.parametrize("axis", ["train.steps", "= 1, 2", "train.steps = 1,, 2", "train.steps ="])
def test_an_axis_that_cannot_be_read(axis: str) -> None:
    with pytest.raises(ValueError, match="name = value, value"):
        points([axis])


def test_one_binding_on_two_axes() -> None:
    with pytest.raises(ValueError, match=r"binds train\.steps more than once"):
        points(["train.steps = 1", "train.steps = 2"])


@pytest.mark.parametrize("text", ["", "a", "3-1", "1,1", "0-3,2", "-1", "1 2"])
def test_seeds_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ValueError, match="--seeds"):
        seeds(text)


@given(
    st.lists(
        st.sampled_from(["1", "'a, b'", "[1, 2]", "(1, (2, 3))", "{'x': 1, 'y': 2}", "@a.b()", '"q, r"']), min_size=1
    )
)
def test_values_come_back_as_they_were_written(values: list[str]) -> None:
    assert values_of(", ".join(values)) == values
