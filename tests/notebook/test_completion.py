import pytest

from jupyter_ext.completion import propose
from jupyter_ext.explorer.condition import suggest
from tests.statements.snapshots import PRELUDE  # noqa: F401  (a program the proposals are checked against)


@pytest.fixture
def session():
    from aadsl.statements import Session
    from tests.statements.fakes import FakeStudy

    return Session(study=FakeStudy())


def offered(text, session):
    cursor = text.index("|")
    found = propose(text.replace("|", ""), cursor, lambda: session, dict)
    return None if found is None else (found[0], [item for item, _ in found[1]])


def test_options_are_offered_on_the_first_line_alone(session):
    assert offered("%%aascore --|", session) == (
        "--",
        ["--out", "--explore", "--explain", "--format", "--quiet", "--device", "--within"],
    )
    assert offered("%%aascore --out x --ex|", session) == ("--ex", ["--explore", "--explain"])
    assert offered("%%aascore --quiet --qu|", session) == ("--qu", [])


def test_the_language_is_offered_in_the_cell(session):
    fragment, items = offered("%%aascore\nstage x = steps where ta|", session)
    assert (fragment, items[0]) == ("ta", "tag")
    assert offered('%%aascore --out r\nstage x = steps where tag == "ba|', session) == ('"ba', ['"badnet"'])
    assert "score" in offered("%%aascore\nsc|\nplot", session)[1]


def test_lines_are_completed_too(session):
    assert offered("x = 1\n%aascore sc|", session) == ("sc", ["score"])
    assert offered("%aascore stage x = steps where lo|", session)[1] == ["loss"]


def test_other_cells_are_left_alone(session):
    assert offered("import o|", session) is None
    assert offered("%%aascores\nst|", session) is None
    assert offered("%timeit ao|", session) is None


def test_conditions_count_from_their_own_start(session):
    start, items = suggest("lr < 1 and ta", 13, {}, session)
    assert start == 11
    assert items[0]["text"] == "tag"


def test_the_shell_offers_ours_and_no_python(shell):
    from IPython.core.completer import provisionalcompleter

    with provisionalcompleter():
        text = "%%aascore\nsc"
        assert [c.text for c in shell.Completer.completions(text, len(text))] == ["score"]
        text = "%%aascore\nstage x = zzz"
        assert [c.text for c in shell.Completer.completions(text, len(text))] in ([], ["zzz"])
        text = "prin"
        assert "print" in [c.text for c in shell.Completer.completions(text, len(text))]
    shell.run_line_magic("unload_ext", "aadsl")
    assert not shell.Completer.custom_matchers
    shell.run_line_magic("load_ext", "aadsl")
    shell.run_line_magic("load_ext", "aadsl")
    assert len(shell.Completer.custom_matchers) == 1
