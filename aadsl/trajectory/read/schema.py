"""The schema of a trajectory, version 2, and a validator that names what is wrong.

A trajectory is a folder of sealed netCDF-4 files (:mod:`aadsl.trajectory.store.files`), all with the attributes
``Conventions``, ``aadsl_schema`` (the version) and ``run`` (the same in all files of one run).

``run.nc``
    The run. Attributes: ``optimizer`` (its class, or that of each parameter group: "SGD AdamW"), ``optimizer_options``
    (JSON, of each group; empty where all have step functions), ``group_count``,
    ``length`` (-1 while it is recorded), ``clip`` (JSON or empty), ``accumulation`` (0: undeclared), ``fingerprints``
    (JSON), ``kernels`` (JSON: switches of PyTorch that decide bits), ``reconstructed`` (JSON: of a run that was trained
    again between two checkpoints, where it ended), ``provenance_*``. Variables over ``parameter`` and ``buffer``:
    ``*_name``, ``*_shape`` ("128x784"), ``*_dtype``, ``*_group``, ``*_aliases``, ``*_memory_format``.
``steps-<start>-<stop>.nc``
    One value for each step: ``step``, the hyperparameters (``lr``, or ``lr_0`` … where groups differ), ``batch_size``,
    ``micro_batch_count``, ``training``, ``modules_off_mode``, ``phase``, ``phase_boundary`` (a CF flag), and the user's
    metadata, with ``weights_written``, ``optimizer_written`` and ``buffers_written`` among them: 1 where, since the
    step before, something else than a training step wrote to weights, optimizer state, buffers; ``autocast`` is the
    dtype of the ``torch.autocast`` around the training pass ("" for none), ``loss_scale`` what a GradScaler multiplied
    the loss by (NaN: 1), ``decided_by_model`` what a rerun might decide otherwise, in words. Text is a number into
    ``<name>_labels``; the attribute ``labels`` says so. Truth values are int8 with the attribute ``dtype = "bool"``, as
    xarray writes them. With several optimizers also, where there are some, the numbers of the parameter groups whose
    optimizer took no step, ``resting_groups`` ("1 2"), and of those that start afresh while others go on,
    ``fresh_groups``.
``batches-<start>-<stop>.nc``
    CF contiguous ragged arrays. Over ``micro_batch``: ``step``, ``row_size`` and for each stored tensor its
    ``*_size`` and ``*_shape``; over ``example``: ``index`` (-1: unknown) and per-example metadata;
    ``tensor_<name>_<dtype>`` and ``rng_<device>`` (generator states, also
    ``rng_python``, ``rng_numpy`` and ``rng_own0`` …, and ``rng_announced_*`` where the batch was announced, of those
    that something drew from between there and the forward) end to end. Since version 2, where some need them:
    ``micro_batch_weight``, the factor of a micro-batch's loss in the loss of the step, as told (NaN: it was not),
    ``micro_batch_loss``, what ``backward()`` was called on, ``micro_batch_factor``, by what the loop had multiplied
    that last (NaN: not seen; where nothing is known, the step's loss is the mean of its micro-batches),
    ``micro_batch_rank``, which of several processes computed it (a step's ascend; weight, loss and factor are those in
    the mean over the processes), and ``tensor_structure``, how containers hold the tensors
    (:mod:`aadsl.trajectory.store.structure`).
``state-<t>.nc``
    ξ_t: ``step`` is t; ``parameters_<dtype>``, ``optimizer_<slot>_<dtype>``, ``buffers_<dtype>`` are all tensors end to
    end; the attribute ``layout`` (JSON) names them in order, with their shapes. Dtypes that netCDF lacks are stored as
    bits.

Segments of one kind follow on each other from 0; where they overlap, the longest counts (a merge was interrupted).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aadsl.core.errors import AadslError
from aadsl.core.progress import Progress, silent
from aadsl.trajectory.read.rules import faults_of_batches, faults_of_state, faults_of_steps, is_of_other_run
from aadsl.trajectory.read.source import RunSource
from aadsl.trajectory.store import header
from aadsl.trajectory.store.files import SCHEMA_VERSION
from aadsl.trajectory.store.segments import Segment, cover, segments_in, state_name, states_in

FaultsIn: TypeAlias = Callable[[Any], Iterator[str]]
"""Yields what is wrong with an open file."""


def violations(source: RunSource, progress: Progress = silent, *, into_states: bool = True) -> list[str]:
    """Return all that is wrong with the files of one run, in plain words; [] where nothing is.

    Without a look ``into_states``, of these files the bytes alone are checked: whoever reads one looks into it.
    """
    try:
        with source.open(header.NAME) as dataset:
            run = header.read_header(dataset)
    except AadslError as error:
        return [_said(error)]
    names = source.names()
    found = [*_gaps(names, run.length)]
    steps, batches = (cover(segments_in(names, kind)) for kind in ("steps", "batches"))
    checks: list[tuple[str, FaultsIn | None]] = [
        (segment.name, partial(faults_of_steps, segment=segment, run=run)) for segment in steps
    ]
    checks += [(segment.name, partial(faults_of_batches, segment=segment)) for segment in batches]
    checks += [
        (state_name(step), partial(faults_of_state, step=step, run=run) if into_states else None)
        for step in states_in(names)
    ]
    for done, (name, faults) in enumerate(checks, 1):
        found += _changed(source, name) if faults is None else _checked(source, name, run, faults)
        progress("checking files", done, len(checks))
    return found or list(_disagreements(source, names))


def _said(error: AadslError) -> str:
    return str(error).splitlines()[0]


def _gaps(names: list[str], length: int) -> Iterator[str]:
    """Yield what is missing between and after the files."""
    reach = {}
    for kind in ("steps", "batches"):
        segments = segments_in(names, kind)
        chain = cover(segments)
        reach[kind] = chain[-1].stop if chain else 0
        beyond = [segment for segment in segments if segment.start > reach[kind]]
        if beyond:
            yield f"the segment of {kind} from step {reach[kind]} to {beyond[0].start} is missing"
    if length >= 0 and reach["steps"] < length:
        yield f"the run was closed after {length} steps, but only {reach['steps']} are here: a segment is missing"
    elif 0 <= length < reach["steps"]:
        yield f"the run was closed after {length} steps, but {reach['steps']} are here"
    if reach["batches"] < reach["steps"]:
        yield f"there are {reach['steps']} steps, but batches only of {reach['batches']}: a segment is missing"
    states = states_in(names)
    if 0 not in states:
        yield "the initial state, state-0.nc, is missing"
    if length >= 0 and length not in states and states:
        yield f"note: the final state, {state_name(length)}, was not stored"


def _checked(source: RunSource, name: str, run: header.Header, faults: FaultsIn) -> list[str]:
    try:
        with source.open(name) as dataset:
            if is_of_other_run(dataset, run):
                return [f"{name} belongs to another run"]
            if int(getattr(dataset, "aadsl_schema", 0)) not in range(1, SCHEMA_VERSION + 1):
                return [f"{name} has no known schema version"]
            return [f"{name}: {problem}" for problem in faults(dataset)]
    except AadslError as error:
        return [_said(error)]


def _changed(source: RunSource, name: str) -> list[str]:
    try:
        source.digest(name)
    except AadslError as error:
        return [_said(error)]
    return []


def _disagreements(source: RunSource, names: list[str]) -> Iterator[str]:
    """Yield where the files of steps say something else than those of batches."""
    told = _joined(source, cover(segments_in(names, "steps")), ("batch_size", "micro_batch_count"))
    step, size = _joined(source, cover(segments_in(names, "batches")), ("step", "row_size"))
    length = len(told[0])
    counted = np.bincount(step, weights=size, minlength=length), np.bincount(step, minlength=length)
    for name, said, found in zip(("batch_size", "micro_batch_count"), told, counted, strict=True):
        wrong = np.flatnonzero(said != found[:length])
        if len(wrong):
            yield f"{name} of step {wrong[0]} is {said[wrong[0]]}, its batches say {int(found[wrong[0]])}"


def _joined(source: RunSource, segments: list[Segment], columns: tuple[str, ...]) -> list[NDArray[np.int64]]:
    parts = []
    for segment in segments:
        with source.open(segment.name) as dataset:
            parts.append([np.asarray(dataset.variables[name][:], dtype=np.int64) for name in columns])
    return [np.concatenate([np.empty(0, np.int64), *column]) for column in zip(*parts, strict=True)] or [
        np.empty(0, np.int64) for _ in columns
    ]
