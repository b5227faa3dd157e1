"""How answers look in a notebook: messages, then each chart as an output of its own, or a table."""

from __future__ import annotations

from typing import Any

from IPython.display import display

from jupyter_ext.html import answer_html, answer_text, preformatted

_ANSWER = ("aadsl.statements.session", "Result")
_CHARTS = tuple((f"altair.vegalite.{version}.api", "TopLevelMixin") for version in ("v5", "v6"))


def register(shell: Any) -> None:
    """Teach ``shell`` to show answers and their charts; nothing is imported until one is shown."""
    formatters = shell.display_formatter
    formatters.ipython_display_formatter.for_type_by_name(*_ANSWER, show)
    for home in _CHARTS:
        formatters.mimebundle_formatter.for_type_by_name(*home, chart_bundle)


def unregister(shell: Any) -> None:
    """Forget what ``register`` taught."""
    formatters = shell.display_formatter
    for formatter, home in (
        (formatters.ipython_display_formatter, _ANSWER),
        *((formatters.mimebundle_formatter, home) for home in _CHARTS),
    ):
        formatter.deferred_printers.pop(home, None)
        for known in [t for t in formatter.type_printers if (t.__module__, t.__name__) == home]:
            formatter.pop(known)


def show(result: Any) -> None:
    """Display an answer: its messages and plan as text, its charts, and where there is no chart, its table."""
    text = "\n".join([*result.messages, *([result.plan] if result.plan else [])])
    if text:
        display({"text/plain": text, "text/html": preformatted(text)}, raw=True)
    for chart in result.charts:
        display(chart)
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
