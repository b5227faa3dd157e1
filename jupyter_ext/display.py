"""How answers look in a notebook: messages, then each chart as an output of its own, or a table."""

from __future__ import annotations

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
    text, html = (ways.formatters[kind] for kind in ("text/plain", "text/html"))
    study, behavior = ("aadsl.study.study", "Study"), ("aadsl.estimators.base", "Behavior")
    return [
        (ways.ipython_display_formatter, ("aadsl.statements.session", "Result"), show),
        *(
            (ways.mimebundle_formatter, (f"altair.vegalite.{v}.api", "TopLevelMixin"), chart_bundle)
            for v in ("v5", "v6")
        ),
        (text, study, views.study_text),
        (html, study, views.study_html),
        (text, behavior, views.behavior_text),
        (html, behavior, views.behavior_html),
    ]


def show(result: Any) -> None:
    """Display an answer: messages and plan as text, reports, charts, and where there is no chart, its table."""
    text = "\n".join([*result.messages, *([result.plan] if result.plan else [])])
    if text:
        display({"text/plain": text, "text/html": preformatted(text)}, raw=True)
    for shown in [*result.reports, *result.charts]:
        display(shown)
    if not result.charts and result.dataset is not None and "stage" in result.dataset.dims:
        table = {"text/plain": answer_text(result.dataset), "text/html": answer_html(result.dataset)}
        display(table, raw=True)


def chart_bundle(chart: Any, include: Any = None, exclude: Any = None) -> Any:
    """Return data and metadata of a chart for the notebook; charts that are not ours stay as Altair shows them."""
    from aadsl.charts import mimebundle
    from aadsl.charts.theme import is_ours

    if not is_ours(chart):
        return chart._repr_mimebundle_(include, exclude)
    bundle = mimebundle(chart)
    return bundle, {"image/png": {"alt": bundle["text/plain"]}}
