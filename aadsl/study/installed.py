"""Which modules are installed: a name and a version stand for their code, wherever the interpreter has them from.

A folder that holds installed packages describes them beside their code (``*.dist-info``). That is so in any
site-packages, in the system's and the user's, and in folders that ``.pth`` files add. A project that is installed to be
edited has its description elsewhere than its code: its code may change.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import Distribution, distributions
from pathlib import Path

# Of these the name alone stands for the code: whoever digests it adds the versions of Python and of this package.
OWN = {"aadsl", *sys.builtin_module_names, *sys.stdlib_module_names} - {"__main__"}
# Where old descriptions (``*.egg-info``) mean an installed package, and not a source folder.
INSTALLED = {"site-packages", "dist-packages"}


@cache
def installed_as(module: str) -> str | None:
    """Return what stands for the code of a module, such as ``"torch 2.13.0"``; None where its code may change."""
    top = module.partition(".")[0]
    if top in OWN:
        return top
    folder = _folder_of(top)
    return None if folder is None else _packages_in(folder).get(top)


def _folder_of(top: str) -> Path | None:
    """Return the folder that a package, or a module alone, lies in; None for what has no file (a notebook's names)."""
    module = sys.modules.get(top)
    file = getattr(module, "__file__", None)
    if top == "__main__" or module is None:
        return None
    if file is not None:
        return Path(file).parents[1 if hasattr(module, "__path__") else 0]
    places = list(getattr(module, "__path__", ()))  # a namespace package
    return Path(places[0]).parent if places else None


@cache
def _packages_in(folder: Path) -> dict[str, str]:
    """Return name and version of the distributions that are installed in a folder, by the modules they bring."""
    return {
        name: f"{distribution.name} {distribution.version}"
        for distribution in distributions(path=[str(folder)])
        for name in _modules_of(distribution, folder)
    }


def _modules_of(distribution: Distribution, folder: Path) -> Iterator[str]:
    record = distribution.read_text("RECORD")
    if record is not None:
        lines = (line.partition(",")[0].partition("/")[0] for line in record.splitlines())
        yield from {line.partition(".")[0] for line in lines}
    elif folder.name in INSTALLED:
        yield from (distribution.read_text("top_level.txt") or "").split()
