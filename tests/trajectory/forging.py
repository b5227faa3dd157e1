"""Changes a file of a trajectory and seals it again, as a knowing hand would."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import netCDF4

Change = Callable[[Any], object]


def edit(path: Path, change: Change) -> None:
    """Write a sealed file anew with a change, and seal it again."""
    copy = path.with_suffix(".copy")
    with netCDF4.Dataset(path) as old, netCDF4.Dataset(copy, "w") as new:
        old.set_auto_maskandscale(False)
        new.setncatts({key: old.getncattr(key) for key in old.ncattrs()})
        for name, dimension in old.dimensions.items():
            new.createDimension(name, len(dimension))
        for name, variable in old.variables.items():
            made = new.createVariable(name, variable.dtype, variable.dimensions)
            made.set_auto_maskandscale(False)
            made.setncatts({key: variable.getncattr(key) for key in variable.ncattrs()})
            made[...] = variable[...]
        change(new)
    content = copy.read_bytes()
    path.write_bytes(content + b"\naadsl sha256 %s\n" % hashlib.sha256(content).hexdigest().encode())
    copy.unlink()


def rewrite(path: Path, changes: dict[str, Any]) -> None:
    """Replace variables (by a function of their values) and attributes."""

    def change(dataset: Any) -> None:
        for name, changed in changes.items():
            if name in dataset.variables:
                dataset[name][...] = changed(dataset[name][...])
            else:
                dataset.setncattr(name, changed)

    edit(path, change)
