"""Whether runs can advance together is seen on one step: what is right is not refused, what is wrong is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aadsl.dynamics import RESTING
from aadsl.interventions import INTERVENTIONS, counterfactual
from aadsl.propagation import CannotAdvanceTogetherError, ensemble, rehearse, reruns
from aadsl.propagation.stacked import StackedObjective
from tests.engine.test_normalization import normalized
from tests.engine.tiny import loss, tiny_run


class Attending(nn.Module):
    """Attention, whose key bias has a gradient of zero: rounding alone decides what Adam makes of it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.embed, self.head = nn.Linear(1, 8), nn.Linear(8, 3)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x[..., None])
        return self.head(self.attention(tokens, tokens, tokens)[0].mean(dim=1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_that_the_optimizer_makes_large_is_no_disagreement(dtype: torch.dtype) -> None:
    run = tiny_run("AdamW", model=Attending().to(dtype), eps=1e-30)
    found = rehearse(run, run.step_map, 3, 4)
    assert found.agrees and not found.why and found.gain > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("part", ["gradients", "buffers", "integers"])
def test_a_planted_error_is_found(monkeypatch: pytest.MonkeyPatch, part: str, dtype: torch.dtype) -> None:
    run = tiny_run("SGD", model=normalized().to(dtype), groups=1)
    assert rehearse(run, run.step_map, 2, 3).agrees
    honest = StackedObjective.evaluate

    def planted(*given):
        found = honest(*given)
        if part == "gradients":
            found.gradients[0][-1] *= 1.05
        elif part == "buffers":
            before = run.states[2].buffers
            found.buffers[-1] += 0.05 * (found.buffers[-1] - before)
        else:
            found.integers[0][-1] += 1
        return found

    monkeypatch.setattr(StackedObjective, "evaluate", planted)
    found = rehearse(run, run.step_map, 2, 3)
    assert not found.agrees and found.gain == 0
    assert ("gradient" if part == "gradients" else "statistics") in found.why


def looking(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    value = loss(model, batch)
    return 2 * value if value > 0 else value


def choosing(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    each = nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")
    return each[each > 0].mean()


def leaving(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return loss(model, batch) * float(model(batch[0]).detach().numpy().size)


def deriving(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    inputs = batch[0].clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(model, (inputs, batch[1])), inputs, create_graph=True)
    return loss(model, batch) + slope.square().sum()


def recurrent(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    cell = nn.RNN(3, 3).double()
    return nn.functional.cross_entropy(cell(model(batch[0]))[0], batch[1])


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (looking, "looks at its values"),
        (choosing, "values decide how many"),
        (leaving, "leaves PyTorch"),
        (deriving, "takes derivatives itself"),
        (recurrent, "cannot compute rnn_tanh"),
    ],
)
def test_what_is_refused_is_said_in_words(refused: Callable, words: str) -> None:
    run = tiny_run("SGD")
    run.step_map.objective.loss = refused
    if refused is not recurrent:  # which has other weights each time
        assert torch.isfinite(run.step_map(run.states[0], run.steps[0]).parameters).all(), "alone it can be computed"
    found = rehearse(run, run.step_map, 0, 3)
    assert words in found.why and not found.agrees and found.gain == 0
    skip = counterfactual(INTERVENTIONS["skip"](), np.isin(np.arange(run.length), [2]))
    with pytest.raises(CannotAdvanceTogetherError, match=words):
        list(ensemble(run, run.step_map, [skip, skip], [2, 2], size=2))


def test_a_refusal_of_a_later_batch_leaves_what_was_done_and_can_be_done_alone() -> None:
    run = tiny_run("SGD", length=16)
    seen = []

    def late(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        seen.append(batch)
        return looking(model, batch) if batch is run.steps[14].batches.batches[0] else loss(model, batch)

    run.step_map.objective.loss = late
    assert rehearse(run, run.step_map, 0, 3).agrees
    varied = [counterfactual(INTERVENTIONS["skip"](), np.isin(np.arange(16), [t])) for t in (1, 2, 15)]
    ends = ensemble(run, run.step_map, varied, [1, 2, 15], size=2)
    with pytest.raises(CannotAdvanceTogetherError, match=r"looks at its values(.|\n)*one after the other"):
        next(ends)
    assert [end.position for end in reruns(run, run.step_map, varied, [1, 2, 15])] == [0, 1, 2]


def test_a_run_that_is_alone_at_a_step_has_the_bits_of_one() -> None:
    """A skip of the last step: the control run is alone all the way, and at that step."""
    run = tiny_run("Adam", model=Attending())
    last = run.length - 1
    skip = counterfactual(INTERVENTIONS["skip"](), np.isin(np.arange(run.length), [last]))
    (together,), (alone,) = (
        list(ensemble(run, run.step_map, [skip], [last], size=4)),
        list(reruns(run, run.step_map, [skip], [last])),
    )
    assert torch.equal(together.state.parameters, alone.state.parameters)
    assert torch.equal(together.controls[0].parameters, run.states[-1].parameters)


def test_a_group_that_rests_and_modes_that_change_go_together() -> None:
    run = tiny_run("AdamW", model=normalized(), groups=2)
    for t in (2, 3):
        run.steps[t] = replace(run.steps[t], dynamics=(run.steps[t].dynamics[0], RESTING), off_mode=("1",))
    for t, step in enumerate(run.steps):
        run.states[t + 1] = run.step_map(run.states[t], step)
    varied = [counterfactual(INTERVENTIONS["skip"](), np.isin(np.arange(run.length), [t])) for t in (1, 2, 5)]
    alone = {end.position: end.state for end in reruns(run, run.step_map, varied, [1, 2, 5])}
    for end in ensemble(run, run.step_map, varied, [1, 2, 5], size=3):
        for a, b in zip(end.state.tensors(), alone[end.position].tensors(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)
