"""What an answer knows of its numbers is seen: exact or estimated, how far off, how far to trust."""

import numpy as np
import pytest
import xarray as xr

from aadsl.charts import CHARTS, theme
from aadsl.charts.answers import answer_table
from aadsl.charts.band import exact_effects
from aadsl.charts.export import svg
from aadsl.charts.waterfall import FAINT
from aadsl.charts.words import provenance, step_provenance
from jupyter_ext.answers import answer_html, answer_text
from tests.charts.answers import answer, with_evidence
from tests.charts.test_theme import contrast
from tests.charts.test_timeline import rows_of


def subtitle(chart):
    return " ".join(chart.to_dict()["title"]["subtitle"])


def with_noise(data, noise):
    """Exact numbers that a run without any change is off by."""
    return data.assign(
        effect_low=data["effect"] - noise, effect_high=data["effect"] + noise, noise=data["effect"] * 0 + noise
    )


@pytest.mark.parametrize(("exact", "how"), [(0, {"estimate"}), (2, {"exact", "estimate"}), (4, {"exact"})])
def test_each_number_says_whether_it_is_exact(exact, how):
    data = answer(exact=exact)
    table = answer_table(data)
    assert (table["how"] == "exact").tolist() == data["exact"].values.ravel().tolist()
    legend = subtitle(CHARTS["bars"]().draw(data))
    assert ("Solid: exact" in legend) == ("exact" in how)
    assert ("utlined: estimate" in legend) == ("estimate" in how)
    assert data.attrs["answered_by"] in provenance(data)


def test_older_answers_are_told_by_their_estimator():
    assert set(answer_table(answer())["how"]) == {"estimate"}
    older = answer().assign_attrs(estimator="retraining()")
    assert set(answer_table(older)["how"]) == {"exact"}
    assert provenance(older) == "exact, by retraining, under skip()"


def test_an_interval_is_drawn_and_said_where_there_is_one():
    data = answer(exact=2)
    data["effect"][3, 1] = -0.1
    data["effect_low"][3, 1], data["effect_high"][3, 1] = -0.3, 0.1
    table = answer_table(data)
    assert table["interval"].tolist()[:4] == [""] * 4
    assert table["interval"].tolist()[-1] == "−0.3 … +0.1"
    assert "−0.3 … +0.1" in answer_text(data)
    drawn = [row for row in rows_of(CHARTS["bars"]().draw(data)) if row.get("low") is not None]
    assert [(row["stage"], row["behavior"]) for row in drawn] == [
        (stage, behavior) for behavior in ("backdoor", "digits") for stage in ("source[badnet]", "source[clean]")
    ]


def test_noise_is_no_interval_of_an_estimate():
    data = with_noise(answer(exact=4), 0.01)
    legend = subtitle(CHARTS["bars"]().draw(data))
    assert "a run without any change is off" in legend and "90%" not in legend
    assert "interval" not in answer_table(with_noise(answer(exact=4), 0.0))


@pytest.mark.parametrize("less_is_better", [False, True])
def test_who_helped_is_for_the_exact_effect_to_say(less_is_better):
    data = answer(verified=True, exact=0).assign(higher_is_better=("behavior", [not less_is_better] * 2))
    data["effect"][0, 0], data["retrained_effect"][0, 0] = 0.2, -0.1
    verdict = "helped" if less_is_better else "hurt"
    assert answer_table(data)["verdict"][0] == verdict
    line = next(line for line in answer_text(data).splitlines() if line.startswith("poisoned"))  # on the first behavior
    assert line.split()[-1] == verdict
    cell = next(
        r for r in rows_of(CHARTS["heatmap"]().draw(data)) if (r["stage"], r["behavior"]) == ("poisoned", "backdoor")
    )
    assert (cell["share"] > 0) == (verdict == "helped") and cell["label"].startswith("−0.1")
    bars = CHARTS["bars"]().draw(data).to_dict()["concat"][0]["layer"][0]["encoding"]
    assert f"datum.best * {-1 if less_is_better else 1} >= 0" in str(bars["fill"]) == str(bars["stroke"])


@pytest.mark.parametrize(("exact", "framed"), [(0, 0), (2, 4), (4, 0)])
def test_exact_cells_among_estimates_are_framed(exact, framed):
    chart = CHARTS["heatmap"]().draw(answer(exact=exact))
    assert sum(row["framed"] for row in rows_of(chart)) == framed
    assert ("Framed: exact" in subtitle(chart)) == (framed > 0)


def over(ink, color, opacity):
    """The color of ``ink``, as #rrggbb, seen through ``color`` of an opacity from 0 to 1."""
    parts = ([int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in (ink, color))
    return "#" + "".join(
        f"{round((1 - opacity) * below + opacity * above):02x}" for below, above in zip(*parts, strict=True)
    )


def between(colors, share):
    """The color, as #rrggbb, and the opacity at this share of the way through ``colors``, mixed as Vega mixes them."""
    k, part = divmod(share * (len(colors) - 1), 1) if share < 1 else (len(colors) - 2, 1.0)
    ends = [[int((c + "ff")[i : i + 2], 16) for i in (1, 3, 5, 7)] for c in colors[int(k) : int(k) + 2]]
    *rgb, opacity = (round(a + (b - a) * part) for a, b in zip(*ends, strict=True))
    return "#" + "".join(f"{one:02x}" for one in rgb), opacity / 255


# Paper, text and soft text of files and of JupyterLab: black at 87% and 54%, in the dark white.
THEMES = [("#ffffff", "#222222", "#555555"), ("#ffffff", "#212121", "#757575"), ("#111111", "#e0e0e0", "#919191")]


@pytest.mark.parametrize(("paper", "ink", "soft"), THEMES)
def test_numbers_on_cells_and_faint_marks_can_be_read(paper, ink, soft):
    heatmap = CHARTS["heatmap"]().draw(answer()).to_dict()
    cells = heatmap["layer"][0]["encoding"]["color"]["scale"]["range"]
    assert len(cells) == 3 and cells != [color[:7] for color in cells]
    for share in np.linspace(0, 1, 41):
        assert contrast(over(paper, *between(cells, share)), ink) > 4.5
        assert contrast(between(theme.SEQUENTIAL, share)[0], paper) >= 3
    assert contrast(soft, paper) > 4.5
    assert contrast(over(paper, theme.NEITHER, 0.85), paper) >= 3
    assert contrast(over(paper, soft, FAINT), paper) >= 3


def test_numbers_on_cells_of_full_color_would_be_caught():
    assert contrast(theme.HELPED, "#222222") < 4.5 and contrast("#440154", "#111111") < 3  # the dark end of viridis


def test_doubt_about_steps_is_said_of_the_behavior_it_is_about():
    data = answer(trust=True)  # low on the first behavior, medium on the second
    for name, look in (("timeline", "Pale"), ("cumulative", "Dashed")):
        chart = CHARTS[name]().draw(data)
        assert f'{look}: low trust on "backdoor" (steps differ)' in subtitle(chart)
        assert {row["reason"] for row in rows_of(chart) if row.get("trust") == "low"} == {"steps differ"}
        assert "low trust" not in subtitle(CHARTS[name]().draw(data.sel(behavior=["digits"])))
        assert "low trust" not in subtitle(CHARTS[name]().draw(answer()))


def test_steps_say_their_own_estimator():
    data = answer(exact=4, trust=True)
    assert "exact" not in step_provenance(data)
    data["step_effect"].attrs["estimator"] = "first_order()"
    assert step_provenance(data) == "steps estimated by first_order(), under skip()"
    assert step_provenance(answer()) == "estimated by first_order(), under skip()"


def test_the_timeline_says_the_exact_effects_of_its_stages():
    data = answer(exact=1)
    rows = [row for row in rows_of(CHARTS["timeline"]().draw(data)) if "color" in row and "from" in row]
    value = f"{float(data['effect'].sel(stage='poisoned', behavior='digits')):+.3g}".replace("-", "−")
    assert {row["label"] for row in rows} >= {f"poisoned: exact {value}"}
    assert {(row["from"], row["to"]) for row in rows} == {(29.5, 39.5)}
    assert {row["color"] for row in rows} == {theme.STAGES[0]}
    for without in (answer(exact=0), answer(), data.drop_vars("member")):
        assert not any("from" in row for row in rows_of(CHARTS["timeline"]().draw(without)))


def test_the_exact_effect_beside_an_estimate_is_written():
    data = answer(verified=True, exact=0)
    (one,) = exact_effects(data, "backdoor", ["warmup"])
    assert one.label == f"warmup: exact {float(data['retrained_effect'][1, 0]):+.3g}".replace("-", "−")
    assert one.stretches == ((-0.5, 9.5),)


@pytest.mark.parametrize(("exact", "written"), [(6, 6), (7, 0)])
def test_of_many_stages_the_few_exact_effects_are_written(exact, written):
    stages = [f"window {k}" for k in range(30)]
    data = xr.Dataset(
        {
            "effect": (("stage", "behavior"), np.ones((30, 1))),
            "exact": (("stage", "behavior"), np.arange(30)[:, None] < exact),
            "member": (("stage", "step"), np.eye(30, 60, dtype=bool)),
            "step_effect": (("step", "behavior"), np.ones((60, 1))),
        },
        {"stage": stages, "behavior": ["backdoor"], "step": np.arange(60)},
    )
    rows = rows_of(CHARTS["timeline"]().draw(data))
    assert {row["label"] for row in rows if "color" in row and "from" in row} == {
        f"{stage}: exact +1" for stage in stages[:written]
    }


def test_scattered_steps_too_near_to_be_seen_apart_become_one_band():
    data = answer(steps=100_000, behaviors=("backdoor",), exact=4)
    data["member"][1] = np.arange(100_000) % 3 == 0
    (one,) = exact_effects(data, "backdoor", ["warmup"])
    assert one.stretches == ((-0.5, 99_999.5),)


def test_dots_of_examples_say_how_far_to_trust_their_stage():
    chart = CHARTS["examples"]().draw(answer(examples=5, trust=True, exact=2))
    known = [row for row in rows_of(chart) if "how" in row]  # of each stage once; its dots look that up
    assert {row["how"] for row in known} == {"exact", "estimate"}
    assert {row["reason"] for row in known if row["mark"] == "low trust"} == {"curvatures differ"}
    assert len([row for row in rows_of(chart) if "example" in row]) == 4 * 2 * 5
    picture = svg(chart)
    assert picture.count('fill-opacity="0.8"') == 3 * 5  # three of four numbers of the exact stages are trusted
    assert "hollow: low trust" in subtitle(chart)


def test_a_table_has_no_empty_column():
    def header(data):
        return next(line for line in answer_text(data).splitlines() if line.startswith("  ") and " without " in line)

    full = header(with_evidence(answer(trust=True, examples=3), 2))
    for column in ("effect", "the stage", "how", "interval", "trust", "of examples"):
        assert f" {column}" in full or f"% {column}" in full
    for column in ("interval", "trust", "how", "of examples"):
        assert column not in header(answer())
    assert "interval" not in answer_html(answer(exact=4))
