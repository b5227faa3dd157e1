"""An average of the weights that a loop keeps beside the model (EMA, SWA), followed as a part of the state.

It takes the model in after a step, ā ← ā + w (θ − ā). An ``AveragedModel`` says when it did, and w is asked of its
rule; of any other average both are measured on a few numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from aadsl.core.arguments import shown
from aadsl.core.errors import AadslError
from aadsl.core.wrappers import named_buffers, named_parameters
from aadsl.trajectory.store.specs import AVERAGE_COUNT, AVERAGE_WEIGHT, ParameterSpec
from aadsl.trajectory.store.tensors import StateEntry

TENSORS, NUMBERS = 8, 256  # of as many parameters as many numbers tell how the average moved
COUNTS = (1, 3, 10, 100)  # of models, at which a rule is asked for its weight


class FollowedAverage:
    """What is recorded of an average.

    Args:
        given: an ``AveragedModel``, another module with the model's parameters, or that has one as ``.module``, or a
            mapping of their names to tensors.
        parameters: what is trained of the model, by name; specs: its description.
        buffers: the names of the model's buffers of floating type.

    Attributes:
        rule: what the header says of it: ``formula``, ``counted`` and ``buffers``, as
            :class:`aadsl.propagation.averaging.Averaging` has them; empty where they are not known beforehand.

    Raises:
        AadslError: it is nothing of this, or has not the parameters that are trained.
    """

    def __init__(
        self,
        given: Any,
        parameters: Mapping[str, Tensor],
        specs: Mapping[str, ParameterSpec],
        buffers: Iterable[str],
    ) -> None:
        self._given, self._parameters, self._buffers = given, parameters, tuple(buffers)
        self._known = given if isinstance(given, AveragedModel) else None
        self._names = [*parameters]
        self._require_fitting(specs)
        self._chosen = self._names[:: max(1, len(self._names) // TENSORS)][:TENSORS]
        self.rule: dict[str, Any] = {"followed": True} | ({} if self._known is None else _rule_of(self._known))
        self.count: Tensor | int = 0
        self._weight: Tensor | float = 0.0
        self._seen = -1 if self._known is None else self._known.n_averaged._version
        self._before = self._sample(self._tensors())
        self._taken = 0 if self._known is None else int(self._known.n_averaged)

    def entries(self) -> Iterator[StateEntry]:
        """Yield what a state holds of it."""
        self.look()
        tensors = self._tensors()
        for name in self._names:
            yield StateEntry("average", "parameters", name, tensors[name])
        for name in self._buffers:
            if name in tensors:
                yield StateEntry("average", "buffers", name, tensors[name])
        yield StateEntry("average", "count", "", torch.as_tensor(self.count, dtype=torch.float64))

    def look(self) -> None:
        """See whether it took the model in since it was looked at last, and how much of it."""
        weight: Tensor | float
        moved: Tensor | bool = True
        if self._known is None:
            weight, moved = self._measured()
        elif self._known.n_averaged._version == self._seen:
            return
        else:
            self._seen = self._known.n_averaged._version
            count = int(self._known.n_averaged)
            weight = _in_all([_weight_of(self._known, n) for n in range(self._taken, count)])
            self._taken = count
        self.count = self.count + moved
        # The model is the same since it was looked at, so that several times are one.
        fresh = isinstance(self._weight, float) and not self._weight
        self._weight = weight if fresh else 1 - (1 - self._weight) * (1 - weight)

    def _measured(self) -> tuple[Tensor, Tensor]:
        """Return the w of ā' = ā + w (θ − ā) by least squares, and whether it moved; no device is waited for.

        Versions of tensors do not tell: many loops write to ``.data``.
        """
        before, self._before = self._before, self._sample(self._tensors())
        moved, way = self._before - before, self._sample(self._parameters).to(before.device) - before
        any_moved = (moved != 0).any()
        return torch.where(any_moved, (way @ moved) / (way @ way), 0.0), any_moved

    def taken(self) -> dict[str, Any]:
        """Return what the row of the coming step says of it: what it took in since this was asked last."""
        self.look()
        weight, self._weight = self._weight, 0.0
        return {AVERAGE_COUNT: self.count, AVERAGE_WEIGHT: weight}

    def goes_on(self) -> None:
        """Say that the run was begun before: what the average took in last is not known here."""
        self._weight = float("nan")

    def at_end(self) -> dict[str, Any]:
        """Return what the header of a run that ends says of it: the rule, and what it took in after the last step."""
        return self.rule | {name: float(value) for name, value in self.taken().items()}

    def _tensors(self) -> Mapping[str, Tensor]:
        if isinstance(self._given, Mapping):
            return self._given
        module = self._given
        while not {*self._names} <= (own := dict(named_parameters(module)) | dict(named_buffers(module))).keys():
            inner = getattr(module, "module", None)
            if not isinstance(inner, nn.Module):
                return own
            module = inner
        return own

    def _require_fitting(self, specs: Mapping[str, ParameterSpec]) -> None:
        way_out = "give the AveragedModel, another module like the model, or a dict of its names and tensors"
        if not isinstance(self._given, (nn.Module, Mapping)):
            said = f"averaged must be an average of the model's weights, not {shown(self._given)}"
            raise AadslError(said, hint=way_out)
        tensors = self._tensors()
        for name, spec in specs.items():
            own = tensors.get(name)
            if not isinstance(own, Tensor) or tuple(own.shape) != spec.shape:
                raise AadslError(
                    f'averaged has no "{name}" of the shape that the model has, {spec.shape}', hint=way_out
                )
            if own is self._parameters[name]:
                raise AadslError("averaged is the model itself, not an average beside it", hint=way_out)

    def _sample(self, tensors: Mapping[str, Tensor]) -> Tensor:
        flat = [tensors[name].detach().reshape(-1) for name in self._chosen]
        parts = [one[:: max(1, one.numel() // NUMBERS)][:NUMBERS] for one in flat]
        return torch.cat([part.to(parts[0].device) for part in parts]).double()


def _in_all(weights: list[float]) -> float:
    """Return the weight with which one model was taken in that was taken in with each of these."""
    left = 1.0
    for weight in weights:
        left *= 1 - weight
    return 1 - left if len(weights) != 1 else weights[0]


def _weight_of(average: AveragedModel, count: int) -> float:
    """Return the weight with which an average takes in a model after ``count`` others."""
    if not count:
        return 1.0
    return float(_applied(average, count, torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)))


def _applied(average: AveragedModel, count: int, old: Tensor, new: Tensor) -> Tensor:
    """Return what the average makes of one tensor of its own and of the model's."""
    number = torch.tensor(count)
    if average.multi_avg_fn is not None:
        own = old.clone()
        average.multi_avg_fn([own], [new], number)
        return own
    if average.avg_fn is not None:
        return average.avg_fn(old, new, number)
    return old + (new - old) / (number + 1)


def _rule_of(average: AveragedModel) -> dict[str, Any]:
    """Return how an ``AveragedModel`` takes models in.

    Raises:
        AadslError: its function is no weighted mean of its two arguments.
    """
    generator = torch.Generator().manual_seed(0)
    old, new = (torch.randn(256, generator=generator) for _ in range(2))
    weights = [_weight_of(average, n) for n in COUNTS]
    found = [_applied(average, n, old, new) for n in COUNTS]
    if not all(torch.allclose(one, torch.lerp(old, new, w), atol=1e-5) for one, w in zip(found, weights, strict=True)):
        raise AadslError(
            "averaged: its function makes no weighted mean of the average and the model, so it cannot be replayed",
            hint="record without averaged=; the study then answers for the model itself",
        )
    candidates: dict[str, Callable[[float], Tensor]] = {
        "lerp": lambda w: torch.lerp(old, new, w),
        "mean": lambda w: old + (new - old) / round(1 / w),
        "sum": lambda w: (1 - w) * old + w * new,
    }
    formula = next(
        (
            name
            for name, make in candidates.items()
            if all(torch.equal(one, make(w)) for one, w in zip(found, weights, strict=True) if w)
        ),
        "lerp",
    )
    counted = all(abs(w - 1 / (n + 1)) < 1e-6 for w, n in zip(weights, COUNTS, strict=True))
    buffers = "averaged" if average.use_buffers else "copied"
    return {"formula": formula, "counted": counted, "buffers": buffers}
