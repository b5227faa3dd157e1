"""An environment of its own for each peer, with pinned versions, made once in a folder of the user's cache."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from aadsl.core.version import __version__

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "aadsl" / "peers"
REQUIREMENTS = Path(__file__).with_name("requirements")
"""A list for each peer of all that it needs. What a peer's metadata asks for besides, and its code here does not import
(torchvision, say), is not in it; so nothing is resolved, and no other build of torch taken."""


class NoAnswerError(Exception):
    """A peer could not be installed, or failed; the text says why."""


def required(peer: str) -> str:
    """Return the pinned versions of what a peer needs; nothing for what runs in this environment."""
    path = REQUIREMENTS / f"{peer}.txt"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def version(peer: str) -> str:
    """Return ``name version`` of a peer, as it is pinned; what is not pinned is ourselves, or stands in for a peer."""
    pinned = [line.split("==") for line in required(peer).splitlines()]
    own = [f"{name} {number}" for name, number in pinned if name == peer.replace("_", "-")]
    return own[0] if own else {"own": f"aadsl {__version__}"}.get(peer, peer)


def python_of(peer: str, cache: Path, pip: Sequence[str] = ()) -> str:
    """Return the interpreter of a peer's environment, which is made where it is not there as it should be.

    ``pip``: further options of ``pip install``.
    """
    wanted = required(peer)
    if not wanted:
        return sys.executable
    folder = cache / peer
    python, ready = folder / "bin" / "python", folder / "ready.txt"
    if not ready.exists() or ready.read_text(encoding="utf-8") != wanted:
        print(f"aadsl: installing {version(peer)} into {folder}", flush=True)
        called([sys.executable, "-m", "venv", "--clear", str(folder)])
        install = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps", *pip]
        called([*install, "--requirement", str(REQUIREMENTS / f"{peer}.txt")])
        ready.write_text(wanted, encoding="utf-8")
    return str(python)


def called(command: Sequence[str], timeout: float | None = None, **options: str | dict[str, str]) -> None:
    """Run a command; what it last said is the reason where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, **options)
    except subprocess.TimeoutExpired:
        raise NoAnswerError(f"took longer than {timeout:g} s") from None
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        reason = said[-1] if said else f"ended with {done.returncode} and said nothing"
        raise NoAnswerError(reason.replace(str(Path.home()), "~")[:200])
