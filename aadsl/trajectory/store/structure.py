"""A batch as the training loop has it: flat tensors by name, and a JSON text that says how containers hold them.

``null``, numbers, truth values and text stand for themselves, an array for a list, an object with one key of these for

* ``tensor``, ``array``: the tensor, or NumPy array, of that name; where ``shape`` is given, the next of its elements;
* ``texts``: a NumPy array of text, flat, and its ``shape``;
* ``tuple``: a list of members; ``dict``: a list of pairs, key and value; ``namedtuple``: its name, ``dict`` its fields.

The text is empty for the two that are most common, a tuple of tensors and a dict of tensors by names.
"""

from __future__ import annotations

import json
import re
from collections import namedtuple
from collections.abc import Mapping
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from aadsl.core.errors import AadslError
from aadsl.trajectory.store.tensors import dtype_name

_LONGEST = 100


class Taken(NamedTuple):
    """A batch that was taken apart: its structure, its tensors by name, and the length of the first that has one."""

    structure: str
    tensors: Mapping[str, Tensor]
    length: int


def taken_apart(batch: Any) -> Taken:
    """Return the structure of a batch and copies of its tensors on the CPU.

    Raises:
        AadslError: it holds something else than tensors, NumPy arrays, text, numbers and None.
    """
    kind = type(batch)
    if kind is tuple or kind is list:
        members = {str(position): value for position, value in enumerate(batch)}
        structure = "" if kind is tuple else _listed(len(batch))
    elif isinstance(batch, Tensor):
        members, structure = {"0": batch}, '{"tensor": "0"}'
    elif isinstance(batch, Mapping):
        members, structure = dict(batch), ""
        if not all(isinstance(name, str) and name.isidentifier() for name in members):
            return _encoded(batch)
    else:
        return _encoded(batch)
    for value in members.values():
        if not isinstance(value, Tensor):
            return _encoded(batch)
    tensors = {name: copied(name, value) for name, value in members.items()}
    return Taken(structure, tensors, next((len(tensor) for tensor in tensors.values() if tensor.ndim), 0))


@lru_cache
def _listed(count: int) -> str:
    return json.dumps([{"tensor": str(position)} for position in range(count)])


def copied(name: str, tensor: Tensor) -> Tensor:
    """Return a copy of one tensor on the CPU. Raises AadslError where it is not stored number by number."""
    if tensor.layout is not torch.strided or tensor.is_quantized:
        kind = "a quantized" if tensor.is_quantized else "a sparse" if tensor.layout is not torch.jagged else "a nested"
        raise AadslError(
            f"member {name} of the batch is {kind} tensor",
            hint="give the tensors that it is made of, and let the loss make it of them; or record indices=…",
        )
    return torch.clone(tensor.detach().cpu(), memory_format=torch.contiguous_format)


def _encoded(batch: Any) -> Taken:
    encoder = _Encoder()
    structure = json.dumps(encoder.node(batch, ""))
    return Taken(structure, {name: torch.cat(parts) for name, parts in encoder.parts.items()}, encoder.length)


class _Encoder:
    """Goes through a batch; tensors of one name and dtype, as those of the members of a list, lie end to end."""

    def __init__(self) -> None:
        self.parts: dict[str, list[Tensor]] = {}
        self.length = 0

    def node(self, value: Any, path: str) -> Any:
        """Return what stands for ``value`` in the structure. Raises AadslError where nothing does."""
        if value is None or isinstance(value, (str, bool, int, float)):
            return value
        if isinstance(value, Tensor):
            return self._tensor("tensor", value, path)
        if isinstance(value, (np.ndarray, np.generic)):
            return self._array(np.asarray(value), path)
        if isinstance(value, Mapping):
            return {"dict": [[_key(key, path), self.node(item, _below(path, key))] for key, item in value.items()]}
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            fields = [[field, self.node(getattr(value, field), _below(path, field))] for field in value._fields]
            return {"namedtuple": type(value).__name__, "dict": fields}
        if isinstance(value, tuple):
            return {"tuple": [self.node(item, _below(path, place)) for place, item in enumerate(value)]}
        if isinstance(value, list):
            # Below the top, lists are as long as there are boxes, words … in an example: their members share a name.
            return [self.node(item, path or str(place)) for place, item in enumerate(value)]
        raise _refusal(path, f"a {type(value).__name__}")

    def _tensor(self, kind: str, value: Tensor, path: str) -> dict[str, Any]:
        flat = copied(path, value).reshape(-1)
        self.length = self.length or (len(value) if value.ndim else 0)
        name = re.sub(r"[^\w.]", "_", path)[:_LONGEST]
        while name in self.parts and self.parts[name][0].dtype != flat.dtype:
            name = f"{name}.{dtype_name(flat.dtype)}"
        self.parts.setdefault(name, []).append(flat)
        return {kind: name, "shape": list(value.shape)}

    def _array(self, value: np.ndarray[Any, Any], path: str) -> dict[str, Any]:
        if value.dtype.kind == "U":
            return {"texts": value.reshape(-1).tolist(), "shape": list(value.shape)}
        try:
            tensor = torch.from_numpy(np.array(value, dtype=value.dtype.newbyteorder("=")))
        except TypeError:
            raise _refusal(path, f"an array of {value.dtype}") from None
        return self._tensor("array", tensor, path)


def _key(key: Any, path: str) -> Any:
    if key is None or isinstance(key, (str, bool, int, float)):
        return key
    raise _refusal(path, f"a dict with a key that is a {type(key).__name__}")


def _below(path: str, step: object) -> str:
    return f"{path}.{step}" if path else str(step)


def _refusal(path: str, what: str) -> AadslError:
    return AadslError(
        f"member {path} of the batch is {what}" if path else f"the batch is {what}",
        hint="give what the loss reads: tensors, NumPy arrays, text and numbers in tuples, lists and dicts "
        "(vars(batch), batch.to_dict()); or indices= into the data",
    )


def put_together(structure: str, tensors: Mapping[str, Tensor]) -> Any:
    """Undo :func:`taken_apart`. Raises ValueError where the structure is none, or does not fit the tensors."""
    if not structure:
        return tuple(tensors.values()) if all(name.isdigit() for name in tensors) else dict(tensors)
    try:
        return _Decoder(tensors).value(json.loads(structure))
    except (ValueError, KeyError, TypeError, RuntimeError, RecursionError, AttributeError) as error:
        raise ValueError(f"the structure of a batch does not fit its tensors: {error}") from error


class _Decoder:
    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors
        self._taken = dict.fromkeys(tensors, 0)

    def value(self, node: Any) -> Any:
        """Return what a node stands for."""
        if isinstance(node, list):
            return [self.value(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "namedtuple" in node:
            fields = {name: self.value(item) for name, item in node["dict"]}
            return namedtuple(node["namedtuple"], list(fields))(**fields)
        if "dict" in node:
            return {key: self.value(item) for key, item in node["dict"]}
        if "tuple" in node:
            return tuple(self.value(item) for item in node["tuple"])
        if "texts" in node:
            return np.array(node["texts"], dtype=np.str_).reshape(node["shape"])
        shape = node.get("shape")
        return self._tensor(node["tensor"], shape) if "tensor" in node else self._tensor(node["array"], shape).numpy()

    def _tensor(self, name: str, shape: list[int] | None) -> Tensor:
        if shape is None:
            return self._tensors[name]
        start = self._taken[name]
        self._taken[name] = start + prod(shape)
        return self._tensors[name][start : self._taken[name]].view(shape)
