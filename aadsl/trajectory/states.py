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
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aadsl.errors import AadslError
from aadsl.state import State
from aadsl.trajectory.files import commit
from aadsl.trajectory.segments import state_name
from aadsl.trajectory.tensors import Packed, all_finite, from_array, to_array, unpack


def write_state(folder: Path, step: int, packed: Packed, attributes: dict[str, Any]) -> None:
    """Commit ξ_step. Raises AadslError where parameters or optimizer buffers are not finite."""
    if packed.ready is not None:
        packed.ready.synchronize()
    trained = {name: flat for name, flat in packed.flats.items() if packed.layout[name]["role"] != "buffers"}
    if not all_finite(Packed(trained, packed.layout)):
        raise AadslError(
            f"the parameters are not finite before step {step}: training has diverged",
            hint="what was recorded before stays readable; lower the learning rate or clip the gradient",
        )

    def write(dataset: Any) -> None:
        for name, flat in packed.flats.items():
            values = to_array(flat)
            dimension = f"{name}_element"
            dataset.createDimension(dimension, len(values))
            variable = dataset.createVariable(name, values.dtype, (dimension,), contiguous=len(values) > 0)
            content = packed.layout[name]
            variable.setncatts(
                {
                    "long_name": f"{content['role']} {content['slot']}".strip() + ", one tensor after the other",
                    "units": "1",
                    "torch_dtype": content["dtype"],
                }
            )
            variable.set_auto_maskandscale(False)
            variable[:] = values

    described = {
        "title": "a state of a training run: what the next step reads",
        "step": step,
        # Which tensors lie in each variable, in order, with their shapes: JSON.
        "layout": json.dumps(packed.layout),
        **attributes,
    }
    commit(folder / state_name(step), described, write, packed.nbytes)


def read_packed(dataset: Any) -> Packed:
    """Read an open state file."""
    layout = json.loads(dataset.getncattr("layout"))
    arrays = {name: np.asarray(dataset.variables[name][:]) for name in layout}
    return Packed({name: from_array(array, layout[name]["dtype"]) for name, array in arrays.items()}, layout)


def read_state(dataset: Any, device: str | torch.device = "cpu") -> State:
    """Read an open state file as tensors on ``device``."""
    return unpack(read_packed(dataset), device)
