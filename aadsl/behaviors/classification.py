"""Behaviors of classifiers, read from the class scores that ``model(inputs)`` returns.

Scores, their log softmax and their softmax are read alike. Examples labelled −100 do not count, as in PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from aadsl.behaviors.base import Metric, inputs_and_targets, logits
from aadsl.core.arguments import checked
from aadsl.core.errors import AadslError
from aadsl.core.scalars import IGNORED


@checked
@dataclass(frozen=True)
class LogLikelihood:
    """log p(target | input), in nats: the paper's performance function.

    The model may return scores, their softmax or its logarithm. Examples labelled −100 do not count.

    Attributes:
        target: the class whose likelihood is meant; by default each example's own label.
    """

    target: int | None = None

    differentiable: ClassVar[bool] = True
    higher_is_better: ClassVar[bool] = True
    unit: ClassVar[str] = "nats"
    limits: ClassVar[tuple[float, float]] = (-inf, 0.0)

    def __call__(self, model: nn.Module, examples: Any) -> Tensor:
        """Return the log-likelihood of each example, (n,)."""
        scores, classes = _scores(model, examples, self.target)
        return torch.log_softmax(scores, dim=1).gather(1, classes[:, None])[:, 0]


@checked
@dataclass(frozen=True)
class Probability:
    """p(target | input), between 0 and 1.

    Attributes:
        target: the class whose probability is meant; by default each example's own label.
    """

    target: int | None = None

    differentiable: ClassVar[bool] = True
    higher_is_better: ClassVar[bool] = True
    unit: ClassVar[str] = "probability"
    limits: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __call__(self, model: nn.Module, examples: Any) -> Tensor:
        """Return the probability of each example's class, (n,)."""
        scores, classes = _scores(model, examples, self.target)
        return torch.softmax(scores, dim=1).gather(1, classes[:, None])[:, 0]


@checked
@dataclass(frozen=True)
class Margin:
    """Score of the target minus the log-sum-exp of the other scores: log p/(1 − p), the log-odds.

    Attributes:
        target: the class whose margin is meant; by default each example's own label.
    """

    target: int | None = None

    differentiable: ClassVar[bool] = True
    higher_is_better: ClassVar[bool] = True
    unit: ClassVar[str] = "log-odds"
    limits: ClassVar[tuple[float, float]] = (-inf, inf)

    def __call__(self, model: nn.Module, examples: Any) -> Tensor:
        """Return the margin of each example, (n,)."""
        scores, classes = _scores(model, examples, self.target)
        own = scores.gather(1, classes[:, None])[:, 0]
        others = scores.scatter(1, classes[:, None], float("-inf")).logsumexp(dim=1)
        return own - others


@dataclass(frozen=True)
class Loss:
    """Cross entropy, −log p(label | input), in nats: here a positive effect means that the stage hurt."""

    differentiable: ClassVar[bool] = True
    higher_is_better: ClassVar[bool] = False
    unit: ClassVar[str] = "nats"
    limits: ClassVar[tuple[float, float]] = (0.0, inf)

    def __call__(self, model: nn.Module, examples: Any) -> Tensor:
        """Return the loss of each example, (n,)."""
        return -LogLikelihood()(model, examples)


@dataclass(frozen=True)
class Accuracy:
    """1 where the highest score is the label's, else 0; it has no gradient, so only retraining tells its effects."""

    differentiable: ClassVar[bool] = False
    higher_is_better: ClassVar[bool] = True
    unit: ClassVar[str] = "fraction correct"
    limits: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __call__(self, model: nn.Module, examples: Any) -> Tensor:
        """Return 0 or 1 for each example, (n,)."""
        scores, classes = _scores(model, examples, None)
        return (scores.argmax(dim=1) == classes).to(scores.dtype)


def reads_labels(metric: Metric) -> bool:
    """Return whether a metric reads each example's own class, so that examples labelled −100 do not count."""
    if isinstance(metric, LogLikelihood | Probability | Margin):
        return metric.target is None
    return isinstance(metric, Loss | Accuracy)


def _scores(model: nn.Module, examples: Any, target: int | None) -> tuple[Tensor, Tensor]:
    inputs, labels = inputs_and_targets(examples)
    scores = logits(model, inputs)
    if target is None and labels.is_floating_point() and not torch.equal(labels, labels.round()):
        raise AadslError("the labels are no whole numbers", hint="give the number of each example's class")
    classes = labels.long() if target is None else torch.full_like(labels, target, dtype=torch.long)
    if classes.dim() != 1 or len(classes) != len(scores):
        raise AadslError(
            f"labels of shape {tuple(classes.shape)} do not fit scores of shape {tuple(scores.shape)}",
            hint="one integer label an example is needed",
        )
    count = scores.shape[1]
    if len(classes) and not (int(classes.min()) >= 0 and int(classes.max()) < count):
        worst = int(classes.max()) if int(classes.max()) >= count else int(classes.min())
        hint = f"leave out the examples that have no label: where=labels != {IGNORED}" if worst == IGNORED else ""
        raise AadslError(f"class {worst} does not exist: the model has {count} classes, 0 to {count - 1}", hint=hint)
    return scores, classes
