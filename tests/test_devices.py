"""Where to compute: devices that do not exist are said with the way out, by whichever way they were asked for."""

import pytest
import torch

import aadsl
from aadsl.core.errors import AadslError
from aadsl.replayed.devices import device_of
from tests.digits import record

IMPOSSIBLE = ["gpu0", "cpuu", "meta", "", 3.5, None]
if not torch.cuda.is_available():
    IMPOSSIBLE += ["cuda", "cuda:1"]


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible_devices_are_refused_in_words(name):
    with pytest.raises(AadslError) as raised:
        device_of(name)
    (problem,) = raised.value.problems
    assert problem.message == f'PyTorch cannot compute on "{name}" here'
    assert "here there is: cpu" in problem.hint


@pytest.mark.parametrize("name", ["cpu", "cpu:0", torch.device("cpu")])
def test_devices_that_exist_are_taken(name):
    assert device_of(name).type == "cpu"


def test_auto_takes_the_best():
    assert device_of("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    return record(tmp_path_factory.mktemp("devices") / "digits")


def test_a_study_says_it(recorded):
    with pytest.raises(AadslError, match="gpu0"):
        recorded.study(device="gpu0")


def test_a_program_puts_the_caret_under_it(recorded):
    names = {"net": recorded.net, "loss_fn": len, "data": recorded.data}
    with pytest.raises(AadslError) as raised:
        aadsl.run(f'load "{recorded.path}" with model=net, loss=loss_fn, data=data, device="gpu0"', names)
    (problem,) = raised.value.problems
    assert problem.span is not None
    assert problem.source_line[problem.span.column - 1 :] == '"gpu0"'
