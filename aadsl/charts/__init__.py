"""Charts: an answer (``xarray.Dataset``) in, an Altair chart out.

``CHARTS`` lists them by the name that the language uses. A chart is a frozen dataclass: its docstring is the help text,
its fields are the options, ``draw(dataset, by=None)`` draws.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import xarray as xr

from aadsl.charts.agreement import Agreement
from aadsl.charts.bars import Bars
from aadsl.charts.bundle import mimebundle
from aadsl.charts.cumulative import Cumulative
from aadsl.charts.examples import ExampleStrip
from aadsl.charts.export import save
from aadsl.charts.heatmap import Heatmap
from aadsl.charts.needs import Need, unmet
from aadsl.charts.schedule import Schedule
from aadsl.charts.timeline import Timeline
from aadsl.charts.waterfall import Waterfall

__all__ = ["CHARTS", "Chart", "Need", "mimebundle", "save", "unmet"]


class Chart(Protocol):
    """What every member of ``CHARTS`` can do.

    Attributes:
        needs: what an answer must hold to be drawn.
        by_coordinate: whether ``by`` may be a coordinate of the steps; else it is a family of stages.
        shows_examples: whether it shows what single examples look like, where the answer carries that.
    """

    needs: ClassVar[tuple[Need, ...]]
    by_coordinate: ClassVar[bool]
    shows_examples: ClassVar[bool]

    def draw(self, dataset: xr.Dataset, by: str | None = None) -> Any:
        """Return an Altair chart of ``dataset``."""
        ...


CHARTS: dict[str, type[Chart]] = {
    "timeline": Timeline,
    "cumulative": Cumulative,
    "bars": Bars,
    "waterfall": Waterfall,
    "heatmap": Heatmap,
    "agreement": Agreement,
    "examples": ExampleStrip,
    "schedule": Schedule,
}
