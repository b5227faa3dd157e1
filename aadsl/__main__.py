"""The command ``aascore``: look at a trajectory, verify one, run a program outside a notebook.

It exits with 1 where something is wrong with what was asked, or a trajectory fails verification; else with 0.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from aadsl.core.errors import AadslError, unknown_name
from aadsl.core.texts import told


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 where something is wrong with what was asked or a trajectory fails."""
    chosen = _parser().parse_args(arguments)
    try:
        text, code = chosen.command(chosen)
    except (AadslError, OSError) as error:
        sys.stderr.write(told(f"aascore: {error}\n"))
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("aascore: interrupted\n")
        return 130
    try:
        sys.stdout.write(told(f"{text}\n"))  # whatever a recording holds: a terminal obeys some characters
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, head say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return int(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="aascore", description=__doc__)
    parser.add_argument("--version", action="version", version=version("aadsl"))
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    info = commands.add_parser("info", help="say what a trajectory holds")
    info.add_argument("path", nargs="+", help="folder, file or URL; several are chained")
    info.set_defaults(command=_info)

    verify = commands.add_parser("verify", help="check a trajectory's files and, with --names, replay steps of it")
    verify.add_argument("path", nargs="+", help="folder, file or URL; several are chained")
    _add_names(verify)
    for option, default in (("model", "model"), ("loss", "loss"), ("data", "data")):
        verify.add_argument(f"--{option}", default=default, metavar="NAME", help=f"its name there (default: {default})")
    verify.add_argument("--samples", type=int, default=8, help="how many stretches are replayed (default: 8)")
    verify.set_defaults(command=_verify)

    run = commands.add_parser("run", help="run a program of the language")
    run.add_argument("program", type=Path, help="a file of statements, or - for standard input")
    _add_names(run)
    run.add_argument(
        "--charts",
        type=Path,
        metavar="FOLDER",
        help="write the charts there, chart-1.html and so on, in the place of older ones",
    )
    run.set_defaults(command=_run)
    return parser


def _add_names(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--names", type=Path, metavar="FILE.py", help="a Python file, run first: its names are the program's"
    )


def _info(chosen: argparse.Namespace) -> tuple[str, int]:
    from aadsl.trajectory import open_trajectory

    trajectory = open_trajectory(chosen.path)
    made = "\n".join(f"  {key}: {value}" for key, value in trajectory.provenance.items() if value)
    return f"{trajectory!r}\n{made}", 0


def _verify(chosen: argparse.Namespace) -> tuple[str, int]:
    from aadsl.trajectory import open_trajectory

    trajectory = open_trajectory(chosen.path)
    names = _names(chosen.names)
    given: dict[str, Any] = {}
    if chosen.names is None and [chosen.model, chosen.loss, chosen.data] != ["model", "loss", "data"]:
        raise AadslError("names of a model, a loss or data were given, but no file that defines them", hint=_NAMES)
    if chosen.names is not None:
        for option in ("model", "loss"):
            name = getattr(chosen, option)
            if name not in names:
                raise AadslError(unknown_name("name", name, [known for known in names if not known.startswith("_")]))
            given[option] = names[name]
        given["data"] = names.get(chosen.data)
    report = trajectory.verify(**given, samples=chosen.samples)
    return f"{report}\n→ {_NAMES}" if chosen.names is None else str(report), not report.ok


def _run(chosen: argparse.Namespace) -> tuple[str, int]:
    from aadsl.charts import save
    from aadsl.statements import run

    names = _names(chosen.names)
    result = run(_text(chosen.program), names)
    written = []
    if chosen.charts is not None:
        try:
            chosen.charts.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AadslError(f"no folder {chosen.charts} can be made: {error.strerror}") from error
        for number, chart in enumerate(result.charts, 1):
            written.append(f"wrote {save(chart, chosen.charts / f'chart-{number}.html')}")
    return "\n".join([str(result), *written]), not all(report.ok for report in result.reports)


def _text(program: Path) -> str:
    from aadsl.language import LONGEST

    if str(program) == "-":
        return sys.stdin.read(LONGEST + 1)
    try:
        with program.open(encoding="utf-8") as file:
            return file.read(LONGEST + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise AadslError(f"{program} cannot be read: {error}") from error


_NAMES = "to replay steps, add --names FILE.py, a file that defines the model, the loss and the data"


def _names(file: Path | None) -> dict[str, Any]:
    """Import the user's own file, and return what it defines. Raises AadslError with its line where that fails."""
    if file is None:
        return {}
    spec = spec_from_file_location(f"_aascore_{file.stem}", file.resolve())
    if spec is None or spec.loader is None or not file.is_file():
        raise AadslError(f"{file} is no Python file", hint="give a file that defines the model, the loss and the data")
    module = sys.modules[spec.name] = module_from_spec(spec)  # dataclasses look their module up
    sys.path.insert(0, str(file.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise AadslError(_told(file, error), hint="mend it there: the file is run first, from top to bottom") from error
    return vars(module)


def _told(file: Path, error: BaseException) -> str:
    """Return what went wrong in a file, and in which of its lines."""
    if isinstance(error, SyntaxError) and error.filename == str(file.resolve()):
        return f"{file}, line {error.lineno}: SyntaxError: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f", line {frame.lineno}" for frame in frames if frame.filename == str(file.resolve())]
    return f"{file}{''.join(lines[-1:])}: {type(error).__name__}: {error}"


if __name__ == "__main__":
    sys.exit(main())
