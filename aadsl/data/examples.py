"""Examples, whatever holds them: tensors, a map-style dataset, a table, or a labelled xarray Dataset."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import TensorDataset, default_collate

from aadsl.core.errors import AadslError
from aadsl.core.generators import NUMPY, PYTHON, left_as_they_were, set_state
from aadsl.core.scalars import IGNORED
from aadsl.data.decoded import DecodedItems
from aadsl.data.tables import Rows, columns_of, coordinates, is_frame

TARGETS = ("label", "target", "labels", "targets")  # what the target of a Dataset is called
CHUNK = 512  # examples evaluated at a time: bounds memory, and is large enough to keep the cores busy


@dataclass(frozen=True)
class Examples:
    """A finite, ordered set of examples.

    Attributes:
        source: tensors of equal length, or a map-style dataset.
        coordinates: what is known about each example, 1-D variables over the dimension ``example``.
        positions: which examples of ``source`` these are, in order.
        items: the decoded items of a map-style dataset, shared by all examples that were selected of it.
    """

    source: Any
    coordinates: xr.Dataset = field(repr=False)
    positions: NDArray[np.int64] = field(repr=False)
    items: DecodedItems = field(repr=False, compare=False)

    @classmethod
    def of(cls, data: Any) -> Examples:
        """Return the examples that ``data`` holds.

        Args:
            data: a tuple of tensors or arrays of equal length (inputs, targets, …); a map-style dataset; an xarray
                Dataset whose first variable is the model's input and whose ``label`` or ``target`` the target (else
                the only other variable of numbers over its first dimension), every 1-D variable over that dimension
                being a coordinate; a ``datasets.Dataset`` or a DataFrame, whose rows are dicts and whose scalar columns
                are coordinates. Tables among the tensors of a tuple, (inputs, targets, frame), give coordinates only.

        Raises:
            AadslError: ``data`` is none of these, its parts differ in length, or it is not clear which is the target.
        """
        if isinstance(data, Examples):
            return data
        if isinstance(data, xr.DataArray):
            data = data.to_dataset(name="input" if data.name is None else data.name)
        if isinstance(data, xr.Dataset):
            return _of_dataset(data)
        if isinstance(data, TensorDataset):
            data = data.tensors
        if isinstance(data, (Tensor, np.ndarray)):
            data = (data,)
        if isinstance(data, (tuple, list)) and data and isinstance(data[0], (Tensor, np.ndarray)):
            tables = [part for part in data if columns_of(part) is not None]
            tensors = [part for part in data if isinstance(part, (Tensor, np.ndarray))]
            if len(tables) + len(tensors) == len(data):
                return _of_tensors(tuple(torch.as_tensor(part) for part in tensors), tables)
        if isinstance(data, torch.utils.data.DataLoader):
            raise AadslError(
                "a DataLoader draws its examples anew each time, so they cannot be looked up again",
                hint="give the dataset itself (loader.dataset) and record the indices of each batch",
            )
        if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, (str, Mapping)):
            count = len(data)
            known = coordinates(columns_of(data) or {}, count)
            source = Rows(data) if is_frame(data) else data
            return cls(source, known, np.arange(count), DecodedItems(source))
        raise AadslError(
            f"examples cannot be taken from {type(data).__name__}",
            hint="give a tuple of tensors (inputs, targets), a map-style dataset, a table, or an xarray Dataset",
        )

    def __len__(self) -> int:
        return len(self.positions)

    def __reduce__(self) -> tuple[Callable[..., Examples], tuple[Any, ...]]:
        """Of tensors only the own rows are pickled: a few examples of many, or a view, travel as what they are.

        Coordinates go as arrays, since a Dataset that was looked at is no longer pickled to the same bytes.
        """
        known = {str(name): variable.to_numpy() for name, variable in self.coordinates.variables.items()}
        if not self.tensors:
            return _arrived, (self.source, known, self.positions)
        count = len(self)
        return _arrived, (self.take(np.arange(count)), known, np.arange(count))

    @property
    def tensors(self) -> bool:
        """Whether the examples are rows of tensors, so that a batch is one operation."""
        return isinstance(self.source, tuple)

    def select(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Examples:
        """Return the examples where the mask ``chosen`` is true, or at these positions.

        Raises:
            AadslError: a position lies outside, or the mask is not as long as the examples are many.
        """
        if chosen.dtype == bool and chosen.shape != (len(self),):
            raise AadslError(f"a mask of shape {chosen.shape} does not fit {len(self)} examples")
        where = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        self._require(where)
        return Examples(self.source, self.coordinates.isel(example=where), self.positions[where], self.items)

    def labelled(self) -> NDArray[np.bool_]:
        """Return (n,) false where an example is labelled −100: it has no label. Only labels in tensors are read."""
        target = self.source[1] if self.tensors and len(self.source) == 2 else None
        if target is None or target.dim() != 1:
            return np.ones(len(self), dtype=bool)
        mask: NDArray[np.bool_] = (target != IGNORED).numpy(force=True)[self.positions]
        return mask

    def take(self, indices: NDArray[np.int64] | Sequence[int], device: torch.device | str = "cpu") -> Any:
        """Return one batch of the examples at ``indices``: a tuple of tensors, or what the dataset collates to.

        Raises:
            AadslError: an index lies outside, or the examples hold what cannot be put into tensors.
        """
        return self.gathered(self.rows(indices), device)

    def rows(self, indices: NDArray[np.int64] | Sequence[int]) -> NDArray[np.int64]:
        """Return where in the source the examples at ``indices`` are. Raises AadslError where one lies outside."""
        wanted = np.asarray(indices, dtype=np.int64)
        self._require(wanted)
        return self.positions[wanted]

    def gathered(self, rows: NDArray[np.int64], device: torch.device | str = "cpu") -> Any:
        """Return one batch of the examples at ``rows`` of the source: see :meth:`take`."""
        if self.tensors:
            places = torch.from_numpy(rows)
            return tuple(part.index_select(0, places.to(part.device)).to(device) for part in self.source)
        return to_device(_collated(self.items.at(rows.tolist())), device)

    def drawn(self, rows: NDArray[np.int64], states: Mapping[str, Tensor], device: torch.device | str = "cpu") -> Any:
        """Return one batch of the examples at ``rows``, made anew with random generators that begin at ``states``."""
        with left_as_they_were(("cpu", PYTHON, NUMPY)):
            for name, state in states.items():
                set_state(name, state)
            return to_device(_collated(self.items.anew(rows.tolist())), device)

    def afresh(self) -> Examples:
        """Return the same examples with nothing of them decoded."""
        return replace(self, items=DecodedItems(self.source, self.items.decoders))

    def _require(self, positions: NDArray[Any]) -> None:
        if positions.size and not (-len(self) <= positions.min() and positions.max() < len(self)):
            raise AadslError(
                f"the data hold {len(self)} examples, but example {int(positions.max())} is asked for",
                hint="give the dataset that the run was trained on, in the same order",
            )

    def chunks(self, device: torch.device | str = "cpu", size: int = CHUNK) -> Iterator[Any]:
        """Yield all examples in batches of at most ``size``."""
        for start in range(0, len(self), size):
            yield self.take(np.arange(start, min(start + size, len(self))), device)


def _arrived(source: Any, known: dict[str, NDArray[Any]], positions: NDArray[np.int64]) -> Examples:
    coordinates = xr.Dataset({name: ("example", values) for name, values in known.items()})
    return Examples(source, coordinates, positions, DecodedItems(source))


def nbytes(batch: Any) -> int:
    """Return the memory of the tensors in ``batch``."""
    return sum(tensor.nbytes for tensor in tensors_in(batch))


def tensors_in(batch: Any) -> Iterator[Tensor]:
    """Yield the tensors in ``batch``."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, (Mapping, tuple, list)):
        for part in batch.values() if isinstance(batch, Mapping) else batch:
            yield from tensors_in(part)


def to_device(batch: Any, device: torch.device | str) -> Any:
    """Return ``batch`` with every tensor in it moved to ``device``."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {key: to_device(value, device) for key, value in batch.items()}
    if hasattr(batch, "_fields"):  # a namedtuple
        return type(batch)(*(to_device(value, device) for value in batch))
    if isinstance(batch, (tuple, list)):
        return type(batch)(to_device(value, device) for value in batch)
    return batch


def _collated(examples: list[Any]) -> Any:
    try:
        return default_collate(examples)
    except (TypeError, RuntimeError) as error:
        raise AadslError(
            f"these examples cannot be put into one batch: {str(error).splitlines()[0]}",
            hint="give what the model reads as tensors, and a table beside them: (inputs, targets, table)",
        ) from error


def _of_tensors(parts: tuple[Tensor, ...], tables: Sequence[Any] = ()) -> Examples:
    lengths = {len(part) for part in (*parts, *tables)}
    if len(lengths) != 1:
        counts = ", ".join(str(len(part)) for part in (*parts, *tables))
        raise AadslError(
            f"the tensors hold different numbers of examples: {counts}",
            hint="the first dimension of each tensor counts the examples, as do the rows of a table",
        )
    (count,) = lengths
    labelled = len(parts) == 2 and parts[1].dim() == 1
    labels = {"label": ("example", parts[1].cpu().numpy())} if labelled else {}
    known = xr.Dataset(labels, {"example": np.arange(count)})
    for table in tables:
        known = known.assign(coordinates(columns_of(table) or {}, count).data_vars)
    return Examples(parts, known, np.arange(count), DecodedItems(parts))


def _of_dataset(data: xr.Dataset) -> Examples:
    names = [str(name) for name in data.data_vars]
    if not names or not data[names[0]].dims:
        raise AadslError("the Dataset holds no variable with examples", hint="its first variable is the model's input")
    dimension = data[names[0]].dims[0]
    parts = [names[0], *_target(data, names, dimension)]
    known = {
        str(name): ("example", variable.to_numpy())
        for name, variable in data.variables.items()
        if variable.dims == (dimension,) and name != "example"
    }
    count = data.sizes[dimension]
    tensors = tuple(torch.as_tensor(data[name].to_numpy()) for name in parts)
    known_of_all = xr.Dataset(known, {"example": np.arange(count)})
    return Examples(tensors, known_of_all, np.arange(count), DecodedItems(tensors))


def _target(data: xr.Dataset, names: Sequence[str], dimension: Hashable) -> list[str]:
    """Return the name of the target, found by its name or since it is the only one that may be it; [] without any."""
    may_be = {str(n) for n, v in data.variables.items() if v.dtype.kind in "biuf" and v.dims[:1] == (dimension,)}
    named = [name for name in TARGETS if name in may_be and name != names[0]]
    candidates = named or [name for name in names[1:] if name in may_be]
    if len(candidates) > 1 and not named:
        raise AadslError(
            f"which variable is the target is not clear: {', '.join(candidates)}",
            hint=f'name it "label", data.rename({candidates[-1]}="label"), or give tensors: (inputs, targets)',
        )
    return candidates[:1]
