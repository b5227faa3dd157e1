"""One fingerprint means the same computation; whatever computes differently has another one."""

from __future__ import annotations

import functools
import logging
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from aadsl.data.examples import Examples
from aadsl.study.fingerprint import NoFingerprint, code_fingerprint, fingerprint, model_fingerprint


def define(source: str, **names: Any) -> Any:
    """Return ``f`` as a notebook cell that holds ``source`` would define it."""
    space = {"__name__": "__main__", "torch": torch, "nn": nn, **names}
    exec(source, space)
    return space["f"]


def closing_over(value: Any) -> Callable[[Any], Any]:
    return lambda x: x * value


SAME = [
    (lambda: 3), (lambda: "text"), (lambda: None), (lambda: {"a": [1, 2.5, (True,)]}), (lambda: {3, 1, 2}),
    (lambda: torch.arange(6.0).reshape(2, 3)), (lambda: torch.ones(3, dtype=torch.bfloat16)),
    (lambda: np.array(["a", None], dtype=object)), (lambda: np.arange(3)),
    (lambda: xr.Dataset({"a": ("x", [1, 2])})), (lambda: functools.partial(min, 3)), (lambda: closing_over(2)),
    (lambda: define("def f(x):\n    return x + 1")), (lambda: define("def f(x):\n\n    # why\n    return x + 1")),
    (lambda: nn.functional.cross_entropy), (lambda: nn.CrossEntropyLoss(label_smoothing=0.1)),
    (lambda: Examples.of((torch.arange(3.0), torch.arange(3)))),
]  # fmt: skip


@pytest.mark.parametrize("make", SAME)
def test_what_is_made_twice_alike_has_one_fingerprint(make: Callable[[], Any]) -> None:
    assert fingerprint(make()) == fingerprint(make())


@pytest.mark.parametrize("chosen", [[2, 3, 4], [0, 1], [4, 2], [3], [], [1, 2, 4], [0, 0, 1]])
def test_chosen_examples_have_the_fingerprint_that_they_have_alone(chosen: list[int]) -> None:
    positions = np.array(chosen, dtype=np.int64)
    parts = torch.arange(10.0).reshape(5, 2), torch.arange(5)
    alone = Examples.of(tuple(part[torch.from_numpy(positions)] for part in parts))
    assert fingerprint(Examples.of(parts).select(positions)) == fingerprint(alone)


@dataclass
class Settings:
    size: float = 1.0


class Net(nn.Module):
    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.layer, self.scale = nn.Linear(2, 2), scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) * self.scale


HELPER = "def g(x):\n    return x {}\ndef f(x):\n    return g(x)"
CLASS = "class f(nn.Module):\n    def forward(self, x):\n        return x {}"
DIFFERENT: list[tuple[Any, Any]] = [
    (1, 2), (1, 1.0), (1, True), ("1", 1), ([1, 2], [[1], 2]), ((1,), [1]), ({"a": 1}, {"b": 1}), (0.0, -0.0),
    (torch.zeros(2), torch.zeros(3)), (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
    (torch.zeros(2, 3), torch.zeros(3, 2)), (torch.zeros(4), torch.tensor([0.0, 0, 0, 1e-30])),
    (np.zeros(2), np.ones(2)), (np.zeros(2), torch.zeros(2)),
    (xr.Dataset({"a": ("x", [1, 2])}), xr.Dataset({"a": ("x", [1, 3])})),
    (define("def f(x):\n    return x + 1"), define("def f(x):\n    return x + 2")),
    (define("def f(x):\n    return x + 1"), define("def f(x):\n    return x - 1")),
    (define("def f(x, y=1):\n    return x"), define("def f(x, y=2):\n    return x")),
    (define("def f(x):\n    return torch.sin(x)"), define("def f(x):\n    return torch.cos(x)")),
    (define("def f(x):\n    return x * w", w=1), define("def f(x):\n    return x * w", w=2)),
    (define("f = lambda x: (lambda y: y + 1)(x)"), define("f = lambda x: (lambda y: y + 2)(x)")),
    (define(HELPER.format("+ 1")), define(HELPER.format("+ 2"))),
    (define(CLASS.format("+ 1")), define(CLASS.format("+ 2"))),
    (closing_over(2), closing_over(3)), (closing_over(torch.zeros(2)), closing_over(torch.ones(2))),
    (functools.partial(min, 3), functools.partial(min, 4)),
    (nn.functional.cross_entropy, nn.functional.nll_loss),
    (nn.CrossEntropyLoss(label_smoothing=0.1), nn.CrossEntropyLoss(label_smoothing=0.2)),
    (Settings(1.0), Settings(2.0)), (Net().scale, Net(2.0).scale),
    (Examples.of((torch.arange(3.0), torch.arange(3))), Examples.of((torch.arange(3.0), torch.arange(3) + 1))),
    (Examples.of((torch.arange(3.0),)), Examples.of((torch.arange(3.0),)).select(np.array([0, 2, 1]))),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_computes_differently_has_another(one: Any, other: Any) -> None:
    assert fingerprint(one) != fingerprint(other)


def test_a_model_is_its_code_settings_and_the_weights_that_are_not_loaded() -> None:
    torch.manual_seed(0)
    one, other = Net(), Net()
    loaded = frozenset(["layer.weight", "layer.bias"])
    assert model_fingerprint(one, loaded) == model_fingerprint(other, loaded)
    assert model_fingerprint(one, frozenset(["layer.bias"])) != model_fingerprint(other, frozenset(["layer.bias"]))
    assert model_fingerprint(one, loaded) != model_fingerprint(Net(scale=2.0), loaded)
    assert model_fingerprint(one, loaded) == model_fingerprint(one.eval(), loaded)  # each step says its own mode
    assert model_fingerprint(nn.Dropout(0.1), loaded) != model_fingerprint(nn.Dropout(0.2), loaded)
    one.layer.register_forward_hook(lambda module, inputs, output: output + 1)
    assert model_fingerprint(one, loaded) != model_fingerprint(other, loaded)


def test_settings_of_a_model_count_and_references_to_itself_do_not() -> None:
    one, loaded = Net(), frozenset(["layer.weight", "layer.bias"])
    before = model_fingerprint(one, loaded)
    one.hooks = [one.layer.register_forward_hook(closing_over(2))]
    hooked = model_fingerprint(one, loaded)
    one.hooks[0].remove()
    one.hooks = [one.layer.register_forward_hook(closing_over(3))]
    assert len({before, hooked, model_fingerprint(one, loaded)}) == 3

    def owned(seed: int, scale: float = 1.0) -> Net:
        torch.manual_seed(seed)
        net = Net(scale)
        net.weights, net.lock, net.logger = [net.layer.weight], threading.Lock(), logging.getLogger()
        net.__dict__["owner"], net.itself, net.forward = net, weakref.ref(net), net.forward
        net.layer.owner = weakref.ref(net)
        return net

    assert model_fingerprint(owned(0), loaded) == model_fingerprint(owned(1), loaded)
    assert model_fingerprint(owned(0), loaded) != model_fingerprint(owned(1), frozenset())
    assert model_fingerprint(owned(0), loaded) != model_fingerprint(owned(0, 2.0), loaded)


def test_a_model_beside_the_model_counts_with_its_weights() -> None:
    one, other = Net(), Net()
    loaded = frozenset(["layer.weight", "layer.bias"])
    for net, seed in ((one, 0), (other, 1)):
        torch.manual_seed(seed)
        net.__dict__["teacher"] = nn.Linear(2, 2)
    assert model_fingerprint(one, loaded) != model_fingerprint(other, loaded)


def test_the_code_of_a_model_is_apart_from_what_forward_passes_leave_behind() -> None:
    net = Net()
    before = code_fingerprint(net)
    net.last = torch.ones(2)
    assert code_fingerprint(net) == before
    net.forward = closing_over(2)
    assert code_fingerprint(net) != before


IN_ANOTHER_PROCESS = """
import torch, weakref
from aadsl.study.fingerprint import model_fingerprint
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LSTM(2, 2))
net.hooks = [net[0].register_forward_hook(torch.nn.functional.relu)]
net.itself, net.forward, net.names = weakref.ref(net), net.forward, {"b", "a"}
print(model_fingerprint(net, frozenset()))
"""


def test_a_model_has_one_fingerprint_in_all_processes() -> None:
    def said(more: str) -> str:
        run = [sys.executable, "-c", more + IN_ANOTHER_PROCESS]
        return subprocess.run(run, capture_output=True, text=True, check=True).stdout

    more = "import torch\n[torch.nn.Linear(1, 1).register_forward_hook(print) for _ in range(5)]\n"
    plain = said("")
    assert len(plain) > 60
    assert plain == said(more)


def test_what_is_nested_too_deeply_has_none() -> None:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    with pytest.raises(NoFingerprint, match="nested too deeply"):
        fingerprint(value)
    while isinstance(value, list):  # a list inside a list is freed by recursion
        value = value.pop()


def test_a_value_inside_itself_ends() -> None:
    endless: list[Any] = [1]
    endless.append(endless)
    assert fingerprint(endless) == fingerprint(endless)


@pytest.mark.parametrize(
    "value", [threading.Lock(), (n for n in range(3)), [object()]], ids=["lock", "generator", "object"]
)
def test_what_cannot_be_told_apart_has_none(value: Any) -> None:
    with pytest.raises(NoFingerprint):
        fingerprint(value)
