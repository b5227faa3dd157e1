"""Build hook of the package: compiles the JupyterLab extension into the wheel where there is Node.

Without Node, or without the npm registry, the package is built all the same; only the colors of ``%%aascore`` cells
and the sorting of tables are missing then. An editable install takes what was compiled before
(``python jupyter_ext/lab/build.py``).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by hand, outside of a build
    BuildHookInterface = object  # type: ignore[misc, assignment]

SOURCE = Path(__file__).parent
TARGET = SOURCE.parent / "labextension"
HOME = "share/jupyter/labextensions/aadsl"
MISSING = "aadsl is built without the colors of %%aascore cells and without tables that sort, all else works"


class LabExtension(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the compiled extension to the files that the wheel installs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile if need be; ``version`` is "standard" or "editable"."""
        if not is_current() and version == "standard" and (problem := build()):
            self.app.display_warning(f"{MISSING}: {problem}")
        if is_built():
            build_data["shared_data"][str(TARGET)] = HOME


def is_built() -> bool:
    """Return whether there is a compiled extension."""
    return (TARGET / "package.json").is_file()


def is_current() -> bool:
    """Return whether the compiled extension is not older than what it is made of."""
    sources = [*SOURCE.glob("*.js*"), *SOURCE.glob("*.css"), SOURCE.parents[1] / "grammar" / "words.json"]
    built = (TARGET / "package.json").stat().st_mtime if is_built() else 0.0
    return all(source.stat().st_mtime <= built for source in sources)


def build() -> str:
    """Compile the extension; return what was in the way, an empty string where nothing was."""
    if not shutil.which("node") or not shutil.which("npm"):
        return "Node.js with npm is not installed"
    commands = [
        ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"],
        [sys.executable, "-c", "from jupyter_builder.main import main; main()", "build", "."],
    ]
    for command in commands:
        done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, check=False)
        if done.returncode:
            return (done.stderr or done.stdout).strip().splitlines()[-1]
    return "" if is_built() else "the builder wrote nothing"


if __name__ == "__main__":
    sys.exit(("" if is_current() else build()) or 0)
