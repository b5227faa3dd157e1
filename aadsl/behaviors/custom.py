"""A behavior of the user's own: any function of the model and the examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

from torch import Tensor, nn

from aadsl.behaviors.base import Metric
from aadsl.core.arguments import checked
from aadsl.core.calls import user_call
from aadsl.core.members import describe


@checked
@dataclass(frozen=True)
class Custom:
    """A callable ``function(model, examples)`` that returns one number an example, as a :class:`Metric`.

    It may say of itself what a metric says: ``differentiable`` (True unless it does), ``higher_is_better`` (True),
    ``unit`` (none) and ``limits`` (none).
    """

    function: Callable[[nn.Module, Any], Tensor]

    @property
    def differentiable(self) -> bool:
        """Whether its effects can be estimated."""
        return bool(getattr(self.function, "differentiable", True))

    @property
    def higher_is_better(self) -> bool:
        """Whether a positive effect means that the stage helped."""
        return bool(getattr(self.function, "higher_is_better", True))

    @property
    def unit(self) -> str:
        """The unit of its numbers."""
        return str(getattr(self.function, "unit", ""))

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the most that its numbers can be."""
        least, most = getattr(self.function, "limits", (-inf, inf))
        return float(least), float(most)

    def __call__(self, model: nn.Module, examples: Any) -> Tensor:
        """Return one number an example, (n,)."""
        numbers: Tensor = user_call("the behavior", self.function, model, examples, 'reduction="none"')
        return numbers


def metric_text(metric: Metric) -> str:
    """Return a metric as the language writes it, one of the notebook by its name there.

    >>> from aadsl.behaviors import BEHAVIORS
    >>> metric_text(BEHAVIORS["probability"](target=3)), metric_text(Custom(max))
    ('probability(target=3)', 'max')
    """
    if isinstance(metric, Custom):
        return str(getattr(metric.function, "__name__", type(metric.function).__name__))
    return describe(metric).removesuffix("()")
