"""The paper's experiments at toy size: every part measures, keeps, and writes its page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.paper import __main__ as command
from tests.paper import figures, table1, texts
from tests.paper.agreement import AA_SCORE, DVEMB, Agreement, agreement
from tests.paper.keeping import spread
from tests.paper.stages import SETTINGS

SOME = (DVEMB, AA_SCORE, "AA-Score, layer by layer", "linearized")
PAPERS = {"paper": table1.variants()["paper"]._replace(methods=SOME)}


def written(part: str, folder: Path, *more: str) -> str:
    command.main([part, "--toy", "--kept", str(folder), *more])
    return (folder / "toy" / f"{part}.md").read_text(encoding="utf-8")


def cells(page: str, section: str, row: str) -> list[str]:
    """Return what stands beside ``row`` in the first table of a section that has it."""
    lines = page.split(f"\n## {section}\n")[1].split("\n## ")[0].splitlines()
    return next(line for line in lines if line.startswith(f"| {row} |")).strip("| ").split(" | ")[1:]


def numbers(said: list[str]) -> NDArray[np.float64]:
    return np.array([float(cell.replace("−", "-")) for cell in said])


def test_table_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(table1, "variants", lambda: PAPERS)
    monkeypatch.setattr(table1, "TOY", table1.TOY._replace(seeds=1))
    page = written("table1", tmp_path)
    assert page.startswith("# Table 1") and "these numbers say nothing of the paper" in page
    section = "The paper's protocols"
    assert cells(page, section, "paper: AA-Score")[-1] == "0.9456"
    found = {name: numbers(cells(page, section, name)) for name in SOME}
    assert all(
        len(values) == 6 and values[-1] == pytest.approx(values[:5].mean(), abs=1e-4) for values in found.values()
    )
    assert (found["linearized"] > 0.9).all(), "it follows each stage forward"
    assert found["linearized"][4] == 1, "nothing is trained after the last stage, so nothing is estimated"
    capsys.readouterr()
    assert written("table1", tmp_path) == page and "seed" not in capsys.readouterr().out, "what was measured is kept"


def test_developments_are_the_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Appendix E.2: the steps, the batches, the labels."""
    monkeypatch.setattr(table1, "rotated", lambda images, degrees: images + degrees)
    size = table1.Size(hidden=2)
    insert, wrong, shift = (make(0, size) for make in (table1.insertion, table1.mislabeled, table1.shifts))
    ((images, labels), batches), (job,) = (insert.jobs[0].data, insert.jobs[0].batches), wrong.jobs
    assert (insert.length, wrong.length, shift.length) == (101, 100, 100) and len(images) == 10_000
    assert [t for t, rows in enumerate(batches) if labels[rows] == 4] == [30] == [*insert.stages["insert"]]
    changed = np.flatnonzero(job.data[1] != labels)
    assert [*changed] == [*range(3000, 3500)] == [*np.concatenate([job.batches[t] for t in wrong.stages["mislabel"]])]
    assert ((job.data[1] - labels)[changed] % 10 == 1).all()
    together = table1.shifts(0, size, together=True).jobs[0]
    apart = [job.batch(rows) for job in shift.jobs for rows in job.batches]
    for rows, (looks, called) in zip(together.batches, apart, strict=True):
        assert looks.equal(together.batch(rows)[0]) and called.equal(together.batch(rows)[1])


def test_agreement_is_of_estimates_with_the_truth() -> None:
    exact = np.array([1.0, 2.0, 4.0])
    assert agreement(2 * exact, exact) == pytest.approx(Agreement(1, 1, 2, 1))
    assert agreement(exact[::-1], exact).spearman == pytest.approx(-1)
    assert np.isnan(agreement(np.array([np.nan, 1, 2]), exact)).all()


def test_numbers_are_written_with_their_spread() -> None:
    assert spread([-0.5]) == "−0.5000" and spread([1.0, 3.0], 1) == "2.0 ± 1.4"
    assert spread([1.0, np.nan]) == "not finite in 1 of 2"


def test_what_another_machine_measured_is_measured_here(tmp_path: Path) -> None:
    kept = tmp_path / "part.jsonl"
    part = command.Part("part", tmp_path, tmp_path)
    assert part.measured("a", lambda: {"x": 1}) == {"x": 1} == part.measured("a", lambda: {"x": 2})
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"machine": "another"}) + "\n")
    assert part.measured("a", lambda: {"x": 3}) == {"x": 3}


def test_a_part_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["table9"])
    assert "no part table9; there are table1" in capsys.readouterr().err


def test_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = {title: figure for title, figure in figures.FIGURES.items() if title[0] in "46" or title.startswith("3 (a)")}
    monkeypatch.setattr(figures, "FIGURES", some)
    draw = figures.save
    monkeypatch.setattr(figures, "save", lambda chart, to: draw(chart, to) if to.stem == "figures-4" else to.touch())
    page = written("figures", tmp_path)
    pictures = {path.stem: path.name for path in (tmp_path / "toy").glob("*.png")}
    assert [*sorted(pictures)] == [f"figures-{name}" for name in ("4", "5", "6", "6-faster", "7")]
    assert all(f"]({name})" in page for name in pictures.values()) and page.count("| Holds |") == 3
    found = {one["key"]: one["found"] for one in map(json.loads, (tmp_path / "figures.jsonl").read_text().splitlines())}
    effect, above = found["5"]["the inserted 4"]
    assert effect > 0 and above == 0, "a 4 is learned from that 4"
    assert found["6"]["target label"]["poisoned"] == 2


def test_a_claim_holds_or_not() -> None:
    """By its sign and order, whichever way the numbers fall."""
    same = {"3f": 1.0, "3g": 0.1, "3h": 0.2, "3i": 0.9}
    told = [claim.holds for claim in figures.of_options({name: {"second": value} for name, value in same.items()})]
    assert told == [True] * 4
    same["3i"] = 1.5
    told = [claim.holds for claim in figures.of_options({name: {"second": value} for name, value in same.items()})]
    assert told == [True, True, False, True]
    assert [claim.holds for claim in figures.of_mislabeling({"sum": -1.0, "lowest": 4, "below": 9})] == [False]


@pytest.mark.parametrize("name", ["digits", "text", "text, pretrained"])
def test_stages_have_examples_of_their_own(name: str) -> None:
    given = SETTINGS[name].make(Path(), 1, SETTINGS[name].scale.toy())
    assert [*given.stages] == [*given.tests] == [job.name for job in given.jobs] and given.length == 6
    assert [*np.concatenate([*given.stages.values()])] == [*range(6)]
    inputs = [job.data[0].flatten(1) for job in given.jobs]
    tests = [(shown[0] if isinstance(shown, tuple) else shown).flatten(1) for shown in given.tests.values()]
    for own, asked in zip(inputs, tests, strict=True):
        assert own.shape[1] == asked.shape[1] and not (own[:, None] == asked[None]).all(-1).any()


def test_no_character_is_told_by_those_after_it() -> None:
    reader = texts.Reader(8).eval()
    tokens = texts.texts()["manual"][:2]
    changed = tokens.clone()
    changed[:, 20:] = 65
    before, after = reader(tokens), reader(changed)
    torch.testing.assert_close(before[:, :20], after[:, :20])
    assert not torch.allclose(before[:, 20:], after[:, 20:])
