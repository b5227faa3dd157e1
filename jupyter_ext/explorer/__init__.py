"""The explorer: drag over the timeline of an answer, and see what the steps under the brush did."""

from __future__ import annotations

from typing import Any


def explore(result: Any, names: Any = dict) -> Any:
    """Return the explorer of a result (``aadsl.run``) or of a Dataset that ``Study.score`` gave.

    Args:
        result: what holds ``step_effect``, the effect of every step.
        names: a function that returns the notebook's names, for conditions that use them.

    Raises:
        AadslError: the answer has no effects of single steps.
    """
    from jupyter_ext.explorer.widget import Explorer

    return Explorer.of(result, names)
