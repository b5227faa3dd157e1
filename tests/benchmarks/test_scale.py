"""The benchmark of scale runs in small, fits laws that hold, and computes the large run as one would by hand."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest

from aadsl.trajectory.record.plans import SquareRoot, budget, every
from tests.benchmarks import cluster, large_run, scale, scale_report
from tests.benchmarks.report import sections_of, write_section
from tests.benchmarks.scale import measured_here
from tests.benchmarks.scale_points import ACTIVITIES, SHORT, SMALL, Found, keep, load

STAMP = "2026-11-28, PyTorch 2.13, Python 3.11, x86_64, 2 cores, one used; load {}."
TIMES = {"plain": 1.0, "recorded": 1.5, "sweep": 4.0, "sweep within 8 MB": 5.0, "first exact": 2.0, "blocks": 12.0}


def planted() -> list[Found]:
    """Return points as they would be if the laws held to the letter; a step takes 1 ns for each parameter."""
    sizes = [("steps", 10**k, SMALL) for k in range(2, 6)]
    sizes += [("parameters", steps, 10**k) for steps in (SHORT, 3 * SHORT) for k in range(4, 9)]
    found = []
    for (axis, steps, parameters), activity in product(sizes, ACTIVITIES):
        taken = steps - 2 if activity == "further exact" else steps * TIMES[activity]
        taken += 7 * (axis == "parameters")  # paid once
        states = round((steps / 2) ** 0.5) if axis == "steps" else 3
        size = 8 * parameters
        swept = activity == "sweep"
        memory = 10**6 * (steps if swept else 1) ** 0.5 if axis == "steps" else 4 * parameters * (24 if swept else 3)
        files = (states, size, states * size)
        row = (axis, steps, parameters, activity, 0.0, 1e-9 * parameters * taken, *files, 7, round(memory))
        found.append(Found(*row, STAMP.format(len(found) % 3)))
    return found


def test_each_thing_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[scale.Point] = []
    monkeypatch.setattr(scale, "warmed_up", lambda activity: None)
    monkeypatch.setattr(
        scale, "measured_apart", lambda point, folder: asked.append(point) or measured_here(point, folder)
    )
    file, wanted = tmp_path / "scale.csv", [*scale.points([20], [])]
    scale.collect(file, wanted[-2:], measured_here)
    scale.main(["steps", "report", "--toy", "--folder", str(tmp_path)])
    found = {one.point: one for one in load(file)}
    assert asked == wanted[:5] and [*found] == wanted
    assert [*sections_of(tmp_path / "scale.md")] == ["steps", "exponents"]
    assert all(one.cpu > 0 and one.measured.startswith("20") for one in found.values())
    run = found[scale.Point("steps", 20, SMALL, "recorded")]
    assert run.states == 6  # 0, 1, 2, 8, 18 and 20
    assert run.state_bytes > 8 * 0.9 * SMALL and run.disk > 5 * run.state_bytes
    assert found[scale.Point("steps", 20, SMALL, "sweep")].held == 10


def test_a_point_that_memory_does_not_allow_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scale, "free_memory", lambda: 2e6)
    monkeypatch.setattr(scale, "train", lambda *given: None)
    wanted = [point for point in scale.points([], [10_000, 10**8]) if point.activity == "sweep"]
    scale.collect(tmp_path / "scale.csv", wanted, lambda point, folder: planted()[0]._replace(**point._asdict()))
    assert [one.parameters for one in load(tmp_path / "scale.csv")] == [10_000] * 2
    assert "left out, it would take about 16 GB" in capsys.readouterr().out


@pytest.mark.parametrize(("axis", "size"), [("steps", 5), ("parameters", 5)])
def test_laws_that_hold_are_fitted(axis: str, size: int) -> None:
    laws = [law for law in scale_report.LAWS[axis] if law.activity != "further exact"]
    assert len(laws) >= size
    for law in laws:
        assert scale_report.exponent(planted(), axis, law) == pytest.approx(law.exponent, abs=0.01)
    broken = [one._replace(cpu=one.cpu**2) for one in planted()]
    assert scale_report.exponent(broken, axis, laws[0]) == pytest.approx(2)


def test_tables_charts_and_sections_are_written(tmp_path: Path) -> None:
    keep(tmp_path / "scale.csv", planted())
    found = load(tmp_path / "scale.csv")
    assert sorted(found) == sorted(planted())
    scale_report.write(found, tmp_path)
    cluster.write(found, tmp_path)
    sections = sections_of(tmp_path / "scale.md")
    assert [*sections] == ["steps", "parameters", "exponents", "constants", "disk", "trainings", "machines", "cluster"]
    told = STAMP.format("0.0 to 2.0")
    assert [name for name, text in sections.items() if told not in text.splitlines()] == []
    assert "| 100,000 | 0.01 ms a step, 1 MB | 1.50 ×, 1 MB | 4.00 ×, 316 MB |" in sections["steps"]
    for name in ("steps", "parameters", "cluster"):
        assert (tmp_path / f"scale-{name}.png").read_bytes().startswith(b"\x89PNG")
    # By hand: 10⁹ parameters at 8 bytes, states at 0, 1 and at twice the squares, and the last: 1 + 1 + 223 + 1.
    assert '| states="sqrt" | 226 | 890 | 1.8 TB |' in sections["disk"]
    # One comparison, and a half for each stage; first_order 4 + 1; blocks 12 + 1.
    assert "| `retraining` | 1.5 | 6.0 | 51.0 | 501.0 | 42 h to 13,917 h |" in sections["trainings"]
    assert "| `first_order` | 5.0 | 5.0 | 5.0 | 5.0 | 139 h |" in sections["trainings"]
    assert "| `auto` | 1.5 (exact) | 6.0 (exact) | 13.0 | 13.0 |" in sections["trainings"]
    assert "| sweep | 12 | 12.0 GB |" in sections["machines"]


def test_a_section_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "found.md"
    write_section(file, "Found", "one", "About\n  one.", ["| a |"], "2026-01-01, here.")
    write_section(file, "Found", "two", "", ["b"])
    write_section(file, "Found", "one", "Anew.", ["| c |"], "2026-01-02, here.")
    text = file.read_text(encoding="utf-8")
    assert text.startswith("# Found\n\n## one\n\nAnew.\n\n2026-01-02, here.\n\n| c |\n\n## two\n\n20")
    assert "load" in text and text.endswith("\n\nb\n")


@pytest.mark.parametrize("plan", [SquareRoot(), every(7), budget(20), budget(3)])
def test_states_are_counted_as_a_recorder_keeps_them(plan: large_run.StatePlan) -> None:
    stored: list[int] = []
    for step in range(1000):
        if plan.due(step):
            stored = sorted({*stored, step} - set(plan.surplus([*stored, step], 1)))
    assert large_run.kept(type(plan)(**{**vars(plan)}), 1000, 1) == [*stored, 1000]


def test_a_list_schedule_is_near_the_best_and_never_better() -> None:
    assert cluster.makespan([3, 3, 2, 2, 2], 2) == 7 and cluster.makespan([4.0], 8) == 4
    draw = np.random.default_rng(0)
    for _ in range(20):
        tasks, workers = draw.integers(1, 9, 6), int(draw.integers(2, 4))
        best = min(max(np.bincount(owner, tasks, workers)) for owner in product(range(workers), repeat=6))
        for order in [*permutations(tasks)][::97]:
            assert best <= cluster.makespan(order, workers) <= (2 - 1 / workers) * best


def test_a_study_keeps_all_workers_busy() -> None:
    known = large_run.constants(planted())
    alone = cluster.wall(known, 1000, 1) - known.replay
    assert alone == pytest.approx(500)
    for workers in (4, 16, 64):
        assert alone / workers <= cluster.wall(known, 1000, workers) - known.replay < 1.2 * alone / workers
