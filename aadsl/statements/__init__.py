"""What the statements of the language mean: one file each, with its syntax node, how it resolves and how it runs."""

from __future__ import annotations

from aadsl.language import Node
from aadsl.statements.behavior import Behavior
from aadsl.statements.completion import complete, signature_at
from aadsl.statements.explain import Explain
from aadsl.statements.help import Help
from aadsl.statements.load import Load
from aadsl.statements.plot import Plot
from aadsl.statements.program import format_program, run
from aadsl.statements.rank import EveryStep, Rank
from aadsl.statements.save import Save
from aadsl.statements.score import Score
from aadsl.statements.selecting import select
from aadsl.statements.session import Result, Session
from aadsl.statements.show import Show
from aadsl.statements.stage import Stage
from aadsl.statements.stages import Stages, StagesBy, StagesEvery
from aadsl.statements.verify import Verify, VerifyTrajectory

__all__ = ["STATEMENTS", "Result", "Session", "complete", "format_program", "run", "select", "signature_at"]

STATEMENTS: dict[str, tuple[type[Node], ...]] = {
    "load": (Load,),
    "stage": (Stage,),
    "stages": (Stages, StagesBy, StagesEvery),
    "behavior": (Behavior,),
    "score": (Score,),
    "verify": (Verify, VerifyTrajectory),
    "rank": (Rank, EveryStep),
    "plot": (Plot,),
    "explain": (Explain,),
    "save": (Save,),
    "show": (Show,),
    "help": (Help,),
}
"""The node classes behind each statement's word, the statement itself first."""
