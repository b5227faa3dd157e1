"""``%%aascore`` and ``%aascore``: a cell's text and the notebook's names go in, the answer is shown and bound."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand
from IPython.display import display

from aadsl.core.errors import AadslError
from jupyter_ext.display import show
from jupyter_ext.explorer import explore
from jupyter_ext.options import Options, parse_options
from jupyter_ext.progress import ProgressBars
from jupyter_ext.reference import reference

EXPLORE = ("explore", "--explore")
"""What opens the explorer on the last answer."""


class Interrupted(KeyboardInterrupt):
    """The user stopped a cell: shown as one line, and the cells after it do not run."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


@magics_class
class AascoreMagics(Magics):  # type: ignore[misc]
    """The magics of one notebook; its cells share one session of stages and behaviors."""

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self.session: Any = None

    @no_var_expand  # type: ignore[untyped-decorator]  # braces and dollar signs belong to the language, not to IPython
    @line_cell_magic  # type: ignore[untyped-decorator]
    def aascore(self, line: str, cell: str | None = None) -> Any:  # noqa: D102  (see below)
        if cell is not None:
            options = parse_options(line)
            return self._format(line, cell) if options.format else self._run(cell, options)
        if line.strip() in EXPLORE:
            from aadsl.statements import Result

            return explore(Result(self.current_session()), self.names)
        if line.strip().startswith("--"):
            hint = f"%%aascore {line.strip()}, and the statements below it"
            raise AadslError("options belong to cells, %aascore with one percent sign has none", hint=hint)
        return self._run(line.strip() or "help", Options())

    # What `%%aascore?` shows: the language and the options on one screen.
    aascore.__doc__ = reference()

    def _format(self, line: str, cell: str) -> None:
        """Put the program in its one style in the place of the cell."""
        from aadsl.statements import format_program  # here: loading the extension should not wait for the parser

        kept = " ".join(word for word in line.split() if word != "--format")
        header = f"%%aascore {kept}".rstrip()
        self.shell.set_next_input(f"{header}\n{format_program(cell).rstrip()}", replace=True)

    def _run(self, text: str, options: Options) -> Any:
        progress = None if options.quiet else ProgressBars(display)
        with _ending(progress):
            result = self._result(text, options, progress)
        if options.out:
            self.shell.user_ns[options.out] = result
        if options.quiet:
            return None
        if options.explore:
            show(result)
            with _ending(progress):  # the effects of single steps are swept and read now
                return explore(result, self.names)
        return result

    def _result(self, text: str, options: Options, progress: ProgressBars | None) -> Any:
        if not (options.explain or options.device or options.explore or options.within):
            from aadsl.statements import run

            return run(text, self.names(), session=self.current_session(), progress=progress)
        from aadsl.statements.program import run_parsed
        from aadsl.statements.table import parser
        from jupyter_ext.rewrite import rewritten

        program = rewritten(parser().parse(text), options)
        return run_parsed(program, self.names(), self.current_session(), progress)

    def current_session(self) -> Any:
        """Return the session of this notebook; it begins when it is first needed."""
        if self.session is None:
            from aadsl.statements import Session

            self.session = Session()
        return self.session

    def names(self) -> dict[str, Any]:
        """Return the notebook's names, without the hidden ones."""
        return {name: value for name, value in self.shell.user_ns.items() if not name.startswith("_")}


@contextmanager
def _ending(progress: ProgressBars | None) -> Iterator[None]:
    """Draw the last state of what was done meanwhile, and say where it was stopped."""

    def close(stopped: str = "") -> None:
        if progress is not None:
            progress.close(stopped)

    try:
        yield
    except KeyboardInterrupt:
        close("stopped")
        kept = "stages, behaviors and finished sweeps are kept; run the cell again to go on"
        raise Interrupted(f"stopped; {kept}") from None
    except BaseException:
        close("not finished")
        raise
    close()
