"""How a run was trained, as its loop is told again, and the steps that are taken by that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from aadsl.core.arguments import shown
from aadsl.core.calls import answer_of
from aadsl.core.clip import Clip
from aadsl.core.copies import copied
from aadsl.core.errors import AadslError
from aadsl.data.examples import Examples, to_device
from aadsl.propagation import LossFunction
from aadsl.propagation.loss import evaluated
from aadsl.reconstruction.checkpoints import Checkpoint
from aadsl.trajectory import Recorder

Rates: TypeAlias = float | Sequence[float]
"""A learning rate, or that of each parameter group."""


@dataclass(frozen=True)
class Recipe:
    """How a run was trained; :func:`aadsl.reconstruct` says what each part is.

    ``device`` is where steps are taken.
    """

    model: nn.Module
    loss: LossFunction
    optimizer: Callable[..., Any]
    batches: Callable[[int], Any]
    data: Any
    begin: Callable[[int], Any] | None
    schedule: Callable[[int], Rates] | None
    metadata: Callable[[int], Mapping[str, Any]] | None
    clip: Clip | None
    accumulate: int
    states: Any
    device: torch.device

    @cached_property
    def examples(self) -> Examples | None:
        """What the indices point into."""
        return None if self.data is None else Examples.of(self.data)


class Trainer:
    """A model of its own and its optimizers, on the way from checkpoint to checkpoint."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.model = copied(recipe.model).to(recipe.device)
        made = answer_of("optimizer(params)", recipe.optimizer, list(self.model.parameters()))
        self.optimizers: list[Optimizer] = list(made) if isinstance(made, (list, tuple)) else [made]
        if not all(isinstance(one, Optimizer) for one in self.optimizers):
            raise AadslError(
                f"optimizer(params) returned {shown(made)}, no optimizer",
                hint="such as optimizer=lambda params: torch.optim.AdamW(params, lr=0.001)",
            )

    def put(self, checkpoint: Checkpoint) -> None:
        """Be where a checkpoint is; optimizers whose state was not kept stay as they are."""
        checkpoint.put_into(self.model)
        checkpoint.put_into_optimizers(self.optimizers)

    def recorder(self, path: Any, accumulate: int = 1) -> Recorder:
        """Return what records the coming steps."""
        recipe = self.recipe
        optimizer = self.optimizers if len(self.optimizers) > 1 else self.optimizers[0]
        return Recorder(
            path, self.model, optimizer, data=recipe.data, states=recipe.states, overwrite=True, clip=recipe.clip,
            accumulate=recipe.accumulate if accumulate > 1 else None,
        )  # fmt: skip

    def take(self, step: int, recorder: Recorder | None = None) -> None:
        """Take a step of the run.

        Raises:
            AadslError: a function that was given fails, or returns what is none.
        """
        recipe = self.recipe
        if recipe.begin is not None:
            answer_of(f"begin({step})", recipe.begin, step)
        for one in self.optimizers:
            one.zero_grad()
        for number, part in enumerate(self._parts(step)):
            batch, announced = self._batch(part)
            if recorder is not None:
                recorder.batch(**announced, **({} if number else self._metadata(step)))
            share = evaluated(recipe.loss, self.model, batch) / recipe.accumulate
            share.backward()  # type: ignore[no-untyped-call]
        self._clip()
        self._set_rates(step)
        for one in self.optimizers:
            one.step()

    @property
    def keeps_state(self) -> bool:
        """Whether the optimizers keep anything from step to step."""
        return any(bool(one.state) for one in self.optimizers)

    def _parts(self, step: int) -> Sequence[Any]:
        given, count = answer_of(f"batches({step})", self.recipe.batches, step), self.recipe.accumulate
        if count == 1:
            return [given]
        if not isinstance(given, (list, tuple)) or len(given) != count:
            said = f"{len(given)} of them" if isinstance(given, (list, tuple)) else shown(given)
            raise AadslError(
                f"batches({step}) returned {said}, not the {count} micro-batches of the step",
                hint=f"accumulate={count} says so: return a list of them",
            )
        return given

    def _batch(self, part: Any) -> tuple[Any, dict[str, Any]]:
        """Return a batch on the device, and what is announced of it."""
        examples = self.recipe.examples
        positions = None if examples is None else _positions(part)
        if examples is not None and positions is not None:
            return examples.take(positions, self.recipe.device), {"indices": positions}
        return to_device(part, self.recipe.device), {"tensors": part}

    def _metadata(self, step: int) -> dict[str, Any]:
        metadata = self.recipe.metadata
        return {} if metadata is None else dict(answer_of(f"metadata({step})", metadata, step))

    def _clip(self) -> None:
        clip = self.recipe.clip
        if clip is not None and clip.kind == "norm":
            nn.utils.clip_grad_norm_(self.model.parameters(), clip.limit, clip.norm_type)
        elif clip is not None:
            nn.utils.clip_grad_value_(self.model.parameters(), clip.limit)

    def _set_rates(self, step: int) -> None:
        if self.recipe.schedule is None:
            return
        given = answer_of(f"schedule({step})", self.recipe.schedule, step)
        groups = [group for one in self.optimizers for group in one.param_groups]
        rates = [given] * len(groups) if isinstance(given, Real) else given
        if not isinstance(rates, (list, tuple)) or len(rates) != len(groups):
            hint = f"return the learning rate of the step, or a list of {len(groups)}, one for each parameter group"
            raise AadslError(f"schedule({step}) returned {shown(given)}", hint=hint)
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = float(rate)


def _positions(part: Any) -> Any:
    """Return positions in the data as an array; None where these are none, but a batch."""
    if isinstance(part, Tensor):
        whole = part.ndim == 1 and not (part.is_floating_point() or part.is_complex() or part.dtype == torch.bool)
        return part.numpy(force=True).astype(np.int64) if whole else None
    if isinstance(part, np.ndarray):
        return part.astype(np.int64) if part.ndim == 1 and part.dtype.kind in "iu" else None
    if isinstance(part, range) or (isinstance(part, (list, tuple)) and part and all(type(i) is int for i in part)):
        return np.array(part, dtype=np.int64)
    return None
