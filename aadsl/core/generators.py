"""The random generators that a forward pass may draw from, by name: ``"cpu"``, ``"cuda:0"``, ``"python"``, ``"numpy"``.

The state of each is a row of bytes. Python's and NumPy's are the global ones, ``random.random()`` and
``numpy.random.rand()``, from which models draw that drop whole layers.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import isnan, nan

import numpy as np
import torch
from torch import Tensor

from aadsl.core.errors import AadslError

PYTHON, NUMPY = "python", "numpy"
_WORDS = 625  # of Python's state: those of the Mersenne Twister, and the place in them


def state_of(name: str) -> bytes:
    """Return the state of a generator; nothing where NumPy's global one is not the one it comes with."""
    if name == PYTHON:
        _, words, gauss = random.getstate()
        return np.array(words, dtype=np.uint32).tobytes() + np.float64(nan if gauss is None else gauss).tobytes()
    if name == NUMPY:
        state = np.random.get_state(legacy=True)
        if not isinstance(state, tuple) or state[0] != "MT19937":
            return b""
        _, words, place, waiting, gauss = state
        return words.tobytes() + np.array([place, waiting, gauss], dtype=np.float64).tobytes()
    if name == "cpu":
        return torch.default_generator.get_state().numpy().tobytes()
    return torch.cuda.get_rng_state(name).numpy().tobytes()


def set_state(name: str, state: Tensor) -> None:
    """Set a generator to a state: its bytes (n,), uint8.

    Raises:
        AadslError: it is no state of such a generator.
    """
    try:
        _set(name, state)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise AadslError(
            f'what was recorded of the random generator "{name}" is no state of it: {error}',
            hint="trajectory.violations() says whether the files are damaged",
        ) from error


def _set(name: str, state: Tensor) -> None:
    if name == "cpu":
        torch.set_rng_state(state)
    elif name not in (PYTHON, NUMPY):
        torch.cuda.set_rng_state(state, name)
    elif name == PYTHON:
        content = state.numpy().tobytes()
        words = np.frombuffer(content, np.uint32, _WORDS).tolist()
        (gauss,) = np.frombuffer(content, np.float64, offset=4 * _WORDS).tolist()
        random.setstate((3, tuple(words), None if isnan(gauss) else gauss))
    else:
        content = state.numpy().tobytes()
        place, waiting, gauss = np.frombuffer(content, np.float64, offset=len(content) - 24).tolist()
        words = np.frombuffer(content[:-24], np.uint32)
        if not 0 <= place < _WORDS:  # NumPy would read its memory there
            raise ValueError(f"the place {place} is outside of its words")
        np.random.set_state(("MT19937", words, int(place), int(waiting), gauss))


@contextmanager
def left_as_they_were(names: Iterable[str]) -> Iterator[None]:
    """Put the generators back to their present states afterwards."""
    before = {name: as_tensor(content) for name in names if (content := state_of(name))}
    try:
        yield
    finally:
        for name, state in before.items():
            set_state(name, state)


def seed_all(seed: int = 0) -> None:
    """Let the generators of the CPU begin anew."""
    torch.default_generator.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


def as_tensor(state: bytes) -> Tensor:
    """Return the bytes of a state (n,) as they are stored."""
    return torch.frombuffer(bytearray(state), dtype=torch.uint8)
