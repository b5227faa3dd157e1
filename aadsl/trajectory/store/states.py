"""``state-<t>.nc``: one whole state, uncompressed.

Trained weights and momentum look like noise. Measured (tests/benchmarks/compression.py, 2 CPU cores, netCDF4 1.7.5) on
a ResNet-18 with a state of 22.4 MB: size, time to write and to read, page cache warm.

==========================  =====  =======  =======
none                         100%    30 ms     7 ms
blosc lz4, shuffle            95%    63 ms    27 ms
zstd 3, shuffle               93%    83 ms    35 ms
blosc zstd, bitshuffle        89%   137 ms    25 ms
zlib 1, shuffle               86%   532 ms    57 ms
==========================  =====  =======  =======

An MLP for MNIST saves 10 to 18% for 1.5 to 10 times the writing. So nothing is compressed: a tenth of the disk is not
worth a training run that waits for its recorder, nor readers that must have been built with the filter.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aadsl.core.errors import AadslError
from aadsl.core.state import State
from aadsl.trajectory.store.files import commit, commit_parts
from aadsl.trajectory.store.images import Image, Values
from aadsl.trajectory.store.segments import state_name
from aadsl.trajectory.store.tensors import Packed, PackedLayout, all_finite, from_array, to_array, unpack

_STEP = {"long_name": "number of steps taken before this state", "units": "1"}


class StateWriter:
    """Commits the states of one run into its folder; ``attributes`` are those of all its files."""

    def __init__(self, folder: Path, attributes: dict[str, Any]) -> None:
        self._folder = folder
        self._attributes = attributes
        self._images: dict[str, Image | None] = {}  # by layout

    def write(self, step: int, packed: Packed) -> None:
        """Commit ξ_step. Raises AadslError where parameters or optimizer buffers are not finite."""
        for event in packed.ready:
            event.synchronize()
        _check_finite(step, packed)
        attributes = {
            "title": "a state of a training run: what the next step reads",
            # Which tensors lie in each variable, in order, with their shapes: JSON.
            "layout": json.dumps(packed.layout),
            **self._attributes,
        }
        values = {"step": np.array(step)} | {name: to_array(flat) for name, flat in packed.flats.items()}
        path = self._folder / state_name(step)
        if image := self._image(attributes, packed.layout, values):
            # What makes the steps up to here outlast a power failure makes this state outlast it as well.
            commit_parts(path, image.parts(values))
            return

        def write(dataset: Any) -> None:
            _create(dataset, packed.layout, values)
            for name, array in values.items():
                dataset.variables[name][...] = array

        commit(path, attributes, write, packed.nbytes)

    def _image(self, attributes: dict[str, Any], layout: PackedLayout, values: Values) -> Image | None:
        """Return the image of files with this layout; None where numbers are too few to be found in one."""
        key = attributes["layout"]
        if key not in self._images:
            try:
                scratch = self._folder / ".image.tmp"
                create = partial(_create, layout=layout, values=values)
                self._images[key] = Image(scratch, attributes, create, values)
            except LookupError:
                self._images[key] = None
        return self._images[key]


def _trains(packed: Packed) -> bool:
    """Return whether all but the buffers of a state is finite."""
    trained = {name: flat for name, flat in packed.flats.items() if packed.layout[name]["role"] != "buffers"}
    return all_finite(Packed(trained, packed.layout))


def _check_finite(step: int, packed: Packed) -> None:
    if not _trains(packed):
        raise AadslError(
            f"the parameters are not finite before step {step}: training has diverged",
            hint="what was recorded before stays readable; lower the learning rate or clip the gradient",
        )


def _create(dataset: Any, layout: PackedLayout, values: Values) -> None:
    """Create the variables. They are contiguous, so that their numbers lie in one piece."""
    for name, array in values.items():
        dimensions = (f"{name}_element",) if array.ndim else ()
        if dimensions:
            dataset.createDimension(*dimensions, len(array))
        variable = dataset.createVariable(name, array.dtype, dimensions, contiguous=array.size > 0)
        variable.setncatts(_described(layout[name]) if name in layout else _STEP)
        variable.set_auto_maskandscale(False)


def _described(content: dict[str, Any]) -> dict[str, Any]:
    return {
        "long_name": f"{content['role']} {content['slot']}".strip() + ", one tensor after the other",
        "units": "1",
        "torch_dtype": content["dtype"],
    }


def read_packed(dataset: Any) -> Packed:
    """Read an open state file. Raises ValueError where parameters or optimizer buffers are not finite."""
    layout = json.loads(dataset.getncattr("layout"))
    arrays = {name: np.asarray(dataset.variables[name][:]) for name in layout}
    packed = Packed({name: from_array(array, layout[name]["dtype"]) for name, array in arrays.items()}, layout)
    if not _trains(packed):
        raise ValueError("its parameters or optimizer buffers are not finite")
    return packed


def read_state(dataset: Any, device: str | torch.device = "cpu") -> State:
    """Read an open state file as tensors on ``device``."""
    return unpack(read_packed(dataset), device)
