"""What the schema demands of single files: each function yields what is wrong with an open one, in plain words.

Without what is demanded of their ``layout_…``, files cannot be read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aadsl.trajectory.store.header import Header
from aadsl.trajectory.store.segments import Segment
from aadsl.trajectory.store.specs import BOUNDARY, FRESH_GROUPS, RESTING_GROUPS, STRUCTURE
from aadsl.trajectory.store.tensors import to_array

# What each variable holds: "integer", "truth" (int8 with dtype = "bool"), "text" (numbers into labels) or "number".
STEP_VARIABLES = {
    "step": "integer", "batch_size": "integer", "micro_batch_count": "integer", "training": "truth",
    "modules_off_mode": "text", "phase": "text", "phase_boundary": "integer",
}  # fmt: skip
BATCH_VARIABLES = {"step": "integer", "row_size": "integer"}
STATE_VARIABLES = {"step": "integer"}


def require(faults: Iterator[str]) -> None:
    """Raise ValueError with the first fault, where there is one."""
    if fault := next(faults, ""):
        raise ValueError(f"it {fault}" if not fault.startswith("variable") else fault)


def is_of_other_run(dataset: Any, run: Header) -> bool:
    """Return whether a file does not say that it is of this run."""
    return str(getattr(dataset, "run", "")) != run.run


def layout_of_steps(dataset: Any, segment: Segment) -> Iterator[str]:
    """Check which columns ``steps-<start>-<stop>.nc`` has; none is read."""
    length = len(dataset.dimensions.get("step", ()))
    if length != segment.stop - segment.start:
        yield f"does not hold the steps {segment.start} … {segment.stop - 1} that its name says, but {length}"
    yield from _required(dataset, STEP_VARIABLES)
    yield from _columns(dataset, {"step": length})


def faults_of_steps(dataset: Any, segment: Segment, run: Header) -> Iterator[str]:
    """Check ``steps-<start>-<stop>.nc``."""
    yield from layout_of_steps(dataset, segment)
    yield from _conventions(dataset)
    yield from _labelled(dataset)
    step = _values(dataset, "step")
    if step is not None and not _counts(step, segment):
        yield f"does not hold the steps {segment.start} … {segment.stop - 1} that its name says"
    boundary = _values(dataset, "phase_boundary")
    if boundary is not None and not np.isin(boundary, list(BOUNDARY.values())).all():
        yield "phase_boundary has values that are no flags"
    yield from _groups(dataset, run.group_count)
    yield from _hyperparameters(dataset, run.group_count)


def _groups(dataset: Any, groups: int) -> Iterator[str]:
    """Numbers of groups are numbers of groups that the run has."""
    known = set(map(str, range(groups)))
    for name in (RESTING_GROUPS, FRESH_GROUPS):
        if name in dataset.variables:
            yield from _required(dataset, {name: "text"})
            texts = dataset.variables.get(f"{name}_labels")
            strangers = {word for text in ([] if texts is None else texts[:]) for word in text.split()} - known
            if strangers:
                yield f'{name} names the group "{min(strangers)}", the run has {groups} groups'


def _hyperparameters(dataset: Any, groups: int) -> Iterator[str]:
    """There is a learning rate; each scalar has one column, or one for each group, as exact as Python's numbers.

    A scalar that not all optimizers have has columns for the groups of those that do.
    """
    found: dict[str, list[str]] = {}
    for name, variable in dataset.variables.items():
        if "hyperparameter" in variable.ncattrs():
            found.setdefault(str(variable.hyperparameter), []).append(name)
            if variable.dtype not in (np.int8, np.int64, np.float64):
                yield f"the hyperparameter {name} is {variable.dtype}, neither int8, int64 nor float64"
    for key, names in found.items():
        of_groups = {f"{key}_{group}" for group in range(groups)}
        if names != [key] and (not of_groups.issuperset(names) or (key == "lr" and len(names) < groups)):
            yield f"the hyperparameter {key} has the columns {', '.join(sorted(names))}, the run has {groups} groups"
    if "lr" not in found:
        yield "no variable has the attribute hyperparameter = lr: the learning rate is missing"


def faults_of_batches(dataset: Any, segment: Segment) -> Iterator[str]:
    """Check ``batches-<start>-<stop>.nc``."""
    yield from layout_of_batches(dataset, segment)
    yield from _conventions(dataset)
    yield from _labelled(dataset)


def layout_of_batches(dataset: Any, segment: Segment) -> Iterator[str]:
    """Check how ``batches-<start>-<stop>.nc`` is cut into micro-batches."""
    yield from _required(dataset, BATCH_VARIABLES)
    lengths = {name: len(dimension) for name, dimension in dataset.dimensions.items()}
    ragged = {}
    for name, variable in dataset.variables.items():
        if "sample_dimension" in variable.ncattrs():
            ragged[str(variable.sample_dimension)] = name
            sizes = _values(dataset, name)
            if sizes is None:
                yield f"{name} holds no sizes"
            elif len(sizes) and sizes.min() < 0:
                yield f"a size in {name} is negative"
            elif _total(sizes) != lengths.get(variable.sample_dimension, _total(sizes)):
                yield f"the sizes in {name} do not add up to the length of {variable.sample_dimension}"
    if "row_size" in dataset.variables and "example" not in ragged:
        yield 'row_size has not the attribute sample_dimension = "example"'
    yield from _columns(dataset, {name: lengths[name] for name in ("micro_batch", *ragged) if name in lengths})
    step = _values(dataset, "step")
    if step is not None and not _counts(np.unique(step), segment):
        yield f"does not hold batches of the steps {segment.start} … {segment.stop - 1} that its name says"
    elif step is not None and (np.diff(step) < 0).any():
        yield "its steps are not in order"
    if "index" in dataset.variables:
        index = _values(dataset, "index")
        if index is None or (len(index) and index.min() < -1):
            yield "index holds other numbers than positions in the data, or -1"
    if f"{STRUCTURE}_labels" in dataset.variables:
        for structure in filter(None, dataset.variables[f"{STRUCTURE}_labels"][:]):
            try:
                json.loads(structure)
            except ValueError:
                yield f"{STRUCTURE} holds {str(structure)[:40]!r}, which is no JSON"


def faults_of_state(dataset: Any, step: int, run: Header) -> Iterator[str]:
    """Check ``state-<t>.nc``."""
    yield from layout_of_state(dataset, step, run)
    yield from _conventions(dataset)
    for name, variable in dataset.variables.items():
        yield from _described(name, variable)


def layout_of_state(dataset: Any, step: int, run: Header) -> Iterator[str]:
    """Check which tensors ``state-<t>.nc`` has, and whose."""
    if is_of_other_run(dataset, run):
        yield "belongs to another run"
    yield from _required(dataset, STATE_VARIABLES)
    number = _values(dataset, "step")
    if number is not None and int(number) != step:
        yield f"holds the state before step {int(number)}"
    shapes: dict[str, dict[str, Any]] = {}
    for name, content in json.loads(dataset.layout).items():
        if name not in dataset.variables:
            yield f"variable {name} is missing"
            continue
        variable = dataset.variables[name]
        size = sum(prod(shape) for _, shape in content["tensors"]) * (2 if content["dtype"] == "complex128" else 1)
        if variable.dtype != to_array(torch.empty(0, dtype=getattr(torch, content["dtype"]))).dtype:
            yield f"{name} is {variable.dtype}, which does not hold {content['dtype']}"
        if variable.shape != (size,):
            yield f"the layout of {name} does not match its length"
        shapes.setdefault(content["role"], {}).update(content["tensors"])
    for role, specs in (("parameters", run.parameters), ("buffers", run.buffers)):
        held = {name: tuple(shape) for name, shape in shapes.get(role, {}).items()}
        if held != {name: spec.shape for name, spec in specs.items()}:
            yield f"does not hold the {role} that the run says it has"
    strangers = shapes.get("optimizer", {}).keys() - run.parameters.keys()
    if strangers:
        yield f"holds optimizer buffers of {min(strangers)}, which is no parameter of the run"


def _conventions(dataset: Any) -> Iterator[str]:
    if not str(getattr(dataset, "Conventions", "")).startswith("CF-"):
        yield "has no attribute Conventions = CF-…"


def _required(dataset: Any, wanted: Mapping[str, str]) -> Iterator[str]:
    for name, kind in wanted.items():
        if name not in dataset.variables:
            yield f"variable {name} is missing"
        elif (found := _kind(dataset.variables[name])) != kind:
            yield f"variable {name} holds {found}, not {kind}"


def _kind(variable: Any) -> str:
    if variable.dtype is str:
        return "strings"
    if "labels" in variable.ncattrs():
        return "text"
    if variable.dtype == np.int8 and "dtype" in variable.ncattrs():
        return "truth"
    return "integer" if variable.dtype.kind in "iu" else "number"


def _columns(dataset: Any, lengths: Mapping[str, int]) -> Iterator[str]:
    """Every variable holds numbers over one of the dimensions, and text has its labels."""
    for name, variable in dataset.variables.items():
        if variable.dtype is str:
            continue
        if len(variable.dimensions) != 1 or variable.dimensions[0] not in lengths:
            yield f"variable {name} lies over ({', '.join(variable.dimensions)}), not over one of {', '.join(lengths)}"
        if "labels" in variable.ncattrs():
            texts = dataset.variables.get(str(variable.labels))
            if texts is None or texts.dtype is not str or texts.ndim != 1:
                yield f"variable {variable.labels}, the labels of {name}, is missing"
        for attribute in ("hyperparameter", "sample_dimension"):
            if not isinstance(getattr(variable, attribute, ""), str):
                yield f"the attribute {attribute} of {name} is no text"


def _labelled(dataset: Any) -> Iterator[str]:
    """Every variable is described, numbers that stand for texts do, and there are no other texts."""
    labels = set()
    for name, variable in dataset.variables.items():
        yield from _described(name, variable)
        if variable.dtype is not str and "labels" in variable.ncattrs():
            labels.add(str(variable.labels))
            texts = dataset.variables.get(str(variable.labels), ())
            if variable.size and not 0 <= int(variable[:].min()) <= int(variable[:].max()) < len(texts):
                yield f"variable {name} has numbers for which there are no labels"
    for name, variable in dataset.variables.items():
        if variable.dtype is str and name not in labels:
            yield f"variable {name} holds strings, and is not the labels of another"


def _described(name: str, variable: Any) -> Iterator[str]:
    for attribute in ("long_name", "units"):
        numeric = variable.dtype is not str and "labels" not in variable.ncattrs()
        if attribute not in variable.ncattrs() and (numeric or attribute == "long_name"):
            yield f"variable {name} has no {attribute}"


def _counts(steps: NDArray[Any], segment: Segment) -> bool:
    """Return whether these are the steps of a segment, whose name may claim any number of them."""
    whole = len(steps) == segment.stop - segment.start
    return whole and np.array_equal(steps, np.arange(segment.start, segment.stop))


def _total(sizes: NDArray[Any]) -> int:
    """Return a sum of whole numbers that does not overflow."""
    return sum(sizes.tolist())


def _values(dataset: Any, name: str) -> NDArray[Any] | None:
    """Return the values of a variable; None where it is missing, or is no column of whole numbers."""
    variable = dataset.variables.get(name)
    whole = variable is not None and variable.dtype is not str and variable.dtype.kind in "iu"
    return np.asarray(variable[...]) if whole and variable.ndim <= 1 else None
