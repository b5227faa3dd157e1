"""Masks are masks, positions are positions, in whatever form they come; what may be either, or neither, is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from aadsl.core.errors import AadslError
from aadsl.data.examples import Examples
from tests.statements.fakes import LENGTH, FakeStudy

POISONED = np.arange(30, 35)
FORMS = {
    "list": lambda values: values.tolist(),
    "array": lambda values: values,
    "tensor": torch.tensor,
    "DataArray": lambda values: xr.DataArray(values, dims="step"),
    "Series": pd.Series,
    "nullable": lambda values: pd.Series(values).convert_dtypes(),
}
digits = xr.Dataset({"image": (("n", "f"), np.ones((50, 2), dtype="float32")), "label": ("n", np.arange(50) % 10)})
FOURS = np.flatnonzero(digits.label.values == 4)


def held(selection: Any) -> list[int]:
    return np.flatnonzero(FakeStudy().stage("held", selection)).tolist()


def read_on(where: Any, on: Any = digits) -> list[int]:
    study = FakeStudy()
    study.behavior("fours", "log_likelihood", on=on, where=where)
    return study.behaviors["fours"].examples.positions.tolist()


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("dtype", [bool, np.int64, np.uint8])
def test_true_and_false_or_ones_and_zeros_are_a_mask(form: Any, dtype: Any) -> None:
    mask = np.isin(np.arange(LENGTH), POISONED)
    assert held(form(mask.astype(dtype))) == POISONED.tolist()
    assert read_on(form((digits.label.values == 4).astype(dtype))) == FOURS.tolist()


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_other_whole_numbers_are_positions(form: Any) -> None:
    assert held(form(np.array([7, 3, -1]))) == [3, 7, LENGTH - 1]
    assert held(form(np.array([0, 1]))) == [0, 1]
    assert read_on(form(np.array([40, 3, -1]))) == [40, 3, 49]
    assert read_on(form(np.array([1, 0]))) == [1, 0]


def test_masks_computed_from_the_steps_and_the_examples_fit() -> None:
    study = FakeStudy()
    assert held(study.steps["tag"] == "badnet") == POISONED.tolist()
    assert held((study.steps["tag"] == "badnet").astype(int)) == POISONED.tolist()
    assert held(study.steps["step"][3:5]) == [3, 4]
    assert held(slice(3, 9, 2)) == [3, 5, 7] and read_on(slice(3, 5)) == [3, 4]
    labelled = digits.assign_coords(n=np.arange(100, 150))
    assert read_on(labelled.label == 4, labelled) == FOURS.tolist()
    assert held([3, 3, 5]) == [3, 5]


REFUSED_STEPS = {
    "a mask that is too short": (np.ones(40, dtype=bool), "a mask of 40 values does not fit 60 steps"),
    "zeros and ones too short": (np.arange(40) % 2, "a mask of 40 zeros and ones does not fit 60 steps"),
    "two dimensions": (np.ones((60, 1), dtype=bool), "a mask of 60 × 1 values does not fit 60 steps"),
    "floats": (np.zeros(60), "float64 values are neither a mask nor positions of steps"),
    "a step that is not there": ([3, 60], "step 60 is not one of the steps 0 to 59"),
    "a mask of other steps": (
        xr.DataArray(np.ones(60, dtype=bool), {"step": np.arange(60) + 60}, ("step",)),
        'its coordinate "step" is not that of the 60 steps',
    ),
}


@pytest.mark.parametrize(("selection", "message"), REFUSED_STEPS.values(), ids=REFUSED_STEPS)
def test_what_does_not_fit_the_steps_is_refused(selection: Any, message: str) -> None:
    with pytest.raises(AadslError, match=f'stage "held": (the mask is of other steps: )?{message}'):
        held(selection)


REFUSED_EXAMPLES = {
    "a mask that is too short": (digits.label[:30] == 4, "a mask of 30 values does not fit 50 examples"),
    "a mask that is too long": ([True] * 60, "a mask of 60 values does not fit 50 examples"),
    "one value": ([True], "a mask of 1 values does not fit 50 examples"),
    "zeros and ones too short": ([0, 1] * 10, "a mask of 20 zeros and ones does not fit 50 examples"),
    "one named twice": ([3, 5, -47], "example 3 is named more than once"),
    "floats": (torch.zeros(50), "float32 values are neither a mask nor positions of examples"),
    "other examples": (
        xr.DataArray(np.ones(50, dtype=bool), {"example": np.arange(50) + 50}, ("example",)),
        'its coordinate "example" is not that of the 50 examples',
    ),
}


@pytest.mark.parametrize(("where", "message"), REFUSED_EXAMPLES.values(), ids=REFUSED_EXAMPLES)
def test_what_does_not_fit_the_examples_is_refused(where: Any, message: str) -> None:
    with pytest.raises(AadslError, match=f'behavior "fours": (the mask is of other examples: )?{message}'):
        read_on(where)


def test_of_two_examples_zero_and_one_may_be_either() -> None:
    two = (torch.ones(2, 3), torch.tensor([0, 1]))
    with pytest.raises(AadslError, match="may be a mask of the 2 examples, or their numbers"):
        read_on([0, 1], two)
    assert read_on([False, True], two) == [1] and read_on([1, 1], two) == [0, 1] and read_on([1], two) == [1]
    one = (torch.ones(1, 3), torch.tensor([0]))
    assert read_on([0], one) == [0] and read_on([1], one) == [0]


def test_examples_are_selected_by_masks_of_their_length() -> None:
    with pytest.raises(AadslError, match=r"a mask of shape \(3,\) does not fit 50 examples"):
        Examples.of(digits).select(np.ones(3, dtype=bool))
