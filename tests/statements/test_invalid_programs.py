"""What is said about programs as a user would get them wrong: ``invalid.txt``."""

from __future__ import annotations

import pytest

from aadsl.core.errors import AadslError
from aadsl.statements import run
from tests.statements.snapshots import cases, message_of, prepared

CASES = cases()


def test_there_are_enough_of_them() -> None:
    programs = [program for program, _ in CASES]
    assert len(set(programs)) == len(programs) >= 80


@pytest.mark.parametrize(("program", "message"), CASES, ids=[program.split("\n")[-1][:60] for program, _ in CASES])
def test_a_mistake_is_named_with_its_place_and_the_way_out(program: str, message: str) -> None:
    assert message_of(program) == message
    assert message.startswith("line ")


@pytest.mark.parametrize("program", [program for program, _ in CASES])
def test_the_same_is_in_fields_and_nothing_changes(program: str) -> None:
    session, names = prepared(program)
    before = None if session.study is None else (dict(session.study.stages), dict(session.study.behaviors))
    with pytest.raises(AadslError) as caught:
        run(program, names, session)
    for problem in caught.value.problems:
        assert problem.message
        assert problem.span is not None
        line = program.split("\n")[problem.span.line - 1].rstrip()
        assert problem.source_line == line
        assert 1 <= problem.span.column < problem.span.end_column <= len(line) + 2
    assert session.answers == []
    assert before == (None if session.study is None else (session.study.stages, session.study.behaviors))


def test_all_mistakes_of_a_program_are_found_at_once() -> None:
    program = "\n".join(
        [
            "stage a = steps where taag == 1",
            "stag b = steps",
            "behavior c = margn on tset",
            "score a, b, d on c, e",
            'plot timelin of c by "a"',
        ]
    )
    session, names = prepared(program)
    with pytest.raises(AadslError) as caught:
        run(program, names, session)
    found = [(problem.span.line, problem.message) for problem in caught.value.problems if problem.span]
    assert found == [
        (1, 'no coordinate "taag" on this trajectory'),
        (2, 'no statement "stag"'),
        (3, 'no behavior metric "margn"'),
        (3, 'no Python name "tset"'),
        (4, 'no stage "b"'),
        (4, 'no stage "d"'),
        (4, 'no behavior "e"'),
        (5, 'unexpected "a"'),
    ]
