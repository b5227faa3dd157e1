"""The arrows between the layers, and what no source may contain, read off the syntax trees of the sources."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter

import pytest

from tests.architecture import (
    INSIDE,
    LEVEL,
    LEVELS,
    MARKS,
    PAGE,
    ROOT,
    arrows_of,
    by_unknown_name,
    circles,
    diagram,
    graph,
    imports,
    layer_of,
    sources,
    tree_of,
)

SOURCES = sources()

# Libraries that only some layers may know.
CONFINED = {
    "netCDF4": {"trajectory"},
    "altair": {"charts"},
    "vl_convert": {"charts"},
    "lark": {"language", "statements"},
    "IPython": {"jupyter_ext"},
    "ipywidgets": {"jupyter_ext"},
}
KEPT_OUT = {"charts": {"torch"}, "language": {"torch"}, "propagation": {"xarray", "pathlib"}}

UNSAFE_IMPORTS = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
# A run goes to other processes pickled, code and all: they are the user's own, and nothing of it is kept.
PICKLES = {"aadsl.replayed.parcels", "aadsl.replayed.executors"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__"}
MACHINE_PATH = re.compile(r"(?:^|[\s\"'=(])(?:/(?:home|root|tmp|work|mnt|Users|var|opt)/\w|[A-Z]:\\\w)")


def offenses(module: str, source: str) -> list[str]:
    """Return what is wrong with the imports and calls of one file."""
    layer, tree = layer_of(module), tree_of(source)
    found = [f"{module} imports what cannot be seen: {call}" for call in by_unknown_name(tree)]
    if layer not in LEVEL:
        return [f"{module}: LEVELS does not say where the layer {layer} stands"]
    for other in sorted(arrows_of(module, source, SOURCES)):
        if layer_of(other) != layer and LEVEL[layer_of(other)] >= LEVEL[layer]:
            found.append(f"{module} imports {other}, which is not below it")
        inside, theirs = (".".join(name.split(".")[1:3]) for name in (module, other))
        if inside in INSIDE and theirs in INSIDE and theirs not in {inside, *INSIDE[inside]}:
            found.append(f"{module} imports {other}: {inside} does not know {theirs}")
    for name in imports(tree):
        library = name.split(".")[0]
        if layer not in CONFINED.get(library, {layer}) or library in KEPT_OUT.get(layer, ()):
            found.append(f"{module} imports {library}, which is not the business of {layer}")
        elif library in UNSAFE_IMPORTS and module not in PICKLES:
            found.append(f"{module} imports {library}")
    return found + list(unsafe(module, tree))


def unsafe(module: str, tree: ast.AST) -> list[str]:
    """Return the calls and texts that no source may contain."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in UNSAFE_CALLS:
            found.append(f"{module} calls {node.func.id}()")
        pickling = isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "torch.save")
        # With it torch.load reads tensors, numbers and texts alone.
        plain = pickling and any(ast.unparse(given) == "weights_only=True" for given in node.keywords)
        if pickling and not plain and module not in PICKLES:
            found.append(f"{module} calls {ast.unparse(node.func)}(), which pickles")
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and MACHINE_PATH.search(node.value):
            found.append(f"{module} names a path of one machine: {node.value!r}")
    return found


def test_the_sources_keep_to_the_layers() -> None:
    assert len(SOURCES) > 80
    assert [offense for module, source in SOURCES.items() for offense in offenses(module, source)] == []


def test_every_layer_has_its_level_once() -> None:
    assert sum(map(len, LEVELS)) == len(LEVEL)
    folders = {path.parent.name for path in (ROOT / "aadsl").glob("*/__init__.py")}
    assert folders | {"aadsl", "jupyter_ext"} == set(LEVEL)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("aadsl.dynamics.sgd", "from aadsl.propagation import Step"),
        ("aadsl.propagation.adjoint", "from aadsl.trajectory.read.reader import Trajectory"),
        ("aadsl.trajectory.read.reader", "def late():\n    import aadsl.propagation.replay"),
        (
            "aadsl.trajectory.read.reader",
            "from importlib import import_module\nimport_module('aadsl.verification').verify",
        ),
        (
            "aadsl.study.names",
            "import importlib\nfrom importlib import import_module\nHOMES = {'a': 'aadsl.statements'}",
        ),
        ("aadsl.study.names", "from importlib import import_module\nimport_module(f'aadsl.{name}')"),
        ("aadsl.estimators.first_order", "try:\n    from aadsl import study\nexcept ImportError: pass"),
        ("aadsl.estimators.base", "if TYPE_CHECKING:\n    from aadsl.study import Study"),
        ("aadsl.core.errors", "import aadsl"),
        ("aadsl.study.study", "import jupyter_ext.display"),
        ("aadsl.charts.bars", "import torch.nn"),
        ("aadsl.statements.plot", "import altair as alt"),
        ("aadsl.study.study", "from netCDF4 import Dataset"),
        ("aadsl.trajectory.read.run", "from aadsl.trajectory.record.rows import Row"),
        ("aadsl.trajectory.record.rows", "from aadsl.trajectory.read.run import RecordedRun"),
        ("aadsl.trajectory.store.files", "from aadsl.trajectory.read.run import RecordedRun"),
        ("aadsl.trajectory.store.states", "import pickle"),
        ("aadsl.trajectory.store.states", "state = torch.load(path)"),
        ("aadsl.language.parser", "value = eval(text)"),
        ("aadsl.data.digits", "PATH = '/home/ada/mnist.nc'"),
    ],
)
def test_a_planted_offense_is_caught(module: str, source: str) -> None:
    assert len(offenses(module, source)) == 1


def test_what_is_fine_is_not_caught() -> None:
    fine = "from aadsl.core.errors import AadslError\nmodel.eval()\nURL = 'https://x.org/work/y'\nNAME = 'aadsl.study'"
    assert offenses("aadsl.estimators.base", fine) == []


def test_no_modules_import_each_other() -> None:
    assert circles(graph(SOURCES)) == []


def test_a_planted_circle_is_caught() -> None:
    planted = {
        "aadsl.core.errors": "import aadsl.core.members",
        "aadsl.core.members": "def f():\n    import aadsl.core.state",
        "aadsl.core.state": "if TYPE_CHECKING:\n    from aadsl.core.errors import AadslError",
    }
    assert circles(graph(planted)) == [["aadsl.core.errors", "aadsl.core.members", "aadsl.core.state"]]


def test_one_name_is_one_class() -> None:
    """A word has one meaning: no two files define classes, or names of types, that are called the same."""
    homes: dict[str, set[str]] = {}
    for module, source in SOURCES.items():
        for node in tree_of(source).body:
            targets = getattr(node, "targets", [getattr(node, "target", None)])
            names = (
                [node.name] if isinstance(node, ast.ClassDef) else [t.id for t in targets if isinstance(t, ast.Name)]
            )
            for name in names:
                if re.fullmatch(r"[A-Z]\w*[a-z]\w*", name):
                    homes.setdefault(name, set()).add(module)
    # The integrations are alike on purpose: each has the callback of its library.
    assert {name for name, modules in homes.items() if len(modules) > 1} == {"RecorderCallback"}
    assert len(homes) > 150


def test_the_diagram_is_that_of_the_imports() -> None:
    begin, end = MARKS
    drawn = PAGE.read_text(encoding="utf-8").split(begin)[1].split(end)[0]
    assert drawn.strip() == diagram(SOURCES), "say: make diagram"


# What each of these brings along, one after the other in one process.
LIGHT = {
    "import aadsl": "altair ipywidgets IPython torch lark xarray",
    "aadsl.Recorder": "altair ipywidgets IPython lark vl_convert",
    "aadsl.Study": "altair ipywidgets IPython lark vl_convert",
}
# Where programs of users have public names from; what moved is the same object.
OLD_PATHS = """
import aadsl, aadsl.datasets, aadsl.errors
from aadsl.behaviors import BEHAVIORS
from aadsl.charts import CHARTS, save
from aadsl.errors import AadslError
from aadsl.estimators import ESTIMATORS
from aadsl.interventions import INTERVENTIONS
from aadsl.propagation import CURVATURES
from aadsl.statements import Result, Session, run
from aadsl.study import Study
from aadsl.trajectory import Clip, Recorder, Trajectory, budget, every, open_trajectory
from aadsl.verification import verify
assert AadslError is aadsl.AadslError and Study is aadsl.Study and run is aadsl.run
assert aadsl.datasets.mnist10k().sizes["example"] == 10000
"""


def in_a_new_process(*lines: str) -> str:
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def loaded(statement: str, kept_out: str) -> str:
    """Return lines that print what is loaded after a statement and should not be."""
    return f"{statement}\nimport sys; print({statement!r}, *({{*{kept_out.split()}}} & {{*sys.modules}}))"


def test_imports_are_light_and_old_paths_of_public_names_work() -> None:
    """A training loop that only records waits for no chart, and a server without Jupyter works."""
    lines = [loaded(statement, kept_out) for statement, kept_out in LIGHT.items()]
    assert in_a_new_process(*lines, OLD_PATHS).splitlines() == list(LIGHT)


def test_a_program_is_read_without_torch() -> None:
    statement = "import aadsl; aadsl.run"
    assert in_a_new_process(loaded(statement, "ipywidgets IPython torch")).strip() == statement


def test_what_is_loaded_too_early_is_seen() -> None:
    assert in_a_new_process(loaded("import json", "json torch")).strip() == "import json json"


def test_files_are_short() -> None:
    lengths = Counter({module: len(source.splitlines()) for module, source in SOURCES.items()})
    assert [(module, length) for module, length in lengths.items() if length > 300] == []
