"""The steps of a trajectory, as propagation takes them; the weights of their micro-batches are found out apart."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from math import isfinite

import torch
from torch import Tensor

from aadsl.core.formats import INPUTS_FORMAT
from aadsl.core.generators import NUMPY, OWN, PYTHON, Generator, OwnGenerator
from aadsl.core.kernels import AUTOCAST, Kernels
from aadsl.propagation import Averaging, Step
from aadsl.replayed.batches import BatchLoader, RecordedBatches
from aadsl.replayed.rules import Rules
from aadsl.replayed.weights import Weights
from aadsl.trajectory import Trajectory
from aadsl.trajectory.store.specs import DECIDED, LOSS_SCALE, PLATEAU


class RecordedSteps:
    """What each step was.

    Args:
        trajectory: what was recorded.
        rules: the optimizers.
        batches: what loads batches.
        device: where the steps are taken.
        generators: the program's own that were recorded, in their order.

    Attributes:
        off_mode: (T,) the modules that were in the other mode than the model in a step, as text.
    """

    def __init__(
        self,
        trajectory: Trajectory,
        rules: Rules,
        batches: BatchLoader,
        device: torch.device,
        generators: Sequence[OwnGenerator] = (),
    ) -> None:
        self._trajectory, self._rules, self._batches, self._device = trajectory, rules, batches, device
        on_device = "cuda:0" if str(device) == "cuda" else str(device)
        self._generators: dict[str, Generator] = {name: name for name in ("cpu", PYTHON, NUMPY, on_device)}
        self._generators |= {f"{OWN}{number}": one for number, one in enumerate(generators)}
        self._starts = [job.start for job in trajectory.jobs]
        self._training = trajectory.steps["training"].to_numpy()
        self.off_mode = trajectory.steps["modules_off_mode"].to_numpy()
        self._autocast = trajectory.steps[AUTOCAST].to_numpy() if AUTOCAST in trajectory.steps else None
        self._decided = trajectory.steps[DECIDED].to_numpy() if DECIDED in trajectory.steps else None
        self._formats = trajectory.steps[INPUTS_FORMAT].to_numpy() if INPUTS_FORMAT in trajectory.steps else None
        self._scales = trajectory.steps[LOSS_SCALE].to_numpy() if LOSS_SCALE in trajectory.steps else None

    def at(self, index: int, weights: Weights = (), averaging: Averaging | None = None, *, early: bool = False) -> Step:
        """Return the recorded step Φ_t; without ``weights`` each of its micro-batches has the same.

        ``early``: its random numbers begin where its batches were announced, not where forward passes began.
        """
        restarted = self._rules.restarted(index)
        return Step(
            index,
            self.batches(index),
            self._trajectory.hyperparameters(index),
            self._rules.at(index),
            resets_optimizer=len(restarted) == len(self._rules),
            restarts=restarted,
            training=bool(self._training[index]),
            off_mode=tuple(str(self.off_mode[index]).split()),
            weights=weights,
            sizes=self._trajectory.micro_batch_sizes(index),
            ranks=self._trajectory.micro_batch_ranks(index),
            rng_states=self._rng_states(index, early),
            clip=self._trajectory.declared_clip(index),
            kernels=self._kernels(index),
            inputs_format="" if self._formats is None else str(self._formats[index]),
            loss_scale=self._loss_scale(index),
            averaging=averaging,
            after_plateau=self._decided is not None and PLATEAU in str(self._decided[index]),
            run=bisect_right(self._starts, index) - 1,
        )

    def batches(self, index: int) -> RecordedBatches:
        """Return what loads the micro-batches of a step."""
        return RecordedBatches(self._batches, index)

    def _kernels(self, index: int) -> Kernels:
        switches = self._trajectory.kernels(index)
        lower = "" if self._autocast is None else str(self._autocast[index])
        return {**switches, AUTOCAST: lower} if lower else switches

    def _loss_scale(self, index: int) -> float:
        scale = 1.0 if self._scales is None else float(self._scales[index])
        return scale if isfinite(scale) and scale > 0 else 1.0

    def _rng_states(self, index: int, early: bool) -> tuple[dict[Generator, Tensor], ...]:
        states = self._trajectory.rng_states(index)
        if early:
            announced = self._trajectory.announced_rng_states(index)
            states = tuple(late | before for late, before in zip(states, announced, strict=True))
        if not any(states):
            return ()
        here = self._generators
        return tuple({here[name]: state for name, state in own.items() if name in here} for own in states)
