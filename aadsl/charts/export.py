"""Charts as files: SVG, PNG and HTML, written without the internet."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any

from aadsl.charts import theme
from aadsl.charts.bundle import png, summary
from aadsl.charts.texts import embedded
from aadsl.core.arguments import checked
from aadsl.core.errors import AadslError, did_you_mean
from aadsl.core.files import replacing


def svg(chart: Any) -> str:
    """Return ``chart`` as SVG text, dark on white."""
    import vl_convert

    return str(vl_convert.vegalite_to_svg(theme.styled(chart, theme.PAPER)))


def html(chart: Any) -> str:
    """Return one HTML page with the interactive ``chart`` and the code that draws it (about 1 MB)."""
    spec = theme.specification(chart)
    return page(summary(spec), interactive(spec))


def interactive(chart: Any, picture: str = "") -> str:
    """Return the part of a :func:`page` that draws ``chart``; a ``picture`` stands there until then."""
    return drawn(theme.styled(chart, theme.PAPER), picture)


def drawn(spec: Mapping[str, Any], picture: str) -> str:
    """Return the part of a page that :func:`scripts` put the chart of this specification in; until then, a picture."""
    script = f'<script type="application/json" class="{_SPEC}">{embedded(spec)}</script>'
    return f'<div class="chart">{picture}{script}</div>'


def scripts() -> tuple[str, str]:
    """Return the code that draws the charts of a page, and what calls it at the end of the page."""
    return _library(), _DRAW


def page(title: str, body: str, style: str = "") -> str:
    """Return an HTML page around ``body``, with the code that draws its charts.

    Its policy lets the browser run that code alone, and fetch nothing: texts of a recording stay texts.
    """
    library, draw = scripts()
    allowed = " ".join(f"'sha256-{b64encode(sha256(one.encode()).digest()).decode()}'" for one in (library, draw))
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}"
    return _PAGE.format(policy=policy, title=escape(title), style=style, body=body, library=library, draw=draw)


@lru_cache
def _library() -> str:
    import vl_convert

    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")).replace("</script", "<\\/script")


# With "ast" Vega interprets expressions instead of making code of them, which the policy forbids.
_SPEC = "aadsl-chart"
_DRAW = f"""
for (const script of document.querySelectorAll("script.{_SPEC}")) {{
  const actions = {{export: true, source: false, compiled: false, editor: false}};
  vegaEmbed(script.parentElement, JSON.parse(script.textContent), {{renderer: "svg", ast: true, actions}})
    .catch(console.error);
}}
"""
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<style>{style}</style></head>
<body>
{body}
<script>{library}</script>
<script>{draw}</script>
</body></html>
"""


_FORMATS: dict[str, Callable[[Any], bytes]] = {
    ".svg": lambda chart: svg(chart).encode(),
    ".png": png,
    ".html": lambda chart: html(chart).encode(),
}


@checked
def save(chart: Any, path: str | Path) -> Path:
    """Write ``chart`` to ``path``, in the place of a file that is there; the ending says how: .svg, .png or .html.

    Raises:
        AadslError: another ending, or the file cannot be written there.
    """
    target = Path(path)
    write = _FORMATS.get(target.suffix.lower())
    if write is None:
        known = f"charts are written as {', '.join(_FORMATS)}"
        hint = " ".join(filter(None, [did_you_mean(target.suffix.lower(), _FORMATS), known]))
        raise AadslError(f'no picture format "{target.suffix or target.name}"', hint=hint)
    with replacing(target) as unfinished:
        unfinished.write_bytes(write(chart))
    return target
