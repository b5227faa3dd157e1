"""Which answer a plot draws and a save writes: that of the question before it, else one about the loaded run."""

from __future__ import annotations

from pathlib import Path

import pytest
import xarray as xr

import aadsl
from aadsl.core.errors import AadslError
from tests.digits import loss_fn, network, record

SECOND = 'load "{}" with model=net, loss=loss_fn, data=digits, device="cpu"\n'
ASKED = "stage some = steps[3:6]\nbehavior digit = margin on test\nscore some on digit\n"


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    runs = tmp_path_factory.mktemp("runs")
    first, second = record(runs / "first"), record(runs / "second")
    test = (first.data[0][:20], first.data[1][:20])
    known = {"net": network(), "loss_fn": loss_fn, "digits": first.data, "test": test}
    return known | {"first": str(first.path), "second": str(second.path)}


def load(names: dict[str, object], which: str) -> str:
    return SECOND.format(names[which])


def test_another_run_has_no_answer_yet(names: dict[str, object], tmp_path: Path) -> None:
    session = aadsl.run(load(names, "first") + ASKED, names).session
    for statement in ("plot timeline", "plot bars", f'save "{tmp_path / "scores.nc"}"'):
        with pytest.raises(AadslError, match=r"there is no answer to (plot|save)(.|\n)*ask first: score"):
            aadsl.run(load(names, "second") + statement, names, session)
    again = aadsl.run(load(names, "first") + f'plot bars\nsave "{tmp_path / "scores.nc"}"', names, session)
    assert len(again.charts) == 1, "the same run, loaded once more, has its answers"
    with xr.open_dataset(tmp_path / "scores.nc") as saved:
        assert saved.attrs["trajectory"] == names["first"]


def test_an_older_answer_does_not_step_in_for_the_question_of_the_cell(names: dict[str, object]) -> None:
    session = aadsl.run(load(names, "first") + ASKED, names).session
    later = "behavior right = accuracy on test\nscore some on right\n"
    with pytest.raises(AadslError, match=r"no answer to plot has effects of single steps"):
        aadsl.run(f"{later}plot timeline", names, session)
    named = aadsl.run(f"{later}plot timeline of digit\nplot bars", names, session)
    told = [chart.to_json() for chart in named.charts]
    assert "digit" in told[0] and "right" in told[1] and "digit" not in told[1]


def test_every_chart_says_of_which_run_it_is(names: dict[str, object]) -> None:
    charts = "plot timeline\nplot bars\nplot heatmap\nplot cumulative"
    for which in ("first", "second"):
        for chart in aadsl.run(load(names, which) + ASKED + charts, names).charts:
            subtitle = " ".join(chart.to_dict()["title"]["subtitle"])
            assert f'Of the run "{which}".' in subtitle, subtitle
