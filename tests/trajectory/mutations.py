"""Files as a knowing hand would change them: every size, name, number and text in them, and the file itself.

A file is read into a :class:`Group`, changed there, written anew and sealed, so that its seal holds.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

NUMBERS = (0, 1, -1, 7, 255, 10**9, 2**31, 2**63 - 1, -(2**63), 0.5, 1e300, float("nan"), float("inf"), -float("inf"))
TEXTS = (
    "", " ", "x", "-1", "1000000000", "9" * 5000, "3x", "x3", "-2x-3", "1000000000x1000000000", "nan", "SGD SGD SGD",
    "Adam", "float64", "bfloat16", "Tensor", "{}", "[]", "null", '{"a": 1}', "[" * 5000, '{"a":' * 5000, "\u2028",
    "a\tb\n", "\U0001f600" * 50, "../../etc/passwd", "0.weight", "y" * 10**5,
)  # fmt: skip
SIZES = (0, 1, 2, 3, 5, 7, 64, 10**5, 10**9, 2**40)
DTYPES = ("i1", "u1", "i2", "i4", "i8", "u8", "f4", "f8", "text")
MOST = 10**6  # elements that are written; of more a variable says that it has them


@dataclass
class Variable:
    """A variable; without ``values`` it is never written."""

    dimensions: tuple[str, ...]
    dtype: Any
    values: Any
    attributes: dict[str, Any]
    zlib: bool


@dataclass
class Group:
    attributes: dict[str, Any] = field(default_factory=dict)
    dimensions: dict[str, int] = field(default_factory=dict)
    variables: dict[str, Variable] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)

    def all(self) -> Iterator[Group]:
        yield self
        for group in self.groups.values():
            yield from group.all()


def read(dataset: Any) -> Group:
    found = Group(
        {k: dataset.getncattr(k) for k in dataset.ncattrs()}, {k: len(d) for k, d in dataset.dimensions.items()}
    )
    for name, variable in dataset.variables.items():
        variable.set_auto_maskandscale(False)
        found.variables[name] = Variable(
            variable.dimensions,
            variable.dtype,
            np.asarray(variable[...]),
            {k: variable.getncattr(k) for k in variable.ncattrs()},
            bool((variable.filters() or {}).get("zlib")),
        )
    found.groups = {name: read(group) for name, group in dataset.groups.items()}
    return found


def write(dataset: Any, group: Group) -> None:
    for key, value in group.attributes.items():
        dataset.setncattr(key, value)
    for name, size in group.dimensions.items():
        dataset.createDimension(name, size)
    for name, variable in group.variables.items():
        shape = [group.dimensions[dimension] for dimension in variable.dimensions]
        compression = {"compression": "zlib"} if variable.zlib and variable.dtype is not str and shape else {}
        if compression and int(np.prod(shape, dtype=float)) > MOST:
            compression["chunksizes"] = [max(1, min(size, 1 << 17)) for size in shape]
        made = dataset.createVariable(name, variable.dtype, variable.dimensions, **compression)
        if variable.dtype is not str:
            made.set_auto_maskandscale(False)
        for key, value in variable.attributes.items():
            made.setncattr(key, value)
        if variable.values is not None and variable.values.size:
            made[...] = variable.values
    for name, inner in group.groups.items():
        write(dataset.createGroup(name), inner)


def sealed(content: bytes) -> bytes:
    return content + b"\naadsl sha256 %s\n" % hashlib.sha256(content).hexdigest().encode()


def rebuilt(path: Path, change: Callable[[Group], None]) -> None:
    """Write a file anew with a change, and seal it."""
    with netCDF4.Dataset(path) as dataset:
        root = read(dataset)
    change(root)
    copy = path.with_suffix(".copy")
    with netCDF4.Dataset(copy, "w") as dataset:
        write(dataset, root)
    path.write_bytes(sealed(copy.read_bytes()))
    copy.unlink()


class Hand:
    """Makes one change in a file, drawn by ``dice``; ``honest_numbers``: no number becomes another finite one."""

    def __init__(self, dice: random.Random, honest_numbers: bool) -> None:
        self._dice, self._honest = dice, honest_numbers

    def inside(self, path: Path) -> str:
        """Change something in a file; return what."""
        said: list[str] = []

        def change(root: Group) -> None:
            groups = [group for group in root.all() if group.variables or group.attributes] or [root]
            group = self._dice.choice(groups)
            changes = [self._attribute, self._json, self._extra, self._nested]
            if group.variables:
                changes += [self._value, self._value, self._dtype, self._missing, self._renamed, self._rank, self._own]
            if group.dimensions:
                changes += [self._dimension, self._dimension]
            said.append(self._dice.choice(changes)(group))

        rebuilt(path, change)
        return said[0]

    def number(self) -> float:
        bad = [number for number in NUMBERS if not np.isfinite(number)]
        return self._dice.choice(bad if self._honest else NUMBERS)

    def anything(self) -> Any:
        """Return a value for an attribute."""
        number = self._dice.choice(NUMBERS)
        several = np.array([self._dice.choice(NUMBERS[:6]) for _ in range(self._dice.randrange(4))], dtype=np.int64)
        return self._dice.choice([number, self._dice.choice(TEXTS), several])

    def _variable(self, group: Group) -> str:
        return self._dice.choice(sorted(group.variables))

    def _value(self, group: Group) -> str:
        name = self._variable(group)
        variable = group.variables[name]
        if not variable.values.size:
            return self._dtype(group)
        values = np.array(variable.values)
        new = self._dice.choice(TEXTS) if variable.dtype is str else self.number()
        with np.errstate(all="ignore"):
            value = new if variable.dtype is str else _cast(new, values.dtype)
        where = self._dice.choice([slice(None), self._dice.randrange(values.size)])
        values.reshape(-1)[where] = value
        variable.values = values
        return f"{name}[{where}] = {str(new)[:40]}"

    def _dtype(self, group: Group) -> str:
        name, dtype = self._variable(group), self._dice.choice(DTYPES)
        variable = group.variables[name]
        if dtype == "text":
            variable.dtype, variable.values = str, np.array(variable.values, dtype=object).astype(str).astype(object)
        else:
            variable.dtype = np.dtype(dtype)
            with np.errstate(all="ignore"):
                shape = np.shape(variable.values)
                values = variable.values if variable.values.dtype != object else np.zeros(shape)
                variable.values = values.astype(dtype)
        return f"{name} is {dtype}"

    def _missing(self, group: Group) -> str:
        name = self._variable(group)
        del group.variables[name]
        return f"without {name}"

    def _renamed(self, group: Group) -> str:
        name = self._variable(group)
        new = self._dice.choice(["x", f"{name}_0", "step", "lr", f"rng_{name}", "effect", "n" * 200])
        group.variables[new] = group.variables.pop(name)
        return f"{name} is called {new[:20]}"

    def _rank(self, group: Group) -> str:
        name = self._variable(group)
        variable = group.variables[name]
        if not variable.dimensions or self._dice.random() < 0.5:
            size = self._dice.choice(SIZES)
            group.dimensions["rank"] = size
            variable.dimensions = (*variable.dimensions, "rank")
            small = size and variable.values.size * size <= MOST
            variable.values = np.repeat(variable.values[..., None], size, -1) if small else None
            return f"{name} has one more axis of {size}"
        first = variable.values.reshape(-1)[:1]
        variable.dimensions, variable.values = (), first.reshape(()) if len(first) else None
        return f"{name} is a scalar"

    def _own(self, group: Group) -> str:
        """A variable of another size than all others of its dimension."""
        name, size = self._variable(group), self._dice.choice(SIZES)
        variable = group.variables[name]
        group.dimensions["own"] = size
        variable.dimensions, variable.zlib = ("own",), self._dice.random() < 0.5
        variable.values = np.resize(variable.values, size) if 0 < size <= MOST and variable.values.size else None
        return f"{name} has {size} values"

    def _dimension(self, group: Group) -> str:
        name = self._dice.choice(sorted(group.dimensions))
        size = self._dice.choice([*SIZES, max(0, group.dimensions[name] - 1), group.dimensions[name] + 1])
        group.dimensions[name] = size
        written, compressed = self._dice.random() < 0.5, self._dice.random() < 0.5
        for variable in group.variables.values():
            if name in variable.dimensions:
                shape = [group.dimensions[dimension] for dimension in variable.dimensions]
                small = np.prod(shape, dtype=float) <= MOST and variable.values.size
                variable.values = np.resize(variable.values, shape) if small and written else None
                variable.zlib |= compressed
        return f"dimension {name} is {size}, written: {written}"

    def _attribute(self, group: Group) -> str:
        holder: Any = self._dice.choice([group, *group.variables.values()])
        if not holder.attributes:
            holder.attributes["units"] = "1"
        name, value = self._dice.choice(sorted(holder.attributes)), self.anything()
        if self._dice.random() < 0.2:
            del holder.attributes[name]
            return f"without the attribute {name}"
        holder.attributes[name] = value
        return f"attribute {name} = {str(value)[:40]!r}"

    def _json(self, group: Group) -> str:
        """Change one leaf of a JSON text, where there is one."""
        for name, text in group.attributes.items():
            with suppress(ValueError, TypeError):
                parsed = json.loads(text)
                if isinstance(parsed, (dict, list)) and parsed:
                    leaf = self._leaf(parsed)
                    group.attributes[name] = json.dumps(parsed)
                    return f"in {name}: {leaf}"
        return self._attribute(group)

    def _leaf(self, node: Any) -> str:
        keys = sorted(node) if isinstance(node, dict) else range(len(node))
        key = self._dice.choice(list(keys))
        if isinstance(node[key], (dict, list)) and node[key] and self._dice.random() < 0.85:
            return self._leaf(node[key])
        node[key] = self._dice.choice([*NUMBERS, *TEXTS[:12], None, [], {}, True, [[]], [10**9] * 3])
        return f"{str(key)[:20]} is {str(node[key])[:40]}"

    def _extra(self, group: Group) -> str:
        size = self._dice.choice(SIZES)
        name = self._dice.choice(["extra", "rng_cpu", "tensor_x", "lr_7", "a b", "\u00e9" * 60])
        dtype = self._dice.choice(["i1", "f8", "u8"])
        if name in group.variables:
            name = "another"
        group.dimensions["extra_axis"] = size
        values = np.zeros(size, dtype) if size <= MOST else None
        zlib = self._dice.random() < 0.5
        group.variables[name] = Variable(
            ("extra_axis",), np.dtype(dtype), values, {"tensor": name, "position": 0}, zlib
        )
        return f"{name} besides, of {size}"

    def _nested(self, group: Group) -> str:
        depth = self._dice.choice([1, 10, 100])
        for _ in range(depth):
            group.groups["inner"] = Group(dict(group.attributes))
            group = group.groups["inner"]
        return f"groups {depth} deep"


def _cast(value: float, dtype: Any) -> Any:
    if np.dtype(dtype).kind in "iu":
        limits = np.iinfo(dtype)
        return limits.min if not value > limits.min else limits.max if value >= limits.max else int(value)
    return np.array(value).astype(dtype)


def outside(path: Path, dice: random.Random) -> str:
    """Change what a file is, or is called; return how."""
    content = path.read_bytes()
    inner = content[:-79]
    place = dice.randrange(len(inner))
    flipped = bytearray(inner)
    for _ in range(dice.choice([1, 1, 3, 30])):
        flipped[dice.randrange(len(inner))] = dice.randrange(256)
    stretch = bytearray(inner)
    stretch[place : place + 64] = dice.randbytes(len(stretch[place : place + 64]))
    kind = dice.choice(["gone", "pipe", "folder", "device", "loop", "elsewhere", "renamed", "bytes", "other"])
    if kind == "bytes":
        choices = {
            "truncated": sealed(inner[:place]), "flipped": sealed(bytes(flipped)), "a stretch": sealed(bytes(stretch)),
            "flipped near the beginning": sealed(_flip(inner, dice, 4096)), "garbage": sealed(dice.randbytes(1000)),
            "empty": b"", "seal alone": sealed(b""), "not sealed": bytes(flipped),
            "longer": sealed(inner + b"\0" * 10**6),
        }  # fmt: skip
        kind = dice.choice(sorted(choices))
        path.write_bytes(choices[kind])
        return kind
    others = sorted(other for other in path.parent.rglob("*.nc") if other != path)
    if kind == "other" and others:
        other = dice.choice(others)
        shutil.copyfile(other, path)
        return f"it is {other.name}"
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to(dice.choice(["/dev/zero", "/dev/null", "/dev/full"]))
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "elsewhere":
        path.symlink_to(path.with_name("nowhere.nc"))
    elif kind == "renamed":
        stem = path.stem.split("-")[0]
        ends = [0, 1, 3, 4, 5, 10**9, 2**63, 10**30, "\u0663", "06", -1]
        new = f"{stem}-{dice.choice(ends)}" + ("" if stem == "state" else f"-{dice.choice(ends)}")
        path.with_name(f"{new}.nc").write_bytes(content)
        return f"it is called {new[:40]}"
    return kind


def _flip(content: bytes, dice: random.Random, within: int) -> bytes:
    changed = bytearray(content)
    changed[dice.randrange(min(within, len(changed)))] ^= 1 << dice.randrange(8)
    return bytes(changed)
