"""The arrows between the layers, and what no source may contain, read off the syntax trees of the sources."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("aadsl/**/*.py"), *ROOT.glob("jupyter_ext/**/*.py")])

# From the bottom up. A layer imports only from levels below its own; layers of one level do not know each other.
LEVELS = [
    {"coordinates", "errors", "families", "scalars", "state", "datasets", "tables", "turns"},
    {"allocations", "dynamics", "behaviors", "charts", "devices", "examples", "language"}
    | {"members", "selection", "trust"},
    {"fingerprint", "propagation", "trajectory"},
    {"fitting", "standing", "training_data"},
    {"history", "interventions"},
    {"estimators", "verification"},
    {"cache", "naming", "pace", "plan", "reliability"},
    {"results", "soundness"},
    {"study"},
    {"statements", "integrations"},
    {"aadsl", "__main__"},
    {"jupyter_ext"},
]
LEVEL = {layer: level for level, layers in enumerate(LEVELS) for layer in layers}

# Libraries that only some layers may know.
CONFINED = {
    "netCDF4": {"trajectory"},
    "altair": {"charts"},
    "vl_convert": {"charts"},
    "lark": {"language"},
    "IPython": {"jupyter_ext"},
    "ipywidgets": {"jupyter_ext"},
}
KEPT_OUT = {"charts": {"torch"}, "language": {"torch"}, "propagation": {"xarray", "pathlib"}}

UNSAFE_IMPORTS = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__"}
MACHINE_PATH = re.compile(r"(?:^|[\s\"'=(])(?:/(?:home|root|tmp|work|mnt|Users|var|opt)/\w|[A-Z]:\\\w)")


def layer_of(module: str) -> str:
    """``aadsl.charts.bars`` → charts, ``aadsl`` → aadsl, ``jupyter_ext.magic`` → jupyter_ext."""
    first, *rest = module.split(".")
    return rest[0] if first == "aadsl" and rest and rest[0] != "__init__" else first


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the modules that are imported, wherever in the file, but not those that only types are taken from."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            assert node.level == 0, "imports are absolute here"
            whole = node.module in ("aadsl", "jupyter_ext")
            yield from (f"{node.module}.{alias.name}" if whole else node.module for alias in node.names)
        else:
            yield from imports(node)


def offenses(module: str, source: str) -> list[str]:
    """Return what is wrong with the imports and calls of one file."""
    layer, tree = layer_of(module), ast.parse(source)
    found = []
    if layer not in LEVEL:
        return [f"{module}: LEVELS does not say where the layer {layer} stands"]
    for name in imports(tree):
        library = name.split(".")[0]
        if library in ("aadsl", "jupyter_ext"):
            # The package's root is above all layers; they may only ask it for its version.
            other = "errors" if name == "aadsl" else layer_of(name)
            if other != layer and LEVEL.get(other, len(LEVELS)) >= LEVEL[layer]:
                found.append(f"{module} imports {name}, which is not below it")
        elif layer not in CONFINED.get(library, {layer}) or library in KEPT_OUT.get(layer, ()):
            found.append(f"{module} imports {library}, which is not the business of {layer}")
        elif library in UNSAFE_IMPORTS:
            found.append(f"{module} imports {library}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in UNSAFE_CALLS:
            found.append(f"{module} calls {node.func.id}()")
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "torch.save"):
            found.append(f"{module} calls {ast.unparse(node.func)}(), which pickles")
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and MACHINE_PATH.search(node.value):
            found.append(f"{module} names a path of one machine: {node.value!r}")
    return found


def test_the_sources_keep_to_the_layers() -> None:
    assert len(SOURCES) > 80
    assert [offense for path in SOURCES for offense in offenses(module_of(path), path.read_text())] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("aadsl.dynamics.sgd", "from aadsl.propagation import Step"),
        ("aadsl.propagation.adjoint", "from aadsl.trajectory.reader import Trajectory"),
        ("aadsl.trajectory.reader", "def late():\n    import aadsl.propagation.replay"),
        ("aadsl.estimators.first_order", "try:\n    from aadsl import study\nexcept ImportError: pass"),
        ("aadsl.study", "import jupyter_ext.display"),
        ("aadsl.charts.bars", "import torch.nn"),
        ("aadsl.statements.plot", "import altair as alt"),
        ("aadsl.study", "from netCDF4 import Dataset"),
        ("aadsl.trajectory.states", "import pickle"),
        ("aadsl.trajectory.states", "state = torch.load(path)"),
        ("aadsl.language.parser", "value = eval(text)"),
        ("aadsl.datasets", "PATH = '/home/ada/mnist.nc'"),
        ("aadsl.somewhere_new", "pass"),
    ],
)
def test_a_planted_offense_is_caught(module: str, source: str) -> None:
    assert len(offenses(module, source)) == 1


def test_what_is_fine_is_not_caught() -> None:
    fine = (
        "if TYPE_CHECKING:\n    from aadsl.study import Study\nimport aadsl\nmodel.eval()\nURL = 'https://x.org/work/y'"
    )
    assert offenses("aadsl.estimators.base", fine) == []


@pytest.mark.parametrize(
    ("statement", "kept_out"),
    [
        ("import aadsl", "altair ipywidgets IPython torch lark xarray"),
        ("import aadsl; aadsl.Recorder", "altair ipywidgets IPython lark vl_convert"),
        ("import aadsl; aadsl.Study", "altair ipywidgets IPython lark vl_convert"),
        ("import aadsl; aadsl.run", "ipywidgets IPython"),
    ],
)
def test_imports_are_light(statement: str, kept_out: str) -> None:
    """A training loop that only records waits for no chart, and a server without Jupyter works."""
    check = f"import sys; {statement}; print(*({{*'{kept_out}'.split()}} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


def test_files_are_short() -> None:
    assert [str(path) for path in SOURCES if len(path.read_text().splitlines()) > 310] == []
