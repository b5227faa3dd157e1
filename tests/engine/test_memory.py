"""Sweeps under a budget of memory, simulated where there is no GPU: fewer states are held, numbers are the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from aadsl.core import memory
from aadsl.core.errors import AadslError
from aadsl.estimators import FirstOrder
from aadsl.estimators.defaults import candidates_for, finite_sweep
from aadsl.propagation import ObservedStep, backward
from aadsl.propagation.shelf import HostShelf, Shelf
from aadsl.replayed.execution import Execution
from tests.engine.tiny import TinyRun, tiny_run
from tests.engine.tiny_studies import answer, recorded

GAPS = (0, 1, 3, 11)
CPU = torch.device("cpu")


class SmallShelf(Shelf):
    """A shelf for so many steps of a stretch; more do not fit into the memory."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity, self.most = capacity, 0

    def keep(self, place: int, tensors: Sequence[Tensor]) -> list[Tensor]:
        if place >= self.capacity:
            raise torch.OutOfMemoryError("out of memory, as planned")
        self.most = max(self.most, place + 1)
        return super().keep(place, tensors)


def sparse_run() -> TinyRun:
    run = tiny_run("Adam", length=11)
    run.kept = GAPS
    return run


def noted(taken: ObservedStep) -> tuple[int, list[Tensor]]:
    """Return what one step of a sweep reads; its memory is used again."""
    tensors = [*taken.state.tensors(), *taken.after.tensors(), taken.evaluation.gradient]
    return taken.step.index, [tensor.clone() for tensor in tensors]


def swept(shelf: Shelf | None, limit: int = 64) -> list[tuple[int, list[Tensor]]]:
    run = sparse_run()
    return [noted(taken) for taken in backward(run, run.step_map, 0, None, limit, shelf=shelf)]


def assert_same(found: list[tuple[int, list[Tensor]]]) -> None:
    expected = swept(None)
    assert [index for index, _ in found] == [index for index, _ in expected] == list(range(10, -1, -1))
    for (_, own), (_, other) in zip(found, expected, strict=True):
        assert all(map(torch.equal, own, other))


@pytest.mark.parametrize("limit", [1, 2, 3, 64])
def test_states_that_wait_elsewhere_come_back_as_they_were(limit: int) -> None:
    assert_same(swept(HostShelf(CPU), limit))


@pytest.mark.parametrize("capacity", [1, 2, 3, 5])
def test_where_the_memory_holds_fewer_states_a_sweep_goes_on_with_fewer(capacity: int) -> None:
    shelf = SmallShelf(capacity)
    assert_same(swept(shelf))
    assert shelf.most <= capacity


def test_a_memory_without_room_for_one_state_ends_the_sweep() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        swept(SmallShelf(0))


def test_a_curvature_that_does_not_fit_is_followed_by_one_that_does(tmp_path: Path) -> None:
    study, tried = recorded(tmp_path / "run"), []

    def sweep(curvature: object, execution: Execution) -> str:
        tried.append(curvature)
        if len(tried) <= failures:
            raise torch.OutOfMemoryError
        return "answer"

    candidates, failures = candidates_for(study.history, None), 1
    found = finite_sweep(study.history, candidates, None, Execution(), sweep)
    assert found == ("answer", "central_difference(radius=1.0)") and tried == candidates
    tried, failures = [], 2
    with pytest.raises(AadslError, match=r"memory of cpu does not hold a sweep(.|\n)*using retraining\(\)"):
        finite_sweep(study.history, candidates, None, Execution(), sweep)


def test_by_default_states_take_half_of_what_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plenty = recorded(tmp_path / "run", length=30)
    state = plenty.history.state(0)
    expected = answer(plenty, FirstOrder(), [[2, 3], [9]]).effect
    monkeypatch.setattr(
        "aadsl.replayed.held_states.free_memory", lambda: 12.0 * (state.nbytes + state.parameters.nbytes)
    )
    scarce = recorded(tmp_path / "again", length=30)
    assert scarce.history.limit == 3 < plenty.history.limit
    assert np.array_equal(answer(scarce, FirstOrder(), [[2, 3], [9]]).effect, expected)
    monkeypatch.setattr("aadsl.replayed.held_states.free_memory", lambda: 0.0)
    assert recorded(tmp_path / "none", length=30).history.limit == 2


def test_free_memory_is_what_system_and_container_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_SYSTEM", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    assert memory.free_memory() == float("inf")
    (tmp_path / "meminfo").write_text("MemTotal: 900 kB\nMemAvailable:   300 kB\n")
    assert memory.free_memory() == 300 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert memory.free_memory() == 300 * 1024
    (tmp_path / "memory.max").write_text("5000\n")
    assert memory.free_memory() == 4000
