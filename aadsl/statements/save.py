"""``save``: the last answer or the last chart to a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from aadsl.core.errors import AadslError
from aadsl.language import Literal
from aadsl.statements.base import Action, Statement
from aadsl.statements.scope import Scope
from aadsl.statements.session import Result

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


@dataclass(frozen=True)
class Save(Statement):
    """Write the newest answer, or the newest chart, to a file; the extension says how.

    save "scores.nc"
    save "scores.csv"
    save "scores.parquet"
    save "timeline.svg"

    netCDF keeps everything, with the plan and the provenance. CSV and Parquet are tables with one row for each stage
    and behavior (and example); Parquet needs pyarrow. Extensions .svg, .png and .html take the newest chart.
    """

    path: Literal

    def resolve(self, scope: Scope) -> Action | None:
        """Check the extension, the folder, and that there is an answer."""
        path = Path(str(self.path.value)).expanduser()
        extension = path.suffix.lower()
        if extension not in (*WRITERS, *PICTURES):
            message = f'cannot save as "{path.suffix}"' if path.suffix else "the file needs an extension"
            known = f"extensions: {', '.join(WRITERS)} for the answer, {', '.join(PICTURES)} for the chart"
            scope.report(self.path.span, message, known)
            return None
        if not path.parent.is_dir():
            scope.report(self.path.span, f'there is no folder "{path.parent}"', "make it first")
            return None
        if extension in PICTURES:
            if not scope.plotted:
                scope.report(self.span, "there is no chart to save", "draw one first: plot timeline")
            return partial(self.draw, path=path)
        if not scope.answers and not scope.question_failed:
            scope.report(self.span, "there is no answer to save", "ask first: score STAGES on BEHAVIORS")
        return partial(self.run, path=path) if scope.answers else None

    def run(self, result: Result, path: Path) -> None:
        """Write the file."""
        dataset = result.session.answers[-1].dataset
        WRITERS[path.suffix.lower()](dataset, path)
        result.say(f"saved {path}")

    def draw(self, result: Result, path: Path) -> None:
        """Write the chart."""
        from aadsl.charts import save

        save(result.session.chart, path)
        result.say(f"saved {path}")


def _netcdf(dataset: xr.Dataset, path: Path) -> None:
    dataset.to_netcdf(path)


def _csv(dataset: xr.Dataset, path: Path) -> None:
    table(dataset).to_csv(path, index=False)


def _parquet(dataset: xr.Dataset, path: Path) -> None:
    try:
        table(dataset).to_parquet(path, index=False)
    except ImportError:
        raise AadslError("Parquet needs pyarrow", hint='pip install pyarrow, or save as ".csv"') from None


WRITERS: dict[str, Callable[[xr.Dataset, Path], None]] = {".nc": _netcdf, ".csv": _csv, ".parquet": _parquet}
PICTURES = (".svg", ".png", ".html")


def table(dataset: xr.Dataset) -> pd.DataFrame:
    """Return one row for each stage and behavior (and example), or for each step where no stage was asked about."""
    wide = {"stage", "behavior", "example"} if "stage" in dataset.dims else {"step", "behavior"}
    chosen = [name for name, v in dataset.data_vars.items() if set(map(str, v.dims)) <= wide and v.dims]
    if "example_effect" not in dataset:
        wide -= {"example"}
    return dataset[chosen].to_dataframe().reset_index()
