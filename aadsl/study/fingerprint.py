"""Digests of whatever an effect depends on: numbers, tensors, examples, models, and the code of functions.

Two values with one fingerprint compute the same. What cannot be told apart for certain has none:
:class:`NoFingerprint` is raised, and the caller must do without.
"""

from __future__ import annotations

import dis
import hashlib
from collections.abc import Callable, Mapping, Set
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor, nn

from aadsl.data.examples import Examples
from aadsl.study.installed import installed_as


class NoFingerprint(Exception):  # noqa: N818  (no error: the answer is that there is none)
    """A value that may compute differently although nothing of it looks different."""


def fingerprint(*values: Any) -> str:
    """Return the digest of ``values``, 64 hexadecimal digits.

    Raises:
        NoFingerprint: one of them, or something inside it, has none.
    """
    digest = Digest()
    for value in values:
        digest.feed(value)
    return digest.hash.hexdigest()


def model_fingerprint(model: nn.Module, loaded: Set[str]) -> str:
    """Return the digest of a model's code, structure and weights, but for the values of ``loaded`` weights.

    Args:
        model: the model.
        loaded: names of parameters and buffers whose values come from elsewhere.
    """
    digest = Digest()
    for name, module in model.named_modules():
        digest.feed(name)
        digest.module(module)
    for name, weight in [*model.named_parameters(), *model.named_buffers()]:
        digest.feed((name, tuple(weight.shape), None if name in loaded else weight))
    return digest.hash.hexdigest()


class Digest:
    """A hash that values are fed to, each in a form that says what kind of value it is."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self._inside: dict[int, int] = {}

    def feed(self, value: Any) -> None:
        """Add a value. One that contains itself is referred to by its depth."""
        if id(value) in self._inside:
            self._text(f"inside {self._inside[id(value)]}")
            return
        self._text(type(value).__qualname__)
        self._inside[id(value)] = len(self._inside)
        try:
            next(feed for kinds, feed in FEEDS if isinstance(value, kinds))(self, value)
        finally:
            del self._inside[id(value)]

    def module(self, module: nn.Module) -> None:
        """Add the code, settings and hooks of one module, without its children and weights."""
        self.feed(type(module))
        apart = {"_parameters", "_buffers", "_modules", "training"}
        settings = {k: v for k, v in vars(module).items() if k not in apart and (v or not k.startswith("_"))}
        self.feed({name: list(value.values()) if "hooks" in name else value for name, value in settings.items()})

    def _text(self, text: str) -> None:
        encoded = text.encode()
        self.hash.update(b"%d:" % len(encoded) + encoded)

    def _plain(self, value: Any) -> None:
        self._text(repr(value))

    def _bytes(self, value: bytes) -> None:
        self.hash.update(b"%d:" % len(value) + value)

    def _tensor(self, value: Tensor) -> None:
        dense = value.detach().cpu().contiguous()
        self._text(f"{dense.dtype} {tuple(dense.shape)}")
        self.hash.update(dense.reshape(-1).view(torch.uint8).numpy().data if dense.numel() else b"")

    def _array(self, value: np.ndarray[Any, Any]) -> None:
        self._text(f"{value.dtype} {value.shape}")
        if value.dtype == object:
            self._sequence(value.ravel().tolist())
        elif value.size:
            self.hash.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)

    def _sequence(self, value: Any) -> None:
        self._text(str(len(value)))
        for item in value:
            self.feed(item)

    def _set(self, value: Any) -> None:
        self._text(" ".join(sorted(fingerprint(item) for item in value)))

    def _mapping(self, value: Mapping[Any, Any]) -> None:
        self._sequence([part for item in value.items() for part in item])

    def _labelled(self, value: xr.Dataset | xr.DataArray) -> None:
        variables = value.variables if isinstance(value, xr.Dataset) else {"": value.variable, **value.coords}
        self._sequence([(str(name), variable.dims, variable.values) for name, variable in variables.items()])

    def _examples(self, value: Examples) -> None:
        if isinstance(value.source, tuple):
            rows = _rows(value.positions)
            self._sequence([part[rows] for part in value.source])
        else:
            self._sequence([value.source[int(position)] for position in value.positions])

    def _dataclass(self, value: Any) -> None:
        self.feed(type(value))
        self._sequence([(field.name, getattr(value, field.name)) for field in fields(value)])

    def _model(self, value: nn.Module) -> None:
        self._text(model_fingerprint(value, frozenset()))

    def _partial(self, value: partial[Any]) -> None:
        self._sequence([value.func, value.args, value.keywords])

    def _method(self, value: MethodType) -> None:
        self._sequence([value.__self__, value.__func__])

    def _function(self, value: FunctionType) -> None:
        installed = installed_as(value.__module__)
        self._text(f"{installed} {value.__module__}.{value.__qualname__}" if installed else "")
        if installed == "aadsl":
            return  # the engine's code has a digest of its own
        if not installed:
            self._code(value.__code__)
            used = sorted(global_names(value.__code__) & value.__globals__.keys())
            self._sequence([(name, value.__globals__[name]) for name in used])
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        self._sequence([value.__defaults__, value.__kwdefaults__, cells])

    def _code(self, code: CodeType) -> None:
        self._bytes(code.co_code)
        self._sequence([code.co_names, code.co_varnames, code.co_freevars, code.co_flags])
        for constant in code.co_consts:
            self._code(constant) if isinstance(constant, CodeType) else self.feed(constant)

    def _class(self, value: type) -> None:
        installed = installed_as(value.__module__)
        self._text(f"{installed} {value.__module__}.{value.__qualname__}")
        if not installed:
            own = {k: v for k, v in vars(value).items() if not k.startswith(UNIMPORTANT)}
            self._sequence([value.__bases__, {name: _bare(member) for name, member in own.items()}])

    def _named(self, value: Any) -> None:
        installed = installed_as(value.__name__ if isinstance(value, ModuleType) else value.__module__ or "builtins")
        self._text(f"{installed} {getattr(value, '__module__', '')}.{value.__name__}")
        if isinstance(value, ModuleType) and not installed:
            raise NoFingerprint(f"it uses the module {value.__name__} as a whole, whose code may change")

    def _object(self, value: Any) -> None:
        if not hasattr(value, "__dict__"):
            raise NoFingerprint(f"it uses a {type(value).__name__}, which cannot be told from another one")
        self._sequence([type(value), vars(value)])


FEEDS: tuple[tuple[Any, Callable[[Digest, Any], None]], ...] = (
    ((type(None), bool, int, float, complex, str, slice, type(...), Path, np.generic), Digest._plain),
    ((torch.dtype, torch.device, torch.Size), Digest._plain),
    ((bytes, bytearray), Digest._bytes),
    (Tensor, Digest._tensor),
    (np.ndarray, Digest._array),
    ((xr.Dataset, xr.DataArray), Digest._labelled),
    (Examples, Digest._examples),
    (nn.Module, Digest._model),
    (Mapping, Digest._mapping),
    ((list, tuple), Digest._sequence),
    (Set, Digest._set),
    (partial, Digest._partial),
    (MethodType, Digest._method),
    (FunctionType, Digest._function),
    (type, Digest._class),
    ((BuiltinFunctionType, ModuleType), Digest._named),
    (object, lambda digest, value: digest._dataclass(value) if is_dataclass(value) else digest._object(value)),
)
"""How each kind of value is fed; the first that fits is taken."""

UNIMPORTANT = ("__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__annot", "__dataclass", "_abc_")


def global_names(code: CodeType) -> set[str]:
    """Return the global names that a function, or one defined in it, reads."""
    own = {str(i.argval) for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return own.union(*(global_names(inner) for inner in code.co_consts if isinstance(inner, CodeType)))


def _rows(positions: NDArray[np.int64]) -> slice | Tensor:
    """Return what picks these positions: a slice, which copies nothing, where they follow on each other."""
    start = int(positions[0]) if len(positions) else 0
    stop = start + len(positions)
    whole = np.array_equal(positions, np.arange(start, stop))
    return slice(start, stop) if whole else torch.from_numpy(positions)


def _bare(member: Any) -> Any:
    """Return what a descriptor of a class holds: the function itself."""
    if isinstance(member, staticmethod | classmethod):
        return member.__func__
    if isinstance(member, property):
        return [member.fget, member.fset]
    return member
