"""The schema of a trajectory, version 1, and a validator that names what is wrong.

A trajectory is a folder of sealed netCDF-4 files (:mod:`aadsl.trajectory.files`), all with the attributes
``Conventions``, ``aadsl_schema`` (the version) and ``run`` (the same in all files of one run).

``run.nc``
    The run. Attributes: ``optimizer``, ``group_count``, ``length`` (-1 while it is recorded), ``clip`` (JSON or empty),
    ``accumulation`` (0: undeclared), ``fingerprints`` (JSON), ``provenance_*``. Variables over ``parameter`` and
    ``buffer``: ``*_name``, ``*_shape`` ("128x784"), ``*_dtype``, ``*_group``, ``*_aliases``.
``steps-<start>-<stop>.nc``
    One value for each step: ``step``, the hyperparameters (``lr``, or ``lr_0`` … where groups differ), ``batch_size``,
    ``micro_batch_count``, ``training``, ``modules_off_mode``, ``phase``, ``phase_boundary`` (a CF flag), and the user's
    metadata. Text is a number into ``<name>_labels``; the attribute ``labels`` says so. Truth values are int8 with the
    attribute ``dtype = "bool"``, as xarray writes them.
``batches-<start>-<stop>.nc``
    CF contiguous ragged arrays. Over ``micro_batch``: ``step``, ``row_size`` and for each stored tensor its
    ``*_size`` and ``*_shape``; over ``example``: ``index`` (-1: unknown) and per-example metadata;
    ``tensor_<name>_<dtype>`` and ``rng_<device>`` (generator states) end to end.
``state-<t>.nc``
    ξ_t: ``step`` is t; ``parameters_<dtype>``, ``optimizer_<slot>_<dtype>``, ``buffers_<dtype>`` are all tensors end to
    end; the attribute ``layout`` (JSON) names them in order, with their shapes. Dtypes that netCDF lacks are stored as
    bits.

Segments of one kind follow on each other from 0; where they overlap, the longest counts (a merge was interrupted).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from math import prod
from typing import Any

from aadsl.errors import AadslError
from aadsl.trajectory import header
from aadsl.trajectory.files import SCHEMA_VERSION
from aadsl.trajectory.segments import Segment, cover, segments_in, state_name, states_in
from aadsl.trajectory.source import Source

STEP_VARIABLES = (
    "step", "batch_size", "micro_batch_count", "training", "modules_off_mode", "phase", "phase_boundary",
)  # fmt: skip
BATCH_VARIABLES = ("step", "row_size")
STATE_VARIABLES = ("step",)


def violations(source: Source) -> list[str]:
    """Return all that is wrong with the files of one run, in plain words; [] where nothing is."""
    try:
        with source.open(header.NAME) as dataset:
            run = header.read_header(dataset)
    except (AadslError, KeyError, AttributeError, ValueError, TypeError) as error:
        return [_said(header.NAME, error)]
    names = source.names()
    found = [*_gaps(names, run.length)]
    for kind, check in (("steps", _steps), ("batches", _batches)):
        for segment in cover(segments_in(names, kind)):
            found += _checked(source, segment.name, run, partial(check, segment=segment))
    for step in states_in(names):
        found += _checked(source, state_name(step), run, partial(_state, step=step, run=run))
    return found


def _said(name: str, error: Exception) -> str:
    return str(error).splitlines()[0] if isinstance(error, AadslError) else f"{name}: {error!r}"


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
    if reach["batches"] < reach["steps"]:
        yield f"there are {reach['steps']} steps, but batches only of {reach['batches']}: a segment is missing"
    states = states_in(names)
    if 0 not in states:
        yield "the initial state, state-0.nc, is missing"
    if length >= 0 and length not in states and states:
        yield f"note: the final state, {state_name(length)}, was not stored"


def _checked(source: Source, name: str, run: header.Header, check: Callable[[Any], Iterator[str]]) -> list[str]:
    try:
        with source.open(name) as dataset:
            if str(getattr(dataset, "run", "")) != run.run:
                return [f"{name} belongs to another run"]
            if int(getattr(dataset, "aadsl_schema", 0)) not in range(1, SCHEMA_VERSION + 1):
                return [f"{name} has no known schema version"]
            return [f"{name}: {problem}" for problem in check(dataset)]
    except (AadslError, KeyError, AttributeError, ValueError, TypeError) as error:
        return [_said(name, error)]


def _steps(dataset: Any, segment: Segment) -> Iterator[str]:
    yield from _has(dataset, STEP_VARIABLES)
    if "step" in dataset.variables:
        steps = dataset.variables["step"][:]
        if len(steps) != segment.stop - segment.start or steps[0] != segment.start or steps[-1] != segment.stop - 1:
            yield f"does not hold the steps {segment.start} … {segment.stop - 1} that its name says"
    for name, variable in dataset.variables.items():
        if "long_name" not in variable.ncattrs():
            yield f"variable {name} has no long_name"


def _batches(dataset: Any, segment: Segment) -> Iterator[str]:
    yield from _has(dataset, BATCH_VARIABLES)
    for name, variable in dataset.variables.items():
        if "sample_dimension" in variable.ncattrs():
            dimension = dataset.dimensions.get(variable.sample_dimension)
            if dimension is not None and int(variable[:].sum()) != len(dimension):
                yield f"the sizes in {name} do not add up to the length of {variable.sample_dimension}"


def _state(dataset: Any, step: int, run: header.Header) -> Iterator[str]:
    yield from _has(dataset, STATE_VARIABLES)
    if "step" in dataset.variables and int(dataset.variables["step"][...]) != step:
        yield f"holds the state before step {int(dataset.variables['step'][...])}"
    names = set()
    for variable, content in json.loads(dataset.layout).items():
        size = sum(prod(shape) for _, shape in content["tensors"])
        width = 2 if content["dtype"] == "complex128" else 1
        if len(dataset.dimensions[f"{variable}_element"]) != size * width:
            yield f"the layout of {variable} does not match its length"
        if content["role"] == "parameters":
            names |= {name for name, _ in content["tensors"]}
    if names != set(run.parameters):
        yield "does not hold the parameters that the run says it has"


def _has(dataset: Any, names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        if name not in dataset.variables:
            yield f"variable {name} is missing"
