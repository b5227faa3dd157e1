from __future__ import annotations

import pytest
from hypothesis import given, settings

from aadsl.language.formatter import format_program
from aadsl.statements.table import parser
from tests.language.programs import mangled, programs

CASES = [
    ('stage  poisoned=batches where tag=="badnet"', 'stage poisoned = batches where tag == "badnet"\n'),
    ("stage late = steps [ -200 : ]  where 1<=epoch<3", "stage late = steps[-200:] where 1 <= epoch < 3\n"),
    ("stage a=b  [ c ]or not(d and e)", "stage a = b[c] or not (d and e)\n"),
    ("stage a = steps where x in[1,-2]and-y*2<- 3", "stage a = steps where x in [1, -2] and -y * 2 < -3\n"),
    ("stage a = steps where share( n==1 )>0.1", "stage a = steps where share(n == 1) > 0.1\n"),
    ("behavior b = margin( target = 7 )on test", "behavior b = margin(target=7) on test\n"),
    ('load "x"with model = net,loss=f', 'load "x" with model=net, loss=f\n'),
    ("stages w every 50 steps within(a or b)", "stages w every 50 steps within (a or b)\n"),
    ("score a,\n        b on c   # why\n\n\n\n# alone\nshow", "score a,\n    b on c  # why\n\n# alone\nshow\n"),
    ("# first\n\n\nshow", "# first\n\nshow\n"),
    ("stage a = steps[0:\nshow   stages", "stage a = steps[0:\nshow stages\n"),
    ("score a on b using first_order( curvature = central_difference( radius=2 ))",
     "score a on b using first_order(curvature=central_difference(radius=2))\n"),
    ("verify  trajectory with samples = 3", "verify trajectory with samples=3\n"),
    ("   \n\n", ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_the_one_style(text: str, expected: str) -> None:
    assert format_program(text, parser()) == expected
    assert format_program(expected, parser()) == expected


@settings(max_examples=200, deadline=None)
@given(programs)
def test_a_formatted_program_means_the_same_and_stays(text: str) -> None:
    parsed = parser().parse(text)
    assert parsed.problems == ()
    formatted = format_program(text, parser())
    again = parser().parse(formatted)
    assert again.problems == ()
    assert again.statements == parsed.statements
    assert format_program(formatted, parser()) == formatted
    assert formatted.count("#") == text.count("#")


@settings(max_examples=200, deadline=None)
@given(mangled())
def test_a_broken_program_is_formatted_as_far_as_it_parses(text: str) -> None:
    formatted = format_program(text, parser())
    assert parser().parse(formatted).statements == parser().parse(text).statements
    assert format_program(formatted, parser()) == formatted
