"""``save``: the last answer, a report on it, the last chart, or a model without a stage, to a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from aadsl.core.errors import AadslError
from aadsl.core.files import place_for, replacing
from aadsl.language import Call, Inline, Literal, Reference
from aadsl.statements.base import Action, Statement
from aadsl.statements.frames import table
from aadsl.statements.inline import named_stages
from aadsl.statements.scope import Scope
from aadsl.statements.session import Answered, Result
from aadsl.statements.vocabulary import build
from aadsl.study.question import DEFAULT_INTERVENTION

if TYPE_CHECKING:
    import xarray as xr

    from aadsl.interventions import Intervention


@dataclass(frozen=True)
class Save(Statement):
    """Write the newest answer, a report on it, the newest chart, or a model to a file; the extension says how.

    save "scores.nc"
    save "scores.csv"
    save "scores.parquet"
    save "report.html"
    save "timeline.svg"
    save "clean.safetensors" without poisoned, warmup under restart()

    netCDF keeps everything, with the plan and the provenance. CSV and Parquet are tables with one row for each stage
    and behavior (and example); Parquet needs pyarrow. HTML is a report to hand on, one file that needs nothing else:
    the question, the numbers, the charts drawn of them, a timeline to drag over where effects of single steps are known
    (plot one first), their trust, how they were computed, the run and the versions. Extensions .svg and .png take the
    newest chart.

    `without` writes the model as training without the stages would have made it: its weights and buffers, for
    `load_state_dict`. `under` names the intervention, skip unless given.
    """

    path: Literal
    stages: tuple[Reference | Inline, ...] | None
    under: Call | None

    def resolve(self, scope: Scope) -> Action | None:
        """Check the extension, the folder, and that there is what is to be written."""
        path = Path(str(self.path.value))
        extension = path.suffix.lower()
        if extension not in (*WRITERS, *REPORTS, *PICTURES, *MODELS):
            message = f'cannot save as "{path.suffix}"' if path.suffix else "the file needs an extension"
            known = f"extensions: {', '.join(WRITERS)} for the answer, {', '.join(REPORTS)} for a report on it"
            more = f"{', '.join(PICTURES)} for the chart, {', '.join(MODELS)} for a model"
            scope.report(self.path.span, message, f"{known}, {more}")
            return None
        try:
            place_for(path)
        except AadslError as error:
            (problem,) = error.problems
            scope.report(self.path.span, problem.message, problem.hint)
            return None
        path = path.expanduser()
        if extension in MODELS or self.stages is not None:
            return self._model(scope, path)
        if extension in PICTURES:
            if not scope.plotted:
                scope.report(self.span, "there is no chart to save", "draw one first: plot timeline")
            return partial(self.draw, path=path)
        if not scope.answers and not scope.question_failed:
            scope.report(self.span, "there is no answer to save", "ask first: score STAGES on BEHAVIORS")
        write = self.report if extension in REPORTS else self.run
        return partial(write, path=path) if scope.answers else None

    def _model(self, scope: Scope, path: Path) -> Action | None:
        """Check what a model is to be trained without."""
        if path.suffix.lower() not in MODELS:
            hint = f"extensions of models: {', '.join(MODELS)}"
            scope.report(self.path.span, f'a model cannot be saved as "{path.suffix}"', hint)
            return None
        if self.stages is None:
            hint = f'say what it is trained without: save "{path.name}" without STAGE'
            scope.report(self.path.span, "the model as it is was saved by who trained it", hint)
            return None
        if not scope.needs_study(scope.span):
            return None
        names = scope.all_names("stage", named_stages(scope, self.stages))
        intervention = DEFAULT_INTERVENTION if self.under is None else build(scope, self.under, "intervention")
        if names is None or intervention is None:
            return None
        return partial(self.save_model, path=path, names=names, intervention=intervention)

    def save_model(self, result: Result, path: Path, names: tuple[str, ...], intervention: Intervention | str) -> None:
        """Train without the stages, unless that was done before, and write the model."""
        said = _saved(path)
        result.study.save_counterfactual(path, names, intervention=intervention, progress=result.progress)
        of = f" of {result.session.run}" if result.session.run else ""
        result.say(f"{said}: the model{of} without {', '.join(names)}")

    def run(self, result: Result, path: Path) -> None:
        """Write the file."""
        dataset, said = _newest(result).dataset, _saved(path)
        with replacing(path) as unfinished:
            WRITERS[path.suffix.lower()](dataset, unfinished)
        result.say(said)

    def report(self, result: Result, path: Path) -> None:
        """Write the report."""
        from aadsl.statements.report import write_report

        said = _saved(path)
        write_report(_newest(result), path)
        result.say(said)

    def draw(self, result: Result, path: Path) -> None:
        """Write the chart."""
        from aadsl.charts import save

        said = _saved(path)
        save(result.session.chart, path)
        result.say(said)


def _newest(result: Result) -> Answered:
    """Return the newest answer about the loaded run; resolution made sure that there is one."""
    return result.session.answers_about(result.session.study)[-1]


def _saved(path: Path) -> str:
    return f"saved {path}{', in the place of the file that was there' if path.exists() else ''}"


def _netcdf(dataset: xr.Dataset, path: Path) -> None:
    try:
        dataset.to_netcdf(path)
    except RuntimeError as error:  # how netCDF reports a failed write
        raise OSError(f"{error}; is the disk full?") from error


def _csv(dataset: xr.Dataset, path: Path) -> None:
    table(dataset).to_csv(path, index=False)


def _parquet(dataset: xr.Dataset, path: Path) -> None:
    try:
        table(dataset).to_parquet(path, index=False)
    except ImportError:
        raise AadslError("Parquet needs pyarrow", hint='pip install pyarrow, or save as ".csv"') from None


WRITERS: dict[str, Callable[[xr.Dataset, Path], None]] = {".nc": _netcdf, ".csv": _csv, ".parquet": _parquet}
REPORTS = (".html",)
PICTURES = (".svg", ".png")
MODELS = (".safetensors",)
