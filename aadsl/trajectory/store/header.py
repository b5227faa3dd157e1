"""``run.nc``: what is known of a run as a whole, and the file that makes a folder a trajectory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch

from aadsl.core.clip import Clip
from aadsl.core.errors import AadslError
from aadsl.core.files import RUN_FILE
from aadsl.core.formats import FORMATS
from aadsl.core.kernels import are_positions
from aadsl.dynamics import in_words
from aadsl.trajectory.store.files import SCHEMA_VERSION, commit
from aadsl.trajectory.store.specs import ParameterSpec

NAME = RUN_FILE
# A list of them is made from their number alone.
_MOST_GROUPS = 100_000


@dataclass
class Header:
    """A run's description.

    ``optimizers`` are their classes, one for each parameter group: see :mod:`aadsl.dynamics.kinds`.
    ``options`` are of each group what its optimizer was given, where no step function takes its steps again.
    ``length`` is the number of steps when the run was closed properly, and -1 while it is recorded.
    ``fingerprints`` are digests of what is not stored: ``"data"`` by position, ``"frozen"`` weights by name.
    ``average`` says of an average that is followed how it takes models in: see :mod:`aadsl.trajectory.record.average`.
    ``reconstructed`` says of a run that was trained again between two checkpoints where it ended: the fields of a
    :class:`Gap`, and the digests of the checkpoints, ``begun`` and ``aimed``.
    ``kernels`` are the switches that decided its bits: see :mod:`aadsl.core.kernels`.
    ``provenance`` says with what it was made; it is for readers, nothing is computed from it.
    """

    optimizers: tuple[str, ...]
    parameters: dict[str, ParameterSpec]
    buffers: dict[str, ParameterSpec]
    options: tuple[dict[str, Any], ...] = ()
    clip: Clip | None = None
    accumulation: int | None = None
    run: str = field(default_factory=lambda: uuid4().hex)
    length: int = -1
    fingerprints: dict[str, dict[str, str]] = field(default_factory=dict)
    kernels: dict[str, str] = field(default_factory=dict)
    average: dict[str, Any] = field(default_factory=dict)
    reconstructed: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, str] = field(default_factory=dict)

    @property
    def group_count(self) -> int:
        """Number of parameter groups."""
        return len(self.optimizers)

    @property
    def optimizer(self) -> str:
        """The classes of its optimizers in words: "SGD and AdamW"."""
        return " and ".join(dict.fromkeys(map(in_words, self.optimizers)))

    @property
    def attributes(self) -> dict[str, Any]:
        """What every file of the run says of it."""
        return {"run": self.run}


def write_header(folder: Path, header: Header) -> None:
    """Commit ``run.nc``."""
    attributes = {
        "title": "a recorded training run",
        "source": f"aadsl, PyTorch {header.provenance.get('torch', '')}",
        "history": f"{header.provenance.get('created', '')} recorded",
        # One class stands for all groups.
        "optimizer": " ".join(header.optimizers if len(set(header.optimizers)) > 1 else header.optimizers[:1]),
        "optimizer_options": json.dumps(header.options) if any(header.options) else "",
        "group_count": header.group_count,
        "length": header.length,
        "clip": json.dumps(asdict(header.clip)) if header.clip else "",
        "accumulation": header.accumulation or 0,
        "fingerprints": json.dumps(header.fingerprints),
        "kernels": json.dumps(header.kernels),
        "average": json.dumps(header.average) if header.average else "",
        "reconstructed": json.dumps(header.reconstructed) if header.reconstructed else "",
        **{f"provenance_{key}": value for key, value in header.provenance.items()},
        **header.attributes,
    }

    def write(dataset: Any) -> None:
        _write_specs(dataset, "parameter", list(header.parameters.values()))
        _write_specs(dataset, "buffer", list(header.buffers.values()))

    commit(folder / NAME, attributes, write)


def _write_specs(dataset: Any, kind: str, specs: Sequence[ParameterSpec]) -> None:
    columns = {
        "name": ([spec.name for spec in specs], "name in the model"),
        "shape": (["x".join(map(str, spec.shape)) for spec in specs], "shape"),
        "dtype": ([spec.dtype for spec in specs], "PyTorch dtype"),
        "aliases": ([" ".join(spec.aliases) for spec in specs], "further names of the same tensor"),
        "memory_format": (
            [spec.memory_format for spec in specs],
            "order in memory, if not the usual one",
        ),
    }
    dataset.createDimension(kind, len(specs))
    for name, (values, long_name) in columns.items():
        variable = dataset.createVariable(f"{kind}_{name}", str, (kind,))
        variable.setncatts({"long_name": f"{long_name} of each {kind}"})
        variable[:] = np.array(values, dtype=object)
    group = dataset.createVariable(f"{kind}_group", np.int32, (kind,))
    group.setncatts({"long_name": f"number of the optimizer's group of each {kind}", "units": "1"})
    group[:] = np.array([spec.group for spec in specs], dtype=np.int32)


def read_header(dataset: Any) -> Header:
    """Read an open ``run.nc``. Raises AadslError where it is of a later version."""
    values = {key: dataset.getncattr(key) for key in dataset.ncattrs()}
    version = int(values.get("aadsl_schema", 0))
    if version < 1:
        raise ValueError("it has no known schema version")
    if version > SCHEMA_VERSION:
        raise AadslError(
            f"the trajectory was written with schema {version}, this aadsl reads up to {SCHEMA_VERSION}",
            hint="update aadsl",
        )
    group_count = int(values["group_count"])
    if not 1 <= group_count <= _MOST_GROUPS:
        raise ValueError(f"it has {group_count:,} parameter groups, not 1 to {_MOST_GROUPS:,}")
    classes = values["optimizer"].split()
    if len(classes) not in (1, group_count):
        raise ValueError(f"it names {len(classes)} optimizers for {group_count} parameter groups")
    parameters = _read_specs(dataset, "parameter", range(group_count))
    buffers = _read_specs(dataset, "buffer", range(-1, 0))
    fingerprints = json.loads(values["fingerprints"])
    if not isinstance(fingerprints, dict) or not all(_of_texts(part) for part in fingerprints.values()):
        raise ValueError("fingerprints is no JSON object of objects of texts")
    kernels = json.loads(values.get("kernels", "{}"))
    if not are_positions(kernels):
        raise ValueError("kernels names positions that no switch has")
    average = json.loads(values.get("average") or "{}")
    if not isinstance(average, dict):
        raise ValueError("average is no JSON object")
    reconstructed = json.loads(values.get("reconstructed") or "{}")
    if not _of_gap(reconstructed):
        raise ValueError("reconstructed is no JSON object that says where a run ended between two checkpoints")
    options = json.loads(values.get("optimizer_options") or "[]")
    if not isinstance(options, list) or len(options) not in (0, group_count):
        raise ValueError(f"optimizer_options is no JSON list of {group_count} parameter groups")
    if not _of_texts({key: values.get(key) for key in ("run", "optimizer", "clip")}):
        raise ValueError("run, optimizer or clip is no text")
    prefix = "provenance_"
    return Header(
        optimizers=tuple(classes if len(classes) == group_count else classes * group_count),
        parameters=parameters,
        buffers=buffers,
        options=tuple(dict(own) for own in options) or ({},) * group_count,
        clip=Clip(**json.loads(values["clip"])) if values["clip"] else None,
        accumulation=int(values["accumulation"]) or None,
        run=values["run"],
        length=int(values["length"]),
        fingerprints=fingerprints,
        kernels=kernels,
        average=average,
        reconstructed=reconstructed,
        provenance={k.removeprefix(prefix): str(v) for k, v in values.items() if k.startswith(prefix)},
    )


def _of_gap(part: Any) -> bool:
    kinds = {"begun": str, "aimed": str, "verdict": str, "remark": str, "mismatch": float, "explained": float}
    return isinstance(part, dict) and (not part or all(isinstance(part.get(key), kinds[key]) for key in kinds))


def _of_texts(part: Any) -> bool:
    return isinstance(part, dict) and all(isinstance(value, str) for value in part.values())


def _read_specs(dataset: Any, kind: str, groups: range) -> dict[str, ParameterSpec]:
    names, shapes, dtypes, aliases = (
        dataset.variables[f"{kind}_{column}"][:] for column in ("name", "shape", "dtype", "aliases")
    )
    numbers = dataset.variables[f"{kind}_group"][:]
    formats = dataset.variables.get(f"{kind}_memory_format", [""] * len(names))[:]  # older runs say nothing of it
    specs = {}
    for name, shape, dtype, group, alias, lies in zip(names, shapes, dtypes, numbers, aliases, formats, strict=True):
        sides = tuple(int(side) for side in shape.split("x") if side)
        if any(side < 0 for side in sides):
            raise ValueError(f'"{name}" has the shape {shape}')
        if name in specs:
            raise ValueError(f'it has two {kind}s of the name "{name}"')
        if int(group) not in groups:
            raise ValueError(f'"{name}" is in group {group}, which the optimizer does not have')
        if not isinstance(getattr(torch, str(dtype), None), torch.dtype):
            raise ValueError(f'"{name}" is of the dtype "{dtype}", which PyTorch does not know')
        if lies not in ("", FORMATS.get(len(sides))):
            raise ValueError(f'"{name}" lies as "{lies}", which no tensor of its shape does')
        specs[str(name)] = ParameterSpec(str(name), sides, str(dtype), int(group), tuple(alias.split()), str(lies))
    return specs
