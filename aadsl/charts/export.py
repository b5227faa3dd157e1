"""Charts as files: SVG, PNG and HTML, written without the internet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from aadsl.charts import theme
from aadsl.charts.bundle import png
from aadsl.core.arguments import checked
from aadsl.core.errors import AadslError, did_you_mean
from aadsl.core.files import replacing


def svg(chart: Any) -> str:
    """Return ``chart`` as SVG text, dark on white."""
    import vl_convert

    return str(vl_convert.vegalite_to_svg(theme.styled(chart, theme.PAPER)))


def html(chart: Any) -> str:
    """Return one HTML page with the interactive ``chart`` and the code that draws it (about 1 MB)."""
    import vl_convert

    return str(vl_convert.vegalite_to_html(theme.styled(chart, theme.PAPER), bundle=True))


_FORMATS: dict[str, Callable[[Any], bytes]] = {
    ".svg": lambda chart: svg(chart).encode(),
    ".png": png,
    ".html": lambda chart: html(chart).encode(),
}


@checked
def save(chart: Any, path: str | Path) -> Path:
    """Write ``chart`` to ``path``; the ending (.svg, .png or .html) says in which format.

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
