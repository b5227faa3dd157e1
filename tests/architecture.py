"""The structure of the package, read off the syntax trees of its sources; ``python -m tests.architecture`` draws it.

An arrow is an import, wherever it stands: at the top, inside a function, under ``TYPE_CHECKING``, or by name through
``import_module``.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("aadsl", "jupyter_ext")
_OURS = re.compile(rf"({'|'.join(PACKAGES)})(\.\w+)*")
PAGE = ROOT / "aadsl" / "README.md"
MARKS = "<!-- make diagram -->", "<!-- end of make diagram -->"

# From the bottom up. A layer imports only from levels below its own; layers of one level do not know each other.
LEVELS = [
    {"core"},
    {"data", "dynamics", "behaviors", "language"},
    {"charts", "trajectory", "propagation"},
    {"interventions", "integrations", "replayed"},
    {"estimators", "verification"},
    {"study", "reconstruction"},
    {"statements"},
    {"jupyter_ext"},
    {"aadsl"},
]
LEVEL = {layer: level for level, layers in enumerate(LEVELS) for layer in layers}

# Inside of trajectory: what writes and what reads share the bytes, and do not know each other.
INSIDE = {"trajectory.store": set(), "trajectory.record": {"trajectory.store"}, "trajectory.read": {"trajectory.store"}}


tree_of = cache(ast.parse)
"""The syntax tree of a source; who gets it changes nothing in it."""


def sources() -> dict[str, str]:
    """Return the text of every module by its dotted name."""
    return {
        module_of(path): path.read_text(encoding="utf-8")
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if "lab" not in path.parts
    }


def module_of(path: Path) -> str:
    """``aadsl/charts/__init__.py`` → aadsl.charts."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def layer_of(module: str) -> str:
    """``aadsl.charts.bars`` → charts, ``aadsl`` and its public modules → aadsl, ``jupyter_ext.magic`` → jupyter_ext."""
    first, *rest = module.split(".")
    return rest[0] if first == "aadsl" and rest and rest[0] in LEVEL else first


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield what a file imports: ``aadsl.charts.bars`` for a module, ``aadsl.charts.bars.Bars`` for a name of one."""
    by_name = any(isinstance(n, ast.ImportFrom) and n.module == "importlib" for n in ast.walk(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None and node.level == 0, "imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif by_name and isinstance(node, ast.Constant) and _OURS.fullmatch(str(node.value)):
            yield str(node.value)  # who imports by name may have the name from anywhere: from a table, say


@cache
def _imported(source: str) -> tuple[str, ...]:
    return tuple(imports(tree_of(source)))


def by_unknown_name(tree: ast.AST) -> Iterator[str]:
    """Yield the calls of ``import_module`` whose argument is put together, so that it cannot be seen."""
    for node in ast.walk(tree):
        named = isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args
        if named and isinstance(node.args[0], ast.JoinedStr | ast.BinOp):  # type: ignore[attr-defined]
            yield ast.unparse(node)


def module_in(name: str, modules: Mapping[str, str]) -> str | None:
    """Return the module that an imported name is, or is in; None for one of another library."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


def arrows_of(module: str, source: str, modules: Mapping[str, str]) -> set[str]:
    """Return the modules that one imports."""
    found = {module_in(name, modules) for name in _imported(source)}
    return {other for other in found if other and other != module}


def graph(modules: Mapping[str, str]) -> dict[str, set[str]]:
    """Return for each module the modules that it imports."""
    return {module: arrows_of(module, source, modules) for module, source in modules.items()}


def circles(arrows: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other (Tarjan's strongly connected components)."""
    numbers: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        numbers[module] = lowest[module] = len(numbers)
        stack.append(module)
        for other in sorted(arrows[module]):
            if other not in numbers:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in stack:
                lowest[module] = min(lowest[module], numbers[other])
        if lowest[module] == numbers[module]:
            place = stack.index(module)
            group, stack[place:] = stack[place:], []
            if len(group) > 1:
                found.append(sorted(group))

    for module in sorted(arrows):
        if module not in numbers:
            visit(module)
    return found


def layer_arrows(modules: Mapping[str, str]) -> dict[str, set[str]]:
    """Return for each layer the layers that it imports."""
    arrows: dict[str, set[str]] = {layer: set() for layer in LEVEL}
    for module, others in graph(modules).items():
        arrows[layer_of(module)] |= {layer_of(other) for other in others} - {layer_of(module)}
    return arrows


def diagram(modules: Mapping[str, str]) -> str:
    """Return the layers and their arrows as a Mermaid graph, without arrows that others imply."""
    arrows = {layer: others - {"core"} for layer, others in layer_arrows(modules).items()}

    def reached(layer: str) -> set[str]:
        return arrows[layer].union(*(reached(other) for other in arrows[layer]))

    lines = ["```mermaid", "flowchart BT"]
    for layers in LEVELS:
        for layer in sorted(layers):
            implied = set().union(*(reached(other) for other in arrows[layer]))
            lines += [f"  {other} --> {layer}" for other in sorted(arrows[layer] - implied)]
    return "\n".join([*lines, "```"])


def main() -> int:
    """Draw the diagram anew into the page."""
    begin, end = MARKS
    before, rest = PAGE.read_text(encoding="utf-8").split(begin)
    _, after = rest.split(end)
    PAGE.write_text(f"{before}{begin}\n{diagram(sources())}\n{end}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
