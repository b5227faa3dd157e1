"""A study: a run with its stages and behaviors, and the questions one can ask of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn
from torch.optim import Optimizer

from aadsl.behaviors import metric_text
from aadsl.core.aligned import aligned
from aadsl.core.arguments import checked
from aadsl.core.errors import AadslError
from aadsl.core.exclusive import one_at_a_time
from aadsl.core.families import named
from aadsl.core.files import effects_of
from aadsl.core.progress import Progress, silent
from aadsl.core.texts import in_line
from aadsl.core.units import bytes_of
from aadsl.estimators import DEFAULT_BUDGET, Estimator
from aadsl.interventions import Intervention
from aadsl.propagation import LossFunction
from aadsl.replayed.final import ask_about, asked_of
from aadsl.replayed.history import History
from aadsl.replayed.joins import joined, notes_on_runs
from aadsl.replayed.run_spec import RunSpec
from aadsl.replayed.training_data import TrainingData
from aadsl.replayed.workers import workers_of
from aadsl.study.answering import Answering
from aadsl.study.cache import EffectCache
from aadsl.study.calibration import calibrations, single_steps
from aadsl.study.entries import EntryStore
from aadsl.study.error_bound import bound_factors
from aadsl.study.exact_answers import METHOD, ExactAnswers
from aadsl.study.example_questions import ExampleQuestions
from aadsl.study.gap_effects import gap_effects
from aadsl.study.model_files import save_model
from aadsl.study.model_store import ModelStore
from aadsl.study.plan import Plan
from aadsl.study.planning import planned
from aadsl.study.question import DEFAULT_ESTIMATE, DEFAULT_ESTIMATOR, DEFAULT_INTERVENTION, SAMPLES, Question
from aadsl.study.reconstructed import missed
from aadsl.study.resolution import intervention_of, of_steps
from aadsl.study.results import calibration_dataset
from aadsl.study.spot_check import SpotCheck
from aadsl.trajectory import Trajectory
from aadsl.verification import Report

LISTED = 20
"""Stages, and behaviors, that the text of a study names."""


@checked
class Study(ExampleQuestions):
    """What is asked of one run.

    Args:
        trajectory: the recorded run, as ``aadsl.open_trajectory(path)`` gives it.
        model: a model with the recorded parameters; it is copied, its weights do not matter: answers are about the end
            of the run, or ``final``. Where they are neither those it began nor those it ended with, ``notes`` and
            answers say so. Of runs that followed on each other with models of their own (a new head, more tokens),
            a dict gives each its own, or what makes it: ``{"pretrain": small, "finetune": large}``.
        loss: ``loss(model, batch)``, the mean loss of a batch as a scalar tensor; or that of each run, in a dict.
        data: what the recorded indices point into: tensors, a map-style dataset, a table of pandas or Hugging Face
            ``datasets``, or an xarray Dataset; ``(inputs, targets, table)`` adds the table's columns for ``where``.
            Of runs that followed on each other, a dict gives each its own: ``{"pretrain": a, "finetune": b}``.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``, or the number of a GPU.
        memory: how much the states held during a sweep may take, such as ``"4GiB"``.
        within: the time that an answer may take, such as ``"2 min"``; within it exact answers come first.
        kept: how much disk models trained without a stage may take beside the trajectory; those used last stay.
        executor: any ``concurrent.futures.Executor`` that long exact answers and sweeps are spread over; such as
            ``dask.distributed.Client(…).get_executor()``, with the extra ``aadsl[dask]``.
        workers: how many local processes to spread them over instead; beside ``executor``, how many workers that has.
        decoders: how many processes decode the examples of data sets that compute them (images in files, say); they are
            decoded once, and held as long as they fit into a part of the memory.
        optimizer: ``optimizer(params)`` returns the optimizer that trained, for parameters as its constructor takes
            them; needed where its class has no derivative here and is not imported.
        final: the model that answers are about, unless it is the one that the run ended with: the number of steps after
            which it was kept (``final=1200`` where best weights were loaded at the end), its weights, as a state dict,
            or ``"given"`` for the weights of ``model``; a model into whose base adapters were merged is told by what it
            computes. ``"averaged"`` is the average that ``Recorder(…, averaged=…)`` followed, a list of steps the mean
            of these models, ``"trained"`` the weights that a schedule-free optimizer trains; else those that it
            evaluates are meant. What came after the model has no effect.
        finish: what is done to the model after training, before it is shipped: ``finish(model)`` writes to its weights
            or statistics, as ``lambda model: update_bn(loader, model)`` does; answers are then exact ones alone.
        generators: the random generators of one's own that ``Recorder(…, generators=[…])`` was given, in that order, as
            ``loss`` or ``model`` draw from them: each replayed step finds them as they were.
        joins: of runs that followed on each other how one begins, where names and shapes do not tell: with a new head
            of the same size, ``{"finetune": aadsl.fresh("head.*")}``, or with adapters merged, ``aadsl.lora_merged()``.
        unverified: answer although the trajectory fails verification; answers then say so in their attributes.

    Before the first answer is computed, the files and a small sample of steps are verified. On a trajectory that fails,
    what asks for effects raises AadslError with the cause.

    Raises:
        AadslError: model, data and trajectory do not fit together, or there is no such device.
    """

    def __init__(
        self,
        trajectory: Trajectory,
        *,
        model: nn.Module | Mapping[Any, Any],
        loss: LossFunction | Mapping[Any, LossFunction],
        data: Any = None,
        device: str | int | torch.device = "auto",
        memory: str | float | None = None,
        within: str | float = DEFAULT_BUDGET,
        kept: str | float = "4 GiB",
        executor: Executor | None = None,
        workers: int = 0,
        unverified: bool = False,
        decoders: int = 0,
        optimizer: Callable[..., Optimizer] | None = None,
        final: Any = None,
        finish: Callable[[nn.Module], Any] | None = None,
        generators: Sequence[Any] = (),
        joins: Mapping[str, Any] | None = None,
    ) -> None:
        self.data, (trajectory, model) = data, joined(trajectory, joins, model)
        given = {"model": model, "loss": loss, "data": data, "memory": memory, "optimizer": optimizer}
        given["device"] = f"cuda:{device}" if isinstance(device, int) else device
        history = History(trajectory, **given, generators=generators)
        given["model"] = history.models.given
        if final is not None or finish is not None:
            history.given = ""
            wanted = None if final is None else asked_of(history, final, history.models.last)
            ask_about(history, wanted, finish)
        entries = EntryStore(effects_of(trajectory.path))
        cache = EffectCache(history, entries, decoders)
        models = ModelStore(entries.folder, bytes_of(kept), lambda: history.final)
        self.spot_check = SpotCheck(history, entries, tolerated=unverified)
        sent = partial(RunSpec, trajectory, **given, final=history.asked, finish=finish)
        spread = workers_of(executor, workers, generators, sent)
        answering = Answering(history, cache, ExactAnswers(history, cache, models), self.spot_check, spread)
        super().__init__(trajectory, answering, within)

    def __repr__(self) -> str:
        run = self.trajectory
        stages = [(name, f"{int(member.sum()):,} steps") for name, member in self.stages.items()]
        behaviors = [
            (name, metric_text(one.metric), f"{len(one.examples):,} examples", one.unit)
            for name, one in self.behaviors.items()
        ]
        of_model = f", {self.history.of_model}" if self.history.of_model else ""
        lines = [in_line(f"<aadsl.Study of {run.path}: {run.length:,} steps of {run.optimizer}{of_model}>")]
        for title, rows in (("stages", stages), ("behaviors", behaviors)):
            lines += [f"{title}:", *aligned(rows, LISTED)] if rows else [f"{title}: none yet"]
        return "\n".join(lines)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known before asking: of the model, its weights, of checkpoints that a reconstruction missed."""
        of_model = f"answers are about {self.history.of_model}" if self.history.of_model else ""
        gaps = missed(self.trajectory.steps, 0, self.history.length)
        return tuple(filter(None, (of_model, self.history.given, gaps, *notes_on_runs(self.history))))

    @property
    def training_data(self) -> TrainingData:
        """What the recorded indices point into, of each run."""
        return self.history.data

    @one_at_a_time
    def counterfactual(
        self,
        stages: str | Iterable[str],
        *,
        intervention: Intervention | str = DEFAULT_INTERVENTION,
        progress: Progress | None = None,
    ) -> nn.Module:
        """Return the model as training without the stage would have made it (of several: without any of them).

        A copy of the model that the study was given, in eval mode, ready to evaluate, to generate with, or to save.

        Raises:
            AadslError: an unknown name, or a trajectory that fails.
        """
        names = self.stage_names(stages)
        question = Question(tuple(names), (), intervention=intervention)
        together = self._until_then(np.any(self.members(names), axis=0, keepdims=True))
        if not together.any():
            return self.history.model_at(self.history.replay_end(progress or silent))
        return self.history.model_at(self._answering.model(together, intervention_of(question), progress or silent))

    def save_counterfactual(
        self,
        path: str | Path,
        stages: str | Iterable[str],
        *,
        intervention: Intervention | str = DEFAULT_INTERVENTION,
        progress: Progress | None = None,
    ) -> None:
        """Write the weights and buffers of :meth:`counterfactual` to a file of safetensors.

        Raises:
            AadslError: as :meth:`counterfactual`, or the file cannot be written.
        """
        save_model(self.counterfactual(stages, intervention=intervention, progress=progress), Path(path))

    @one_at_a_time
    def verify_trajectory(self, *, samples: int = 8, progress: Progress | None = None) -> Report:
        """Check the files, the model and the data, and replay ``samples`` stretches between stored states.

        Returns:
            A report in plain words; where it fails, later questions are refused, unless ``unverified`` was given.
        """
        self.trajectory.require_same()
        try:
            identity = self._answering.identifier.now()
        except AadslError:  # files that are damaged have no digest; the report says so
            identity = None
        return self.spot_check.verify(samples, identity, progress or silent)

    @one_at_a_time
    def check(
        self,
        behaviors: str | Iterable[str],
        *,
        samples: int = SAMPLES,
        estimator: Estimator | str = DEFAULT_ESTIMATE,
        intervention: Intervention | str = DEFAULT_INTERVENTION,
        progress: Progress | None = None,
    ) -> xr.Dataset:
        """Compare estimated effects of a few single steps with exact replays; later answers report what was found.

        One random step of each of ``samples`` equal stretches of the run is taken; each costs one replay from there to
        the end. From 15 on, estimates of stages about as short get intervals from them.

        Returns:
            A Dataset over ``behavior``: ``slope``, ``correlation``, ``relative_error`` and the ``low`` and ``high``
            end of its 90% interval.
        """
        query, method = self._resolved(Question((), named(behaviors), estimator, intervention))
        query = replace(query, members=single_steps(self.history.length, samples))
        estimate, exact = self._answering.compared(query, method, progress or silent)
        found = calibrations(query, estimate.effects.effect, exact.effects.effect)
        return calibration_dataset([b.name for b in query.behaviors], found).assign_attrs(exact.notes)

    @one_at_a_time
    def error_bound(self, stages: str | Iterable[str]) -> xr.Dataset:
        """Return Theorem 4.1's bound on the error of first-order effects, up to its constant, over ``stage``."""
        names = self.stage_names(stages)
        doubt = self.spot_check.require(self._answering.identifier.now(), silent)
        return bound_factors(self.history, self._until_then(self.members(names)), names).assign_attrs(doubt.attributes)

    @one_at_a_time
    def gaps(self, behaviors: str | Iterable[str], *, progress: Progress | None = None) -> xr.Dataset:
        """Return over ``gap`` how well a run was reconstructed from checkpoints, and what it missed does to behaviors.

        Returns:
            A Dataset over (gap, behavior): ``start`` and ``stop`` of its steps, ``mismatch`` and ``explained`` relative
            to how far the gap moved the state, ``verdict``, ``remark``; ``effect``, exact: the behavior, minus what it
            would be had the run gone on from where the gap ended instead of from its checkpoint.

        Raises:
            AadslError: the run was recorded while it was trained, an unknown name, or a trajectory that fails.
        """
        query, _ = self._resolved(Question((), named(behaviors), METHOD, DEFAULT_INTERVENTION))
        return gap_effects(self._answering, query.behaviors, progress or silent)

    @one_at_a_time
    def plan(
        self,
        stages: str | Iterable[str],
        behaviors: str | Iterable[str],
        estimator: Estimator | str = DEFAULT_ESTIMATOR,
        intervention: Intervention | str = DEFAULT_INTERVENTION,
    ) -> Plan:
        """Return what :meth:`score` would compute and what that costs, without computing it.

        One gradient and one Hessian-vector product are timed, and the memory that they take is measured. Without
        ``stages`` the plan is that of :meth:`step_effects`.
        """
        asked = named(stages)
        query, method = self._resolved(Question(asked, named(behaviors), estimator, intervention))
        return planned(self._answering, query, method if asked else of_steps(method), of_each=not asked)

    @one_at_a_time
    def exact_seconds(
        self,
        stages: str | Iterable[str],
        behaviors: str | Iterable[str],
        *,
        intervention: Intervention | str = DEFAULT_INTERVENTION,
    ) -> float:
        """Return about how many seconds exact answers will take here, with their control run; none where kept.

        One gradient is timed, the first time.
        """
        query, _ = self._resolved(Question(tuple(self.stage_names(stages)), named(behaviors), METHOD, intervention))
        query = query.of_present
        return self._answering.price(self._answering.identifier.now(), query).total if len(query.members) else 0.0
