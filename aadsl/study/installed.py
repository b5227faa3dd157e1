"""Which modules are installed: a name and a version stand for their code, wherever the interpreter has them from.

A folder that holds installed packages describes them beside their code (``*.dist-info``). That is so in any
site-packages, in the system's and the user's, and in folders that ``.pth`` files add. A project that is installed to be
edited has its description elsewhere than its code: its code may change.
"""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

# Of these the name alone stands for the code: whoever digests it adds the versions of Python and of this package.
OWN = {"aadsl", *sys.builtin_module_names, *sys.stdlib_module_names} - {"__main__"}
# Where old descriptions (``*.egg-info``) mean an installed package, and not a source folder.
INSTALLED = {"site-packages", "dist-packages"}
# Of each line of a RECORD: the package, or the module, that a file is of.
_FIRST = re.compile(r"^([^/,.\n]+)", re.MULTILINE)


@cache
def installed_as(module: str) -> str | None:
    """Return what stands for the code of a module, such as ``"torch-2.13.0"``; None where its code may change."""
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
    """Return name and version of what is installed in a folder, ``"torch-2.13.0"``, by the modules that it brings."""
    found: dict[str, str] = {}
    for described in folder.glob("*.dist-info"):
        with suppress(OSError):
            files = (described / "RECORD").read_text(encoding="utf-8", errors="replace")
            found |= dict.fromkeys(_FIRST.findall(files), described.stem)
    for described in folder.glob("*.egg-info") if folder.name in INSTALLED else ():
        with suppress(OSError):
            found |= dict.fromkeys((described / "top_level.txt").read_text(encoding="utf-8").split(), described.stem)
    return found
