"""What functions, classes and modules consist of, as far as it decides a number."""

from __future__ import annotations

import dis
import io
import threading
from collections.abc import Iterator
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any

from torch import nn

_LOCKS = (type(threading.Lock()), type(threading.RLock()), threading.Condition, threading.Event)
_APART = {"_parameters", "_buffers", "_modules", "training", "_compiled_call_impl"}
_INTERNAL = vars(nn.Module()).keys()
UNIMPORTANT = ("__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__annot", "__dataclass", "_abc_")
GENERIC = ("__orig_bases__", "__parameters__")  # what a class says of types


def global_names(code: CodeType) -> set[str]:
    """Return the global names that a function, or one defined in it, reads."""
    own = {str(i.argval) for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return own.union(*(global_names(inner) for inner in code.co_consts if isinstance(inner, CodeType)))


def members(kind: type) -> dict[str, Any]:
    """Return what a class defines, without what computes nothing; of descriptors the functions themselves."""
    return {name: _bare(member) for name, member in vars(kind).items() if not name.startswith((*UNIMPORTANT, *GENERIC))}


def _bare(member: Any) -> Any:
    if isinstance(member, staticmethod | classmethod):
        return member.__func__
    if isinstance(member, property):
        return [member.fget, member.fset]
    # PyTorch puts a function around the steps of optimizers which knows the hooks of all of them.
    return member.__wrapped__ if getattr(member, "hooked", False) else member


def attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the settings and hooks of one module: what it is made of besides weights and other modules."""
    for name, value in vars(module).items():
        if name in _APART or isinstance(value, (*_LOCKS, io.IOBase)):
            continue
        if name not in _INTERNAL:
            yield name, value
        elif value:
            yield name, list(value.values()) if "hooks" in name else value


def is_code(value: Any) -> bool:
    """Return whether a value is a function, or hooks."""
    if isinstance(value, list):
        return any(is_code(item) for item in value)
    return isinstance(value, (FunctionType, MethodType, partial, type))
