"""How answers look in a notebook: texts, tables and charts, in the order in which they were asked for."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from IPython.display import display

from jupyter_ext import views
from jupyter_ext.answers import answer_html, answer_text
from jupyter_ext.html import preformatted


def register(shell: Any) -> None:
    """Teach ``shell`` to show answers, charts, studies and behaviors; nothing is imported until one is shown."""
    for formatter, home, function in _formatters(shell):
        formatter.for_type_by_name(*home, function)


def unregister(shell: Any) -> None:
    """Forget what ``register`` taught."""
    for formatter, home, _ in _formatters(shell):
        formatter.deferred_printers.pop(home, None)
        for known in [t for t in formatter.type_printers if (t.__module__, t.__name__) == home]:
            formatter.pop(known)


def _formatters(shell: Any) -> list[tuple[Any, tuple[str, str], Any]]:
    """Return formatter, class (by its name, so that it need not be imported) and what shows it."""
    ways = shell.display_formatter
    html = ways.formatters["text/html"]
    study, behavior = ("aadsl.study.study", "Study"), ("aadsl.estimators.base", "Behavior")
    frames = [(module, "DataFrame") for module in ("pandas", "pandas.core.frame")]  # before pandas 3
    listing = ("aadsl.statements.example_listing", "ExampleListing")
    return [
        (ways.ipython_display_formatter, ("aadsl.statements.session", "Result"), show),
        *(
            (ways.mimebundle_formatter, (f"altair.vegalite.{v}.api", "TopLevelMixin"), chart_bundle)
            for v in ("v5", "v6")
        ),
        (html, study, views.study_html),
        (html, behavior, views.behavior_html),
        (html, listing, views.examples_html),
        *((html, frame, views.frame_html) for frame in frames),
    ]


def show(result: Any) -> None:
    """Display what a cell gave, in the order in which it was asked; neighboring texts are one output."""
    parts = [part for part in result.shown if not _is_answer(part) or _has_table(part, result)]
    for kind, neighbors in groupby(parts, type):
        if kind is str:
            text = "\n".join(neighbors)
            display({"text/plain": text, "text/html": preformatted(text)}, raw=True)
            continue
        for part in neighbors:
            if _is_answer(part):
                bundle = {"text/plain": answer_text(part.dataset), "text/html": answer_html(part.dataset)}
                display(bundle, raw=True)
            else:
                display(part)


def _is_answer(part: Any) -> bool:
    """Whether a part is an answer, not a text, a report or a chart; told without importing what charts need."""
    return hasattr(part, "asked")


def _has_table(answered: Any, result: Any) -> bool:
    """Whether an answer is shown as a table: none of the cell's charts draws it, and no text lists it as a ranking."""
    drawn = any(chart is own for chart in answered.charts.values() for own in result.charts)
    of_stages = "stage" in answered.dataset.dims and "example_estimate" not in answered.dataset
    return not drawn and of_stages and "ranked" not in answered.dataset


def chart_bundle(chart: Any, include: Any = None, exclude: Any = None) -> Any:
    """Return data and metadata of a chart for the notebook; charts that are not ours stay as Altair shows them."""
    from aadsl.charts import mimebundle
    from aadsl.charts.theme import is_ours

    if not is_ours(chart):
        return chart._repr_mimebundle_(include, exclude)
    bundle = mimebundle(chart)
    return bundle, {"image/png": {"alt": bundle["text/plain"]}}
