"""Short digests of what is not stored: frozen weights and training data, so that verification can name a change."""

from __future__ import annotations

import copy
import hashlib
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aadsl.core.errors import AadslError
from aadsl.data.examples import Examples

# Examples looked at, spread evenly: enough to notice another data set or another order, cheap where examples are files.
SAMPLED = 32
_ELEMENTS = 1 << 16
# Lists that are longer hold examples, not parts of a data set such as its transforms.
_MEMBERS = 100


def tensor_digest(tensor: Tensor) -> str:
    """Return a digest of shape, dtype and up to 65,536 evenly spaced elements."""
    flat = tensor.detach().reshape(-1)
    stride = max(1, -(-flat.numel() // _ELEMENTS))
    sampled = flat[::stride].cpu().contiguous()
    content = sampled.view(torch.uint8).numpy().tobytes() if sampled.numel() else b""
    return _short(f"{tuple(tensor.shape)} {tensor.dtype} ".encode() + content)


def data_fingerprint(data: Any) -> dict[str, str]:
    """Return the data's length and the digests of sampled examples by position; {} where that cannot be told.

    Data that give another example each time they are asked (random augmentation) have only a length, and
    ``"random": "yes"``.
    """
    if data is None:
        return {}
    try:
        examples = Examples.of(data).afresh()
    except AadslError:
        return {}
    found = {"length": str(len(examples))}
    positions = sorted({int(place) for place in np.linspace(0, len(examples) - 1, SAMPLED)}) if len(examples) else []
    try:
        with _untouched_generators(data):
            first = {str(position): example_digest(examples, position) for position in positions}
            again = {str(position): example_digest(examples.afresh(), position) for position in positions}
    except AadslError:  # such as images without a transform: the training loop puts batches together itself
        return found
    return found | (first if first == again else {"random": "yes"})


def example_digest(examples: Examples, position: int) -> str:
    """Return the digest of one example and, where it has several parts, such as inputs and labels, of each of them."""
    example = examples.take([position])
    held = example.values() if isinstance(example, Mapping) else example
    parts = list(held) if isinstance(example, (Mapping, tuple, list)) and len(example) > 1 else []
    return " ".join(batch_digest(part) for part in (example, *parts))


def batch_digest(batch: Any) -> str:
    """Return the digest of the tensors of a batch, and of what else is in it."""
    return _short(_content(batch))


def _content(part: Any) -> bytes:
    if isinstance(part, Tensor):
        return tensor_digest(part).encode()
    if isinstance(part, Mapping):
        return b"".join(str(key).encode() + _content(value) for key, value in part.items())
    if isinstance(part, (tuple, list)):
        return b"".join(_content(value) for value in part)
    return repr(part).encode()


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


@contextmanager
def _untouched_generators(data: Any) -> Iterator[None]:
    """Leave all random generators as they were, those of the data too: looking at examples must not change the run."""
    python, array = random.getstate(), np.random.get_state()
    own = [(generator, copy.deepcopy(_state_of(generator))) for generator in _generators(data)]
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(array)
        for generator, state in own:
            _set_state(generator, state)


def _generators(holder: Any, depth: int = 4) -> Iterator[Any]:
    """Yield the random generators among the attributes of an object, and of what it holds."""
    if isinstance(holder, (torch.Generator, random.Random, np.random.Generator, np.random.RandomState)):
        yield holder
    elif depth and not isinstance(holder, (Tensor, np.ndarray, type)):
        held = holder if isinstance(holder, (list, tuple)) and len(holder) < _MEMBERS else ()
        for value in (*held, *getattr(holder, "__dict__", {}).values()):
            yield from _generators(value, depth - 1)


def _state_of(generator: Any) -> Any:
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return generator.getstate() if isinstance(generator, random.Random) else generator.get_state()


def _set_state(generator: Any, state: Any) -> None:
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    elif isinstance(generator, random.Random):
        generator.setstate(state)
    else:
        generator.set_state(state)
