"""The statements of the language."""

from __future__ import annotations

from functools import cache

from aadsl.language import Parser
from aadsl.language.parser import Table
from aadsl.statements.behavior import BehaviorDefinition
from aadsl.statements.check import Check
from aadsl.statements.examples import ExamplesOf
from aadsl.statements.explain import Explain
from aadsl.statements.help import Help
from aadsl.statements.load import Load
from aadsl.statements.plot import Plot
from aadsl.statements.rank import EveryStep, Rank
from aadsl.statements.save import Save
from aadsl.statements.score import Score
from aadsl.statements.shares import Shares
from aadsl.statements.show import Show
from aadsl.statements.stage import StageDefinition
from aadsl.statements.stages import Stages, StagesBy, StagesEvery
from aadsl.statements.verify import Verify, VerifyTrajectory

STATEMENTS: Table = {
    "load": (Load,),
    "stage": (StageDefinition,),
    "stages": (Stages, StagesBy, StagesEvery),
    "behavior": (BehaviorDefinition,),
    "score": (Score,),
    "verify": (Verify, VerifyTrajectory),
    "check": (Check,),
    "rank": (Rank, EveryStep),
    "shares": (Shares,),
    "examples": (ExamplesOf,),
    "plot": (Plot,),
    "explain": (Explain,),
    "save": (Save,),
    "show": (Show,),
    "help": (Help,),
}
"""The node classes behind each statement's word, the statement itself first."""


@cache
def parser() -> Parser:
    """Return the parser of all statements."""
    return Parser(STATEMENTS)
