"""What a page about an answer tells: gathered from the answer, the study that gave it and the program that asked."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aadsl.core.files import replacing
from aadsl.core.version import __version__
from aadsl.statements.answers import labels
from aadsl.statements.guides import TRUST
from aadsl.statements.session import Answered
from aadsl.statements.show import intervals

if TYPE_CHECKING:
    from aadsl.charts.report import AnswerPage


def report_of(answered: Answered) -> AnswerPage:
    """Return the report of an answer; where nothing was drawn of it, with the chart that fits."""
    from aadsl.charts.report import AnswerPage

    answer = answered.dataset
    return AnswerPage(
        answer,
        "\n".join(answered.program),
        [("stage", "steps"), *_stages(answered)],
        [("behavior", "metric", "examples", "unit"), *_behaviors(answered)],
        list(answered.charts.values()) or _usual_chart(answered),
        TRUST.partition("\n\nTo learn more")[0],
        _run(answered),
    )


def write_report(answered: Answered, path: Path) -> None:
    """Write the report of an answer to ``path``."""
    text = report_of(answered).html()
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def _stages(answered: Answered) -> list[tuple[str, str]]:
    answer = answered.dataset
    if "member" not in answer:
        return []
    masks = answer["member"].transpose("stage", "step").to_numpy().astype(bool)
    names = answer["stage"].to_numpy()
    return [
        (str(name), f"{np.sum(mask):,} of {len(mask):,}: {intervals(mask)}")
        for name, mask in zip(names, masks, strict=True)
    ]


def _behaviors(answered: Answered) -> list[tuple[str, str, str, str]]:
    from aadsl.behaviors import metric_text

    known = {} if answered.study is None else answered.study.behaviors
    asked = [name for name in map(str, answered.dataset["behavior"].values) if name in known]
    return [
        (name, metric_text(known[name].metric), f"{len(known[name].examples):,}", known[name].unit) for name in asked
    ]


def _usual_chart(answered: Answered) -> list[object]:
    from aadsl.charts import CHARTS, unmet

    answer = answered.dataset
    names = "waterfall", "agreement", "bars"
    fitting = [CHARTS[name] for name in names if unmet(CHARTS[name].needs, map(str, answer.variables)) is None]
    return [fitting[0]().draw(answer)] if labels(answer, "stage") and fitting else []


def _run(answered: Answered) -> dict[str, str]:
    """Return what is known of the run, of the machine that recorded it, and of what answered."""
    attributes, study = answered.dataset.attrs, answered.study
    known = {"recording": attributes.get("trajectory", ""), "its digest": attributes.get("trajectory_digest", "")}
    if study is not None:
        known["recording"] = str(study.trajectory.path)
        known["steps"] = f"{study.trajectory.length:,}"
        known |= {f"recorded: {name}": text for name, text in study.trajectory.provenance.items()}
    known["answered"] = attributes.get("created", "")
    known["answered by"] = f"aadsl {attributes.get('aadsl_version', __version__)}, Python {platform.python_version()}"
    return {name: str(text) for name, text in known.items() if text}
