"""Panels of several behaviors, no wider together than a timeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import altair as alt

from aadsl.charts import theme
from aadsl.charts.frame import name_axis
from aadsl.charts.texts import LABEL, LETTER

ALONE = theme.WIDTH - 180
"""Pixels of a panel that has its row for itself."""
ROOM = theme.WIDTH + 80
"""Pixels that a timeline takes with its axis."""
SPACING = 20


def panels_of_names(
    drawn: Callable[[str, int, Any], Any], rows: Sequence[Sequence[str]], of: Sequence[str], note: int
) -> Any:
    """Return the panels of the behaviors ``of``, whose ``rows`` are named at their left.

    Two stand beside each other where the rows of all are the same: their names then stand at the left of both. Else
    each has its own row of the page.

    Args:
        drawn: called with behavior, width and axis of names, returns the panel.
        rows: for each behavior the names of its rows, from above.
        of: the behaviors.
        note: pixels at the right of a panel for what is written there.
    """
    if len(of) == 1 or any(names != rows[0] for names in rows):
        panels = [drawn(name, ALONE, name_axis(names)) for name, names in zip(of, rows, strict=True)]
        return panels[0] if len(panels) == 1 else alt.vconcat(*panels, spacing=SPACING)
    named = LETTER * min(max(map(len, rows[0])), LABEL)
    width = int((ROOM - named - SPACING) / 2) - note
    axes = [name_axis(rows[0]), alt.Axis(labels=False, ticks=False)]
    panels = [drawn(name, width, axes[k % 2]) for k, name in enumerate(of)]
    return alt.concat(*panels, columns=2, spacing=SPACING, align="each")
