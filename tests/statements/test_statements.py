"""What each statement asks of the study, gives as a result, and leaves for the next program."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from aadsl.behaviors import BEHAVIORS, Custom
from aadsl.charts import save as save_chart
from aadsl.core.errors import AadslError
from aadsl.estimators import ESTIMATORS
from aadsl.interventions import INTERVENTIONS
from aadsl.propagation import CURVATURES
from aadsl.statements import STATEMENTS, Session, run
from aadsl.statements.guides import GUIDES
from aadsl.statements.verify import agreement
from tests.statements.fakes import FakeStudy
from tests.statements.snapshots import PRELUDE


@pytest.fixture
def ask(session: Session, names: dict[str, Any]) -> Any:
    run(PRELUDE, names, session)
    return lambda program: run(program, names, session)


def asked(study: FakeStudy) -> tuple[Any, ...]:
    """Return the last call that asked for effects of stages."""
    return next(call for call in reversed(study.calls) if call[0] == "score")


def test_score_names_every_member_of_a_family_once(ask: Any, study: FakeStudy) -> None:
    result = ask("score poisoned, source, source[clean] on backdoor, digits[4], digits")
    assert asked(study) == (
        "score",
        ("poisoned", "source[clean]", "source[badnet]"),
        ("backdoor", "digits[4]", "digits[1]", "digits[9]"),
        "auto",
        "skip",
    )
    assert result.dataset.sizes["stage"] == 3
    assert result.dataset is result.session.answers[-1].dataset


def test_using_and_under_give_members_of_the_tables(ask: Any, study: FakeStudy) -> None:
    using = 'linearized(read="linear", curvature=central_difference(radius=2))'
    ask(f"score poisoned on backdoor using {using} under restart")
    linearized = ESTIMATORS["linearized"](read="linear", curvature=CURVATURES["central_difference"](radius=2))
    assert asked(study)[3:] == (linearized, INTERVENTIONS["restart"]())
    ask("score poisoned on backdoor using retraining() under scale_lr(factor=0.5)")
    assert asked(study)[3:] == (ESTIMATORS["retraining"](), INTERVENTIONS["scale_lr"](factor=0.5))


def test_a_behavior_becomes_a_metric_on_chosen_examples(ask: Any, study: FakeStudy, names: dict[str, Any]) -> None:
    ask("behavior a = log_likelihood(target=7) on test where label == 4 and writer == 'ann' per example")
    ask("behavior b = my_metric on test by writer")
    made = study.behaviors["a"]
    assert (made.name, made.metric, made.per_example) == ("a", BEHAVIORS["log_likelihood"](target=7), True)
    assert made.examples.positions.tolist() == [0, 2, 5]
    assert study.behavior_families["b"] == ("b[ann]", "b[bob]")
    family = [study.behaviors[full] for full in study.behavior_families["b"]]
    assert all(member.metric == Custom(names["my_metric"]) for member in family)
    assert [member.examples.positions.tolist() for member in family] == [[0, 2, 5], [1, 4]]


def test_verify_puts_an_estimate_beside_the_truth(ask: Any, study: FakeStudy) -> None:
    result = ask("verify source on backdoor using retraining() under skip()")
    assert asked(study)[3] == "first_order"  # retraining is the truth, not the estimate
    assert result.dataset["slope"].values == pytest.approx([1 / 1.1])
    assert result.dataset["relative_error"].values == pytest.approx([0.1 / 1.1])
    assert "slope 0.909, relative error 0.091 over 2 stages" in result.messages[-1]


def test_agreement_is_what_its_docstring_says() -> None:
    random = np.random.default_rng(0)
    exact, estimate = random.normal(size=(5, 1)), random.normal(size=(5, 1))
    found = agreement(estimate, exact)
    line = np.polynomial.Polynomial.fit(exact[:, 0], estimate[:, 0], 1)
    assert found["correlation"][1][0] == pytest.approx(pd.Series(exact[:, 0]).corr(pd.Series(estimate[:, 0])))
    (slope,) = np.linalg.lstsq(exact, estimate[:, 0], rcond=None)[0]
    assert found["slope"][1][0] == pytest.approx(slope)
    assert slope != pytest.approx(line.convert().coef[1])  # through the origin, not the regression with an offset
    assert found["relative_error"][1][0] == pytest.approx(np.linalg.norm(estimate - exact) / np.linalg.norm(exact))
    assert np.isnan(agreement(np.ones((1, 1)), np.ones((1, 1)))["correlation"][1][0])


def test_rank_lists_the_largest_effects_of_either_sign(ask: Any) -> None:
    result = ask("rank steps on backdoor top 4")  # the fake's effect of step t is t - 40
    assert result.dataset["ranked"].sel(behavior="backdoor").values.tolist() == [0, 1, 2, 3]
    assert result.dataset["ranked_effect"].sel(behavior="backdoor").values.tolist() == [-40, -39, -38, -37]
    assert result.messages[-2].splitlines()[1].split()[:5] == ["1", "step", "0", "−40", "estimate,"]
    result = ask("rank warmup, source on backdoor, right using retraining()")
    assert result.dataset["ranked"].sel(behavior="right").values.tolist() == [
        "source[clean]",
        "warmup",
        "source[badnet]",
    ]


def test_explain_computes_nothing(ask: Any, study: FakeStudy) -> None:
    calls = list(study.calls)
    result = ask("explain score source on digits\nexplain rank steps on backdoor")
    assert result.plan == "plan: 2 stages, 3 behaviors\n\nplan: 0 stages, 1 behaviors"
    assert result.dataset is None
    assert study.calls == calls
    assert result.session.answers == []


@dataclass(frozen=True)
class Chart:
    """A chart that keeps what it was given."""

    drawn: ClassVar[list[Any]] = []
    needs: ClassVar[tuple[Any, ...]] = ()
    by_coordinate: ClassVar[bool] = True
    shows_examples: ClassVar[bool] = False

    def draw(self, dataset: xr.Dataset, by: str | None = None) -> str:
        Chart.drawn.append((dataset, by))
        return "drawn"


@pytest.fixture
def chart(monkeypatch: pytest.MonkeyPatch) -> type[Chart]:
    from aadsl.charts import CHARTS

    Chart.drawn.clear()
    monkeypatch.setitem(CHARTS, "kept", Chart)
    return Chart


def test_plot_takes_the_newest_answer_that_has_the_names(ask: Any, chart: type[Chart]) -> None:
    ask("score source, poisoned on backdoor, digits\nscore warmup on right using retraining()")
    result = ask("plot kept\nplot kept of digits[4], poisoned\nplot kept of backdoor by source\nplot kept by epoch")
    assert result.charts == ["drawn"] * 4
    newest, part, family, coordinate = (dataset for dataset, _ in chart.drawn)
    assert newest.stage.values.tolist() == ["warmup"]
    assert (part.stage.values.tolist(), part.behavior.values.tolist()) == (["poisoned"], ["digits[4]"])
    assert family.behavior.values.tolist() == ["backdoor"]
    assert set(family.stage.values.tolist()) == {"source[clean]", "source[badnet]", "poisoned"}
    assert coordinate.stage.values.tolist() == ["warmup"]
    assert [by for _, by in chart.drawn] == [None, None, "source", "epoch"]


def test_an_answer_of_this_program_can_be_plotted_and_saved(ask: Any, chart: type[Chart], tmp_path: Path) -> None:
    ask(f'score warmup on backdoor\nplot kept\nsave "{tmp_path}/a.nc"')
    assert len(chart.drawn) == 1
    assert (tmp_path / "a.nc").exists()


def test_saved_files_hold_the_answer(ask: Any, tmp_path: Path) -> None:
    dataset = ask("score source, warmup on backdoor, right using retraining()").dataset
    ask(f'save "{tmp_path}/a.nc"\nsave "{tmp_path}/a.csv"')
    with xr.open_dataset(tmp_path / "a.nc") as saved:
        xr.testing.assert_equal(saved["effect"].load(), dataset["effect"])
    table = pd.read_csv(tmp_path / "a.csv").set_index(["stage", "behavior"])["effect"]
    assert len(table) == 6
    for stage in dataset.stage.values:
        for behavior in dataset.behavior.values:
            assert table[stage, behavior] == dataset["effect"].sel(stage=stage, behavior=behavior)


def test_parquet_is_written(ask: Any, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    ask("score source on backdoor")
    ask(f'save "{tmp_path}/a.parquet"')
    assert len(pd.read_parquet(tmp_path / "a.parquet")) == 2


def test_parquet_names_the_package_it_needs(ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_args: Any, **_options: Any) -> None:
        raise ImportError

    monkeypatch.setattr(pd.DataFrame, "to_parquet", missing)
    ask("score source on backdoor")
    with pytest.raises(AadslError, match=r"line 1: Parquet needs pyarrow(.|\n)*pip install pyarrow"):
        ask(f'save "{tmp_path}/a.parquet"')


@pytest.mark.parametrize(("extension", "begins"), [("svg", b"<svg"), ("png", b"\x89PNG")])
def test_the_newest_chart_is_saved_as_a_picture(ask: Any, tmp_path: Path, extension: str, begins: bytes) -> None:
    ask("score source on backdoor\nplot bars")
    newest = ask(f'plot timeline\nsave "{tmp_path}/in_a_cell.{extension}"').charts[-1]
    ask(f'save "{tmp_path}/later.{extension}"')
    direct = save_chart(newest, tmp_path / f"direct.{extension}").read_bytes()
    assert direct.lstrip().startswith(begins)
    if extension == "svg":  # the others carry names that are new each time
        assert (tmp_path / "in_a_cell.svg").read_bytes() == (tmp_path / "later.svg").read_bytes() == direct
    assert (tmp_path / f"later.{extension}").read_bytes().lstrip().startswith(begins)


def test_loading_lists_the_coordinates_that_one_can_use(study: Any, names: dict[str, Any]) -> None:
    study.steps = study.steps.assign(phase_boundary=study.steps.step * 0, training=study.steps.step > 0)
    (said,) = run("load here", {**names, "here": study}, Session(study=study)).messages
    assert said == "loaded 60 steps, coordinates: lr, epoch, loss, tag, flipped, sure, quality, top, step"


def test_show_lists_what_is_defined(ask: Any) -> None:
    shown = ask("show").messages
    assert [text.split("\n")[0].split()[0] for text in shown] == ["trajectory", "stages:", "behaviors:"]
    assert "60 steps" in shown[0]
    assert "[30:35]" in shown[1]
    assert "digits[4]" in shown[2]


def test_show_behaviors_says_metric_number_and_condition_and_never_tensors(ask: Any, study: Any) -> None:
    ask("behavior each = log_likelihood(target=7) on test[:5] where label in [4,\n  9] by label")
    ask("behavior own = my_metric on test")
    study.behavior("python", "margin", (torch.zeros(3, 2), torch.zeros(3, dtype=torch.long)))
    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in ask("show behaviors").messages[0].splitlines()[1:]}
    assert " ".join(lines["each[4]"].split()) == (
        "log_likelihood(target=7) 2 examples on test[:5] where label in [4, 9] by label"
    )
    assert lines["own"].split() == ["<lambda>", "6", "examples", "on", "test"]
    assert lines["python"].split() == ["margin", "3", "examples"]
    assert "tensor" not in str(lines)


def test_a_behavior_that_python_defined_anew_is_not_said_to_be_the_programs(ask: Any, study: Any) -> None:
    ask("behavior own = margin on test where label == 4")
    study.behavior("own", "margin", (torch.zeros(3, 2), torch.zeros(3, dtype=torch.long)))
    assert "label" not in next(line for line in ask("show behaviors").messages[0].splitlines() if "own" in line)


def test_show_trajectory_tells_ranges_of_numbers_and_counts_of_words(ask: Any, study: Any) -> None:
    study.steps = study.steps.assign(phase_boundary=study.steps.step * 0, nesterov=study.steps.step > 0)
    title, *lines = ask("show trajectory").messages[0].splitlines()
    assert title == "trajectory runs/fake: 60 steps"
    assert dict(line.split(maxsplit=1) for line in lines) == {
        "lr": "0.01 … 0.1",
        "epoch": "0 … 2",
        "loss": "0.01667 … 1",
        "tag": '"clean" 50, "badnet" 5, 5 missing',
        "flipped": "false 30, true 30",
        "sure": "0 … 1, 5 missing",
        "quality": "0.5 … 5.9, 5 missing",
        "top": "0 … 2",
    }


@pytest.mark.parametrize(
    "topic", [*STATEMENTS, *GUIDES, *BEHAVIORS, *ESTIMATORS, *INTERVENTIONS, *CURVATURES, "", "charts"]
)
def test_there_is_help_on_everything(topic: str) -> None:
    (text,) = run(f"help {topic}").messages
    assert len(text.split("\n")) >= 1 and len(text) > 30
    if topic in STATEMENTS:
        assert topic in text


def test_an_error_below_gets_the_place_of_its_statement(ask: Any, study: FakeStudy) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AadslError("step 3 is not finite", hint="look at the loss")

    study.score = fail  # type: ignore[method-assign]
    with pytest.raises(AadslError) as caught:
        ask("# first\nscore warmup on backdoor")
    assert str(caught.value) == (
        "line 2: step 3 is not finite\n    score warmup on backdoor\n    ^^^^^^^^^^^^^^^^^^^^^^^^\nlook at the loss"
    )


def test_progress_is_handed_down(session: Session, names: dict[str, Any], study: FakeStudy) -> None:
    heard: list[Any] = []
    study.score = lambda *_, progress, **__: progress("sweep", 1, 2) or xr.Dataset()  # type: ignore[method-assign]
    run(PRELUDE, names, session)
    run("score warmup on backdoor", names, session, progress=lambda *what: heard.append(what))
    assert heard == [("sweep", 1, 2)]


def test_redefinition_replaces_a_family_and_its_members(ask: Any, study: FakeStudy) -> None:
    ask("stages source by epoch")
    with pytest.raises(AadslError, match='no stage "source\\[badnet\\]"'):
        ask("score source[badnet] on backdoor")
    ask("score source on backdoor")
    assert asked(study)[1] == ("source[0]", "source[1]", "source[2]")
    ask("stage source = steps[0:3]\nscore source on backdoor")
    assert asked(study)[1] == ("source",)
    ask("behavior digits = margin on test\nscore warmup on digits")
    assert asked(study)[2] == ("digits",)
