"""What the recorder notes for one step, and how a stretch of notes becomes two segments' columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import nan
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aadsl.core.formats import INPUTS_FORMAT
from aadsl.core.kernels import AUTOCAST
from aadsl.trajectory.store.columns import Columns, StoredColumn, column_of
from aadsl.trajectory.store.specs import (
    AVERAGE_COUNT,
    AVERAGE_WEIGHT,
    BOUNDARY,
    BUFFERS_WRITTEN,
    DECIDED,
    FACTOR,
    FRESH_GROUPS,
    LOSS,
    LOSS_SCALE,
    OPTIMIZER_WRITTEN,
    RANK,
    RESTING_GROUPS,
    STRUCTURE,
    WEIGHT,
    WEIGHTS_WRITTEN,
)
from aadsl.trajectory.store.tensors import dtype_name, to_array

_DESCRIPTIONS = {
    "lr": "learning rate",
    "momentum": "momentum factor",
    "dampening": "dampening of the momentum",
    "weight_decay": "weight decay factor",
    "fused": "whether PyTorch's fused kernels took the step",
    "nesterov": "whether the momentum is Nesterov's",
    "loss": "loss of the batch, before the step",
    AVERAGE_COUNT: "models that the average of the weights had taken in before the step",
    AVERAGE_WEIGHT: "weight of the models that the average took in since the step before",
    AUTOCAST: "dtype of the autocast around the training pass",
    INPUTS_FORMAT: "memory format of what the model was called on",
    LOSS_SCALE: "scale of mixed precision",
    DECIDED: "what the model decided before the step",
    WEIGHTS_WRITTEN: "whether something else than the optimizer wrote to weights since the step before",
    OPTIMIZER_WRITTEN: "whether something else than a step wrote to the optimizer's state since the step before",
    BUFFERS_WRITTEN: "whether something else than training passes wrote to buffers since the step before",
}


# Shared by all that have none: rows wait in memory, and each object that waits costs Python's garbage collector time,
# which training pays.
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(slots=True)
class MicroBatch:
    """The data of one forward and backward pass; a step has one, or several when gradients accumulate.

    ``weight`` was told; ``loss`` is what was differentiated, where that was seen and is not simply its loss, and
    ``factor`` what that was multiplied by last. ``rank`` is that of the process, where several train together.
    """

    size: int
    indices: NDArray[np.int64] | None = None
    tensors: Mapping[str, Tensor] = field(default_factory=lambda: NOTHING)
    structure: str = ""
    examples: Mapping[str, NDArray[Any]] = field(default_factory=lambda: NOTHING)
    rng: Mapping[str, Tensor] = field(default_factory=lambda: NOTHING)
    weight: float | None = None
    loss: Tensor | float | None = None
    factor: Tensor | float = 1.0
    rank: int | None = None

    @property
    def nbytes(self) -> int:
        """Memory held until it is written."""
        held = len(self.structure) + (0 if self.indices is None else self.indices.nbytes)
        for parts in (self.tensors, self.examples, self.rng):
            if parts is not NOTHING:
                held += sum(part.nbytes for part in parts.values())
        return held


class Row(NamedTuple):
    """One step: what the user said, the hyperparameters of each group, what was observed, the data.

    ``resting`` are the numbers of the parameter groups whose optimizer did not step, ``fresh`` of those that start
    afresh where others go on.
    """

    metadata: dict[str, Any]
    hyperparameters: list[dict[str, Any]]
    phase: str
    boundary: int
    training: bool
    off_mode: str
    batches: list[MicroBatch]
    resting: Sequence[int] = ()
    fresh: Sequence[int] = ()


def step_columns(start: int, rows: Sequence[Row]) -> Columns:
    """Return the columns over ``step`` of ``rows``, the first of which is step ``start``."""

    def column(values: Any, long_name: str, **attributes: Any) -> StoredColumn:
        return StoredColumn("step", np.asarray(values), {"long_name": long_name, "units": "1", **attributes})

    columns = {"step": column(np.arange(start, start + len(rows)), "number of the optimizer step")}
    columns |= _hyperparameter_columns(rows)
    meanings = {"flag_values": list(BOUNDARY.values()), "flag_meanings": " ".join(BOUNDARY)}
    columns["batch_size"] = column(
        [sum(batch.size for batch in row.batches) for row in rows], "examples consumed", role="observed"
    )
    columns["micro_batch_count"] = column([len(row.batches) for row in rows], "micro-batches accumulated")
    columns["training"] = column([row.training for row in rows], "whether the model was in train mode")
    columns["phase"] = _text([row.phase for row in rows], "name of the phase")
    columns["modules_off_mode"] = _text([row.off_mode for row in rows], "modules whose mode was not the model's")
    columns["phase_boundary"] = column(
        np.array([row.boundary for row in rows], dtype=np.int8), "what begins at this step", **meanings
    )
    columns |= _group_column(RESTING_GROUPS, [row.resting for row in rows], "parameter groups that did not step")
    columns |= _group_column(FRESH_GROUPS, [row.fresh for row in rows], "parameter groups that alone start afresh")
    for name in dict.fromkeys(name for row in rows for name in row.metadata):
        values = [number(row.metadata.get(name)) for row in rows]
        columns[name] = _metadata("step", values, _DESCRIPTIONS.get(name, f"{name}, as told to the recorder"))
    return columns


def _metadata(dimension: str, values: list[Any], long_name: str) -> StoredColumn:
    array = column_of(values)
    units = {} if array.dtype == object else {"units": "1"}
    return StoredColumn(dimension, array, {"long_name": long_name, **units, "role": "metadata"})


def _text(values: list[str], long_name: str) -> StoredColumn:
    return StoredColumn("step", np.array(values, dtype=object), {"long_name": long_name})


def _group_column(name: str, groups: Sequence[Sequence[int]], long_name: str) -> Columns:
    """Return a column of the numbers of groups, as text; none where there are none at any step."""
    return {name: _text([" ".join(map(str, some)) for some in groups], long_name)} if any(groups) else {}


def number(value: Any) -> Any:
    """Return a 0-dim tensor that waited on its device as a Python number."""
    return value.item() if isinstance(value, Tensor) else value


def _hyperparameter_columns(rows: Sequence[Row]) -> Columns:
    """Return ``lr`` where all groups agree at every step, else ``lr_0``, ``lr_1``, … for the groups that have it."""
    # Steps between two changes share one list.
    stretches = [list(stretch) for _, stretch in groupby((row.hyperparameters for row in rows), key=id)]
    lengths = [len(stretch) for stretch in stretches]
    first = rows[0].hyperparameters
    columns: Columns = {}
    for key in dict.fromkeys(key for scalars in first for key in scalars):
        groups = {
            group: np.repeat(column_of([stretch[0][group].get(key) for stretch in stretches]), lengths)
            for group, scalars in enumerate(first)
            if key in scalars
        }
        one, *others = groups.values()
        alike = len(groups) == len(first) and all(np.array_equal(values, one, equal_nan=True) for values in others)
        for group, values in list(groups.items())[: 1 if alike else None]:
            described = _DESCRIPTIONS.get(key, key) + ("" if alike else f" of parameter group {group}")
            attributes = {"long_name": described, "units": "1", "hyperparameter": key}
            columns[key if alike else f"{key}_{group}"] = StoredColumn("step", values, attributes)
    return columns


def batch_columns(start: int, rows: Sequence[Row]) -> Columns:
    """Return what the steps consumed: CF contiguous ragged arrays over ``micro_batch``."""
    numbered = [(start + position, batch) for position, row in enumerate(rows) for batch in row.batches]
    batches = [batch for _, batch in numbered]
    steps = np.array([step for step, _ in numbered], dtype=np.int64)
    columns = {"step": _micro(steps, "step that consumed the micro-batch")}
    columns["row_size"] = _micro(_sizes(batches), "examples in the micro-batch", sample_dimension="example")
    if any(batch.indices is not None for batch in batches):
        indices = [np.full(b.size, -1) if b.indices is None else b.indices for b in batches]
        columns["index"] = _flat("example", indices, "position of the example in the data set")
    if any(batch.weight is not None for batch in batches):
        weights = np.array([batch.weight for batch in batches], dtype=np.float64)
        columns[WEIGHT] = _micro(weights, "factor of the micro-batch's loss in the loss of the step")
    if any(batch.loss is not None for batch in batches):
        seen = [(nan, nan) if b.loss is None else (number(b.loss), number(b.factor)) for b in batches]
        losses, factors = np.array(seen, dtype=np.float64).T
        columns[LOSS] = _micro(losses, "what backward() was called on")
        columns[FACTOR] = _micro(factors, "what the micro-batch's loss was multiplied by before backward()")
    if any(batch.rank is not None for batch in batches):
        ranks = np.array([batch.rank or 0 for batch in batches], dtype=np.int32)
        columns[RANK] = _micro(ranks, "rank of the process that computed the micro-batch")
    if any(batch.structure for batch in batches):
        structures = np.array([batch.structure for batch in batches], dtype=object)
        described = {"long_name": "how the tensors of the micro-batch lie in it"}
        columns[STRUCTURE] = StoredColumn("micro_batch", structures, described)
    columns |= _example_columns(batches)
    for position, name in enumerate(dict.fromkeys(name for batch in batches for name in batch.tensors)):
        columns |= _tensor_columns(name, position, [batch.tensors.get(name) for batch in batches])
    for device in dict.fromkeys(device for batch in batches for device in batch.rng):
        states = [batch.rng.get(device) for batch in batches]
        columns |= _ragged(f"rng_{device}", states, {"long_name": f"generator state, {device}, at the forward"})
    return columns


def _sizes(batches: Sequence[MicroBatch]) -> NDArray[np.int64]:
    return np.array([batch.size for batch in batches], dtype=np.int64)


def _micro(values: NDArray[Any], long_name: str, **attributes: Any) -> StoredColumn:
    return StoredColumn("micro_batch", values, {"long_name": long_name, "units": "1", **attributes})


def _flat(dimension: str, parts: Sequence[NDArray[Any]], long_name: str) -> StoredColumn:
    return StoredColumn(dimension, np.concatenate(parts), {"long_name": long_name, "units": "1"})


def _example_columns(batches: Sequence[MicroBatch]) -> Columns:
    columns: Columns = {}
    for name in dict.fromkeys(name for batch in batches for name in batch.examples):
        values = [
            value
            for batch in batches
            for value in (batch.examples[name].tolist() if name in batch.examples else [None] * batch.size)
        ]
        columns[name] = _metadata("example", values, f"{name} of the example, as told to the recorder")
    return columns


def _tensor_columns(name: str, position: int, tensors: Sequence[Tensor | None]) -> Columns:
    """Return flat values, sizes and shapes of the batch tensors called ``name``, one set for each dtype."""
    columns: Columns = {}
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors if tensor is not None):
        chosen = [tensor if tensor is not None and tensor.dtype == dtype else None for tensor in tensors]
        variable = f"tensor_{name}_{dtype_name(dtype)}"
        described = {
            "long_name": f"batch tensor {name}",
            "tensor": name,
            "position": position,
            "torch_dtype": dtype_name(dtype),
        }
        columns |= _ragged(variable, chosen, described)
        shapes = ["" if t is None else "x".join(map(str, t.shape)) or "scalar" for t in chosen]
        shape_column = StoredColumn("micro_batch", np.array(shapes, dtype=object), {"long_name": "shape"})
        columns[f"{variable}_shape"] = shape_column
    return columns


def _ragged(variable: str, tensors: Sequence[Tensor | None], described: dict[str, Any]) -> Columns:
    dimension = f"{variable}_element"
    present = [tensor.reshape(-1) for tensor in tensors if tensor is not None]
    parts = 2 if present[0].dtype == torch.complex128 else 1  # numbers that netCDF stores for one of PyTorch's
    sizes = np.array([0 if tensor is None else tensor.numel() * parts for tensor in tensors], dtype=np.int64)
    return {
        f"{variable}_size": _micro(sizes, f"elements of {variable}", sample_dimension=dimension),
        variable: StoredColumn(dimension, to_array(torch.cat(present)), {**described, "units": "1"}),
    }
