"""A training loop tried twice: recorded, and by hand without some of its steps.

What is answered of the first is compared with what the second one gives.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

import aadsl
from aadsl.errors import AadslError

generator = torch.Generator().manual_seed(0)
INPUTS = torch.randn(200, 6, generator=generator)
TARGETS = (INPUTS @ torch.randn(6, 3, generator=generator)).argmax(1)
DATA = (INPUTS, TARGETS)
STEPS = 40


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def dropout() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.3), nn.Tanh(), nn.Linear(8, 3))


def normalized() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def cross_entropy(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return functional.cross_entropy(model(batch[0]), batch[1])


def rows(step: int) -> Tensor:
    """Return the examples of a step."""
    return torch.randint(0, 200, (16,), generator=torch.Generator().manual_seed(100 + step))


def batch(step: int) -> tuple[Tensor, Tensor]:
    return INPUTS[rows(step)], TARGETS[rows(step)]


def log_likelihood(model: nn.Module) -> float:
    """Return the mean log-likelihood of all examples, by hand."""
    with torch.no_grad():
        scores = functional.log_softmax(model.eval()(INPUTS), 1)
    return float(scores.gather(1, TARGETS[:, None]).mean())


class NotRecorded:
    """Stands for a recorder where the loop is tried without one."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *given, **named: None


@dataclass
class Try:
    """One run of a loop.

    Attributes:
        folder: where it is recorded; None for a run by hand.
        skipped: the steps that the run by hand leaves out.
        taken: how many steps were taken, or left out.
    """

    folder: Path | None = None
    skipped: Collection[int] = ()
    taken: int = field(default=0, init=False)
    _recorder: Any = field(default=None, init=False)

    def recorder(self, model: nn.Module, optimizer: Any, **options: Any) -> Any:
        """Return the recorder of a loop."""
        if self.folder is None:
            return NotRecorded()
        self._recorder = aadsl.Recorder(self.folder, model, optimizer, **({"data": DATA} | options))
        return self._recorder

    @property
    def leaves_out(self) -> bool:
        """Whether the next step is left out."""
        return self.taken in self.skipped

    def step(self, *optimizers: torch.optim.Optimizer) -> None:
        """Take the next step, unless it is left out."""
        if not self.leaves_out:
            for optimizer in optimizers:
                optimizer.step()
        self.taken += 1

    def end(self) -> None:
        """Let go of the folder, where the loop was ended by an error."""
        if self._recorder is not None:
            self._recorder.close()


Loop = Callable[[Try], nn.Module]
"""A training loop; the model that it returns is asked about."""


@dataclass(frozen=True)
class Situation:
    """A loop, and what is asked of it.

    Attributes:
        loop: the training.
        expected: whether the answer has to be right, or refused; a recording may be refused, too.
        because: what a refusal says among other things.
        skipped: the stage.
        model, loss, data: what the study is given.
    """

    loop: Loop
    expected: Literal["right", "refused"] = "right"
    because: str = ""
    skipped: range = range(5, 9)
    model: Callable[[], nn.Module] = mlp
    loss: Callable[[nn.Module, Any], Tensor] = cross_entropy
    data: Any = DATA


@dataclass(frozen=True)
class Verdict:
    """What became of a situation.

    Attributes:
        answer: the effect that was answered; None where there was a refusal.
        truth: the effect by hand.
        trust: in the answer.
        said: the refusal.
    """

    truth: float
    answer: float | None = None
    trust: str = ""
    said: str = ""

    @property
    def wrong(self) -> bool:
        """Whether the answer is off by more than 2% without a mark."""
        return self.answer is not None and self.trust != "low" and self.off > 0.02

    @property
    def off(self) -> float:
        """How far the answer is off, relative to the truth; float32 leaves a rest."""
        return 0.0 if self.answer is None else max(0.0, abs(self.answer - self.truth) - 1e-6) / abs(self.truth)

    @property
    def word(self) -> str:
        """``"right"``, ``"refused"``, ``"marked"`` (wrong, with low trust) or ``"WRONG"``."""
        if self.answer is None:
            return "refused"
        return "right" if self.off < 1e-3 else "WRONG" if self.wrong else "marked"


def ask(folder: Path, situation: Situation, **options: Any) -> tuple[float, str]:
    """Return the default answer, and the trust in it."""
    trajectory = aadsl.open_trajectory(folder)
    given = {"model": situation.model(), "loss": situation.loss, "data": situation.data} | options
    study = aadsl.Study(trajectory, device="cpu", **given)
    study.stage("part", study.steps["step"].isin(list(situation.skipped)))
    study.behavior("likelihood", "log_likelihood", on=DATA)
    answer = study.score(["part"], ["likelihood"])
    return float(answer.effect[0, 0]), str(answer.trust.values[0, 0])


def tried(situation: Situation, folder: Path) -> Verdict:
    """Record a loop, ask, and compare."""
    truth = log_likelihood(situation.loop(Try())) - log_likelihood(situation.loop(Try(skipped=situation.skipped)))
    recorded = Try(folder)
    try:
        situation.loop(recorded)
        return Verdict(truth, *ask(folder, situation))
    except AadslError as error:
        recorded.end()
        return Verdict(truth, said=str(error))
