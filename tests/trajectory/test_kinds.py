"""As what an optimizer is recorded: subclasses, namesakes, wrappers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import aadsl
from aadsl.dynamics import DYNAMICS, kind_of
from aadsl.dynamics.kinds import class_of
from tests.optimizers import Lion
from tests.trajectory.loops import DATA, mean_loss, sgd, small_model, train


class Adam(torch.optim.SGD):
    """Has no more than its name in common with the other one."""

    def step(self, closure: Any = None) -> None:
        """Do nothing."""


class Wrapper:
    """As those around an optimizer whose gradients are scaled: no optimizer itself."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.optimizer, name)


class Accelerated(torch.optim.Optimizer):
    """As Accelerate's: an optimizer that has another one, and its groups."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer

    param_groups = property(lambda self: self.optimizer.param_groups)  # type: ignore[assignment]
    state = property(lambda self: self.optimizer.state)  # type: ignore[assignment]

    def step(self, closure: Any = None) -> None:
        """Let the other one step."""
        self.optimizer.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Let the other one do it."""
        self.optimizer.zero_grad()


def trained(kind: type[torch.optim.Optimizer]) -> torch.optim.Optimizer:
    """Return an optimizer that took a step, for which PyTorch wraps the method of its class."""
    parameter = nn.Parameter(torch.ones(2))
    optimizer = kind([parameter], lr=0.1)  # type: ignore[call-arg]
    parameter.grad = torch.ones(2)
    optimizer.step()
    return optimizer


@pytest.mark.parametrize("name", [name for name in DYNAMICS if hasattr(torch.optim, name)])
def test_a_subclass_that_takes_its_parents_steps_counts_as_its_parent(name: str) -> None:
    parent = getattr(torch.optim, name)
    quiet = type("Quiet", (parent,), {"__doc__": "Adds a word.", "word": "word"})
    loud = type("Loud", (parent,), {"step": lambda self, closure=None: parent.step(self, closure)})
    other = type("Other", (parent,), {"_init_group": lambda self, *given: parent._init_group(self, *given)})
    assert kind_of(trained(quiet)) == kind_of(trained(parent)) == name
    assert kind_of(trained(loud)) == f"{__name__}.Loud" and kind_of(trained(other)) == f"{__name__}.Other"


def test_a_class_is_found_by_what_was_recorded_of_it() -> None:
    assert kind_of(trained(Adam)) == f"{__name__}.Adam" and class_of(f"{__name__}.Adam") is Adam
    assert class_of("Adadelta") is torch.optim.Adadelta
    for name in ("Nowhere", "nowhere.Mine", f"{__name__}.test.<locals>.Mine", f"{__name__}.Path", "torch.optim"):
        assert class_of(name) is None


class Hesitant(Lion):
    """Bears its parent's name, and does something else with half of the weights."""

    def step(self, closure: Any = None) -> None:
        """Leave every second weight where it is."""
        kept = [p.detach().clone() for group in self.param_groups for p in group["params"]]
        super().step(closure)
        with torch.no_grad():
            for p, was in zip((p for group in self.param_groups for p in group["params"]), kept, strict=True):
                p[::2] = was[::2]


def test_one_that_pytorch_does_not_have_counts_where_its_steps_are_the_same() -> None:
    """A few steps decide, not the name."""
    assert kind_of(trained(Lion)) == "Lion"
    Hesitant.__name__ = "Lion"
    assert kind_of(trained(Hesitant)) == f"{__name__}.Hesitant"


def test_such_a_subclass_is_replayed_as_its_parent(tmp_path: Path) -> None:
    model = small_model(norm=False)
    optimizer = type("Quiet", (torch.optim.SGD,), {})(model.parameters(), lr=0.1, momentum=0.9)
    with aadsl.Recorder(tmp_path, model, optimizer, DATA) as recorder:
        train(recorder, model, optimizer, 12)
    trajectory = aadsl.open_trajectory(tmp_path)
    assert trajectory.optimizer == "SGD"
    report = trajectory.verify(model=small_model(norm=False), loss=mean_loss, data=DATA, samples=20, device="cpu")
    assert report.ok and "every bit the same" in str(report)


@pytest.mark.parametrize(
    "wrap",
    [Wrapper, Accelerated, lambda one: Wrapper(Wrapper(one)), lambda one: Wrapper(Accelerated(one))],
    ids=["a wrapper", "an optimizer", "two", "one of each"],
)
def test_wrappers_are_seen_through(tmp_path: Path, wrap: Any) -> None:
    model = small_model(norm=False)
    wrapped = wrap(sgd(model))
    with aadsl.Recorder(tmp_path, model, wrapped, DATA) as recorder:
        kept = train(recorder, model, wrapped, 12)
    trajectory = aadsl.open_trajectory(tmp_path)
    assert trajectory.optimizer == "SGD" and trajectory.length == 12
    assert all(torch.equal(trajectory.state(12).parameters[n], p) for n, p in model.named_parameters())
    assert [trajectory.hyperparameters(t)[0]["lr"] for t in range(12)] == kept.rates


def test_what_wraps_no_optimizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(aadsl.AadslError, match=r"a Wrapper, not a torch\.optim\.Optimizer"):
        aadsl.Recorder(tmp_path, small_model(), Wrapper(Wrapper("nothing")), DATA)
