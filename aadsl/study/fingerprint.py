"""Digests of whatever an effect depends on: numbers, tensors, examples, models, and the code of functions.

Two values with one fingerprint compute the same. What cannot be told apart for certain has none:
:class:`NoFingerprint` is raised, and the caller must do without.
"""

from __future__ import annotations

import hashlib
import logging
import weakref
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
from torch.utils.hooks import RemovableHandle

from aadsl.core.wrappers import named_buffers, named_modules, named_parameters
from aadsl.data.examples import Examples
from aadsl.study.installed import installed_as
from aadsl.study.parts import attributes, global_names, is_code, members


class NoFingerprint(Exception):  # noqa: N818  (no error: the answer is that there is none)
    """A value that may compute differently although nothing of it looks different."""


def fingerprint(*values: Any) -> str:
    """Return the digest of ``values``, 64 hexadecimal digits.

    Raises:
        NoFingerprint: one of them, or something inside it, has none.
    """

    def feed(digest: Digest) -> None:
        for value in values:
            digest.feed(value)

    return _digested(feed)


def model_fingerprint(model: nn.Module, loaded: Set[str]) -> str:
    """Return the digest of a model's code, structure and weights, but for the values of ``loaded`` weights.

    Args:
        model: the model.
        loaded: names of parameters and buffers whose values come from elsewhere.

    Raises:
        NoFingerprint: something inside it has none.
    """
    return _digested(lambda digest: digest.model(model, loaded))


def code_fingerprint(model: nn.Module) -> str:
    """Return the digest of a model's code alone: what its forward pass leaves behind in attributes is no part of it.

    Raises:
        NoFingerprint: something inside it has none.
    """
    return _digested(lambda digest: digest.model(model, None))


def _digested(feed: Callable[[Digest], None]) -> str:
    digest = Digest()
    try:
        feed(digest)
    except RecursionError:
        raise NoFingerprint("what it uses is nested too deeply to be told from something else") from None
    return digest.hash.hexdigest()


class Digest:
    """A hash that values are fed to, each in a form that says what kind of value it is."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self._inside: dict[int, int] = {}
        self._met: dict[int, tuple[int, Any]] = {}  # the objects are held, so that no other one gets the id of one

    def feed(self, value: Any) -> None:
        """Add a value. One that contains itself is referred to by its depth, code and objects met before by place."""
        if id(value) in self._inside or id(value) in self._met:
            known = self._met.get(id(value))
            self._text(f"met {known[0]}" if known else f"inside {self._inside[id(value)]}")
            return
        self._text(type(value).__qualname__)
        kinds, feed = next((kinds, feed) for kinds, feed in FEEDS if issubclass(type(value), kinds))
        if kinds in (FunctionType, type, object):
            self._meet(value)
        self._inside[id(value)] = len(self._inside)
        try:
            feed(self, value)
        finally:
            del self._inside[id(value)]

    def _meet(self, value: Any) -> None:
        self._met.setdefault(id(value), (len(self._met), value))

    def model(self, model: nn.Module, loaded: Set[str] | None) -> None:
        """Add a model without the values of ``loaded`` weights, or its code alone."""
        modules = list(named_modules(model))
        weights = [*named_parameters(model), *named_buffers(model)]
        # Whatever refers to a part of the model, the part above it among others, refers to its place.
        for _, part in [*modules, *weights]:
            self._meet(part)
        for name, module in modules:
            self.feed(name)
            self.feed(type(module))
            self.feed({key: value for key, value in attributes(module) if loaded is not None or is_code(value)})
        for name, weight in weights:
            self.feed((name, tuple(weight.shape)))
            if loaded is not None and name not in loaded:
                self._tensor(weight)

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
            self._text(str(len(value)))
            for item in value.items.each(value.positions.tolist()):
                self.feed(item)

    def _dataclass(self, value: Any) -> None:
        self.feed(type(value))
        self._sequence([(field.name, getattr(value, field.name)) for field in fields(value)])

    def _model(self, value: nn.Module) -> None:
        self.model(value, frozenset())

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
            self._sequence([value.__bases__, members(value)])

    def _named(self, value: Any) -> None:
        installed = installed_as(value.__name__ if isinstance(value, ModuleType) else value.__module__ or "builtins")
        self._text(f"{installed} {getattr(value, '__module__', '')}.{value.__name__}")
        if isinstance(value, ModuleType) and not installed:
            raise NoFingerprint(f"it uses the module {value.__name__} as a whole, whose code may change")

    def _weak(self, value: Any) -> None:
        target = value()
        self.feed(target if id(target) in self._met else type(target))

    def _autocast(self, value: Any) -> None:
        self._sequence([value.device, value.fast_dtype, value._enabled, value._cache_enabled])

    def _nothing(self, value: Any) -> None:
        """Add nothing: it decides no number."""

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
    (weakref.ref, Digest._weak),
    (torch.autocast, Digest._autocast),
    ((RemovableHandle, logging.Logger), Digest._nothing),
    (object, lambda digest, value: digest._dataclass(value) if is_dataclass(value) else digest._object(value)),
)
"""How each kind of value is fed; the first that fits is taken."""


def _rows(positions: NDArray[np.int64]) -> slice | Tensor:
    """Return what picks these positions: a slice, which copies nothing, where they follow on each other."""
    start = int(positions[0]) if len(positions) else 0
    stop = start + len(positions)
    whole = np.array_equal(positions, np.arange(start, stop))
    return slice(start, stop) if whole else torch.from_numpy(positions)
