"""The random generators that a loss may draw from: PyTorch's, Python's and NumPy's global ones, and a program's own.

The global ones have names, ``"cpu"``, ``"cuda:0"``, ``"python"``, ``"numpy"``: models draw from ``random.random()`` and
``numpy.random.rand()``, too, that drop whole layers. An own one is the object. The state of each is a row of bytes.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from math import isnan, nan
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from aadsl.core.errors import AadslError

PYTHON, NUMPY, OWN = "python", "numpy", "own"
"""The names of the global ones; that of a program's own begins with the last, and its number follows."""

OwnGenerator: TypeAlias = torch.Generator | np.random.Generator | np.random.RandomState | random.Random
Generator: TypeAlias = str | OwnGenerator
"""A global generator by its name, or a program's own."""

_WORDS = 625  # of Python's state: those of the Mersenne Twister, and the place in them


def global_ones(device: torch.device) -> list[str]:
    """Return the names of the global generators that a program on a device draws from."""
    own = [] if device.type == "cpu" else [f"{device.type}:{device.index or 0}"]
    return ["cpu", *own, PYTHON, NUMPY]


def state_of(generator: Generator) -> bytes:
    """Return the state of a generator; nothing where one of NumPy's old kind is no Mersenne Twister."""
    if generator == "cpu":
        return torch.default_generator.get_state().numpy().tobytes()
    if isinstance(generator, torch.Generator):
        return generator.get_state().numpy().tobytes()
    if isinstance(generator, np.random.Generator):
        return json.dumps(generator.bit_generator.state, default=_listed).encode()
    if generator == PYTHON or isinstance(generator, random.Random):
        _, words, gauss = (random if isinstance(generator, str) else generator).getstate()
        return np.array(words, dtype=np.uint32).tobytes() + np.float64(nan if gauss is None else gauss).tobytes()
    if generator == NUMPY or isinstance(generator, np.random.RandomState):
        state = (np.random if isinstance(generator, str) else generator).get_state(legacy=True)
        if not isinstance(state, tuple) or state[0] != "MT19937":
            return b""
        _, words, place, waiting, gauss = state
        content: bytes = words.tobytes() + np.array([place, waiting, gauss], dtype=np.float64).tobytes()
        return content
    return torch.cuda.get_rng_state(generator).numpy().tobytes()


def _listed(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Return an array in the state of one of NumPy's bit generators as JSON has it."""
    return {"values": array.tolist(), "dtype": str(array.dtype)}


def _array(found: dict[str, Any]) -> Any:
    return np.array(found["values"], dtype=found["dtype"]) if found.keys() == {"values", "dtype"} else found


def set_state(generator: Generator, state: Tensor) -> None:
    """Set a generator to a state: its bytes (n,), uint8.

    Raises:
        AadslError: it is no state of such a generator.
    """
    try:
        _set(generator, state)
    except (TypeError, ValueError, RuntimeError, LookupError, ArithmeticError) as error:
        name = f'"{generator}"' if isinstance(generator, str) else kind_of_generator(generator)
        raise AadslError(
            f"what was recorded of the random generator {name} is no state of it: {error}",
            hint="trajectory.violations() says whether the files are damaged",
        ) from error


def _set(generator: Generator, state: Tensor) -> None:
    if generator == "cpu":
        torch.set_rng_state(state)
    elif isinstance(generator, torch.Generator):
        generator.set_state(state)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = json.loads(state.numpy().tobytes(), object_hook=_array)
    elif generator == PYTHON or isinstance(generator, random.Random):
        content = state.numpy().tobytes()
        words = np.frombuffer(content, np.uint32, _WORDS).tolist()
        (gauss,) = np.frombuffer(content, np.float64, offset=4 * _WORDS).tolist()
        python = random if isinstance(generator, str) else generator
        python.setstate((3, tuple(words), None if isnan(gauss) else gauss))
    elif generator == NUMPY or isinstance(generator, np.random.RandomState):
        content = state.numpy().tobytes()
        place, waiting, gauss = np.frombuffer(content, np.float64, offset=len(content) - 24).tolist()
        words = np.frombuffer(content[:-24], np.uint32)
        if not 0 <= place < _WORDS:  # NumPy would read its memory there
            raise ValueError(f"the place {place} is outside of its words")
        numpy = np.random if isinstance(generator, str) else generator
        numpy.set_state(("MT19937", words, int(place), int(waiting), gauss))
    else:
        torch.cuda.set_rng_state(state, generator)


def kind_of_generator(generator: OwnGenerator) -> str:
    """Return in words what an own generator is; one has the states of another of the same kind.

    Raises:
        AadslError: it is none whose state can be kept.
    """
    if isinstance(generator, torch.Generator):
        return f"torch.Generator on {generator.device.type}"
    if isinstance(generator, np.random.Generator):
        return f"numpy.random.Generator of {type(generator.bit_generator).__name__}"
    if isinstance(generator, np.random.RandomState) and state_of(generator):
        return "numpy.random.RandomState"
    if type(generator) is random.Random:
        return "random.Random"
    raise AadslError(
        f"{type(generator).__name__} is no random generator whose state can be kept",
        hint="generators are torch.Generator, numpy.random.Generator (or RandomState) and random.Random objects",
    )


def reseeded(generator: Generator, number: int) -> Tensor:
    """Return the bytes of the state of a generator that begins with a seed; its own state stays."""
    with left_as_they_were([generator]):
        if isinstance(generator, torch.Generator):
            generator.manual_seed(number)
        elif isinstance(generator, np.random.Generator):
            generator.bit_generator.state = type(generator.bit_generator)(number).state
        elif generator == PYTHON or isinstance(generator, random.Random):
            (random if isinstance(generator, str) else generator).seed(number)
        elif generator == NUMPY or isinstance(generator, np.random.RandomState):
            (np.random if isinstance(generator, str) else generator).seed(number)
        else:
            return torch.Generator(generator).manual_seed(number).get_state()
        return as_tensor(state_of(generator))


@contextmanager
def left_as_they_were(generators: Iterable[Generator]) -> Iterator[None]:
    """Put the generators back to their present states afterwards."""
    before = {one: as_tensor(content) for one in generators if (content := state_of(one))}
    try:
        yield
    finally:
        for one, state in before.items():
            set_state(one, state)


@contextmanager
def beginning_with(seed: int, generators: Sequence[str]) -> Iterator[None]:
    """Let global generators begin with a seed, and put them back to their present states afterwards."""
    with left_as_they_were(generators):
        for name in generators:
            set_state(name, _seeded(name, seed))
        yield


@lru_cache(64)
def _seeded(name: str, seed: int) -> Tensor:
    return reseeded(name, seed)


def seed_all(seed: int = 0) -> None:
    """Let the generators of the CPU begin anew."""
    torch.default_generator.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


def as_tensor(state: bytes) -> Tensor:
    """Return the bytes of a state (n,) as they are stored."""
    return torch.frombuffer(bytearray(state), dtype=torch.uint8)
