"""The interventions that take each step as it was recorded, so that estimates answer them, too."""

from __future__ import annotations

from aadsl.interventions import INTERVENTIONS, Rerun

FIXED = [name for name, member in INTERVENTIONS.items() if member is not Rerun]
