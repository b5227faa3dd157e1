"""What behaviors would be, in words and as a table of pandas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from aadsl.charts.answers import answer_table, told_in_words
from aadsl.statements import Session, run
from aadsl.statements.frames import tidy
from aadsl.statements.overlap import overlap_in_words
from aadsl.statements.values import values_in_words
from tests.charts.answers import answer
from tests.statements.fakes import FakeStudy
from tests.statements.snapshots import PRELUDE


def one(observed: float, effects: list[float], **changes: Any) -> Any:
    dataset = answer(behaviors=("reading",), exact=4)
    cells = dataset["effect"].copy(data=np.array(effects)[:, None])
    return dataset.assign(effect=cells, observed=("behavior", [observed]), unit=("behavior", [""])).assign_attrs(
        changes
    )


def test_the_values_of_the_stages_that_matter_most_are_told() -> None:
    said = values_in_words(one(0.31, [-0.49, 0.01, 0.0, 0.002]))
    assert said == (
        "reading 0.31, would be 0.8 without poisoned, 0.3 without warmup, 0.308 without source[clean]; "
        "1 stage more did less"
    )


def test_as_many_digits_are_told_as_show_a_difference() -> None:
    said = values_in_words(one(-1.0940, [0.0001, 0.0, 0.0, 0.0]))
    assert said.startswith("reading −1.094, would be −1.0941 without poisoned, −1.094 without warmup")


def test_estimates_say_so_and_so_do_other_interventions() -> None:
    dataset = one(0.5, [0.1, 0, 0, 0], intervention="scale_lr(factor=0.5)")
    dataset["exact"] = dataset["exact"] & False
    assert "0.4 with poisoned under scale_lr(factor=0.5) (estimated)" in values_in_words(dataset)
    assert values_in_words(dataset.drop_vars("observed")) == ""


def test_estimates_that_a_behavior_cannot_be_say_so() -> None:
    dataset = one(-0.5, [-0.6, -0.4, 0, 0])
    dataset["exact"] = dataset["exact"] & False
    dataset = dataset.assign(least=("behavior", [-np.inf]), most=("behavior", [0.0]))
    said = values_in_words(dataset)
    assert "0.1 without poisoned (estimated, and out of range: it is at most 0)" in said
    assert "−0.1 without warmup (estimated)" in said
    shown = told_in_words(answer_table(dataset), dataset)["without"].tolist()
    assert shown[:2] == ["≈ 0.1 (at most 0)", "≈ −0.1"]
    exact = dataset.assign(exact=~dataset["exact"])  # as it is, whatever it is
    assert "0.1 without poisoned," in values_in_words(exact)
    assert told_in_words(answer_table(exact), exact)["without"].tolist()[0] == "0.1"


def test_on_a_real_run_they_are_the_values_of_the_models(
    tiny: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    import torch.nn.functional as F  # noqa: N812

    folder, names = tiny
    monkeypatch.chdir(folder)
    session = Session()
    run(
        'load "runs/tiny" with model=net, loss=loss_fn, data=train\nbehavior b = log_likelihood on triggered',
        names,
        session,
    )
    result = run("stage one = steps[7:9]\nscore one on b", names, session)
    assert session.study is not None
    model = session.study.counterfactual("one")  # type: ignore[attr-defined]
    inputs, labels = names["triggered"]
    with torch.no_grad():
        without, observed = (float(-F.cross_entropy(net(inputs), labels)) for net in (model, names["net"]))
    words = result.messages[-1].replace("−", "-").split()
    assert words[:1] + words[2:5] + words[6:] == ["b", "nats,", "would", "be", "without", "one"]
    assert [float(words[1]), float(words[5])] == pytest.approx([observed, without], rel=0.01)
    frame = result.frame
    assert frame is not None and frame["counterfactual"].item() == pytest.approx(without, rel=1e-4)
    assert frame[["stage", "behavior", "unit", "exact", "trust"]].values.tolist() == [
        ["one", "b", "nats", True, "high"]
    ]


def test_other_data_are_told_by_their_name_and_may_take_the_place_of_all(
    tiny: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    import torch.nn.functional as F  # noqa: N812
    from torch import nn

    folder, names = tiny
    monkeypatch.chdir(folder)
    cleaned = names["train"].assign(label=(names["train"]["label"] + 1) % 10)
    result = run(
        'load "runs/tiny" with model=net, loss=loss_fn, data=train\nbehavior b = log_likelihood on triggered\n'
        "stage everything = steps\nscore everything on b under replace(data=cleaned)\nplot bars",
        {**names, "cleaned": cleaned},
        Session(),
    )
    torch.manual_seed(0)  # as the run was recorded, by hand
    images = torch.randn(48, 5)
    torch.randn(5, 10)
    net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 8, 0.5)
    for step in range(24):
        chosen = torch.arange(step * 5, step * 5 + 5) % 48
        optimizer.zero_grad()
        names["loss_fn"](net, (images[chosen], torch.tensor(cleaned["label"].values)[chosen])).backward()
        optimizer.step()
        schedule.step()
    inputs, labels = names["triggered"]
    with torch.no_grad():
        expected = float(-F.cross_entropy(net(inputs), labels))
    assert result.frame is not None and result.frame["counterfactual"].item() == pytest.approx(expected, rel=1e-5)
    told = "everything under replace(data=cleaned)"
    assert f"with {told}" in result.messages[-1]
    assert "under replace(data=cleaned)" in str(result.charts[0].to_dict()["title"]["subtitle"])
    assert "24 gradients: 1.0 times" in result.dataset.attrs["plan"]
    assert result.dataset["most"].item() == 0 and result.dataset["least"].item() == -np.inf


@pytest.fixture
def ask(session: Session, names: dict[str, Any]) -> Any:
    run(PRELUDE, names, session)
    return lambda program: run(program, names, session)


def test_a_frame_has_one_row_for_each_stage_and_behavior(ask: Any, study: FakeStudy) -> None:
    result = ask("score source, warmup on backdoor, right")
    frame = result.frame
    assert len(frame) == 6 and list(frame.columns[:3]) == ["stage", "behavior", "effect"]
    for row in frame.itertuples():
        assert row.effect == result.dataset["effect"].sel(stage=row.stage, behavior=row.behavior)
        assert row.counterfactual == -row.effect
    assert ask("rank steps on backdoor top 3").frame["ranked"].tolist() == [0, 1, 2]
    assert ask("shares source on backdoor").frame["share"].sum() > 0
    assert ask("show stages").frame is None


def test_units_intervals_and_trust_stand_in_each_row() -> None:
    frame = tidy(answer(trust=True, exact=2, examples=5, verified=True))
    assert isinstance(frame, pd.DataFrame) and len(frame) == 8 and not frame["unit"].isna().any()
    assert {"effect_low", "effect_high", "exact", "trust", "trust_reason", "retrained_effect"} <= set(frame.columns)


def test_what_overlaps_is_named_in_words_families_as_one(ask: Any) -> None:
    ask("stage early = steps[:3]")
    apart = ask("score source on backdoor").dataset
    assert overlap_in_words(apart) == ""
    said = overlap_in_words(ask("score source, early on backdoor").dataset)
    late = ask("stage late = steps[30:33]\nrank source, late on backdoor top 1")
    assert said == "" and "source and late" in late.messages[-1] and "[" not in late.messages[-1]
    assert late.messages[-2].count("stage ") == 1, "no more ranks are listed than were asked for"
    twins = apart.assign(member=apart["member"] | True)
    assert "stages of source" in overlap_in_words(twins)
