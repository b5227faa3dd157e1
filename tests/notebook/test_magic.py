"""The magics in a shell of this process; the language is the stand-in of conftest."""

from types import SimpleNamespace

import pytest

MIME = "application/vnd.vegalite.v5+json"
pytestmark = pytest.mark.usefixtures("stub")


def cell(shell, text):
    return shell.run_cell(text)


def test_answer_is_returned_shown_and_bound(shell, outputs):
    done = cell(shell, "%%aascore --out found\nplot")
    assert done.success
    assert shell.user_ns["found"] is done.result
    bundles = [data for data, _ in outputs if MIME in data]
    assert len(bundles) == 1
    assert set(bundles[0]) == {MIME, "image/png", "text/plain"}


def test_without_a_chart_a_table_is_shown(shell, outputs):
    cell(shell, "%%aascore\nscore")
    (data, _), *rest = outputs
    assert not rest
    assert "source[badnet]" in data["text/plain"]
    assert "<table" in data["text/html"]


def test_one_session_for_all_cells_and_lines(shell):
    cell(shell, "%%aascore\nfirst")
    second = cell(shell, "%aascore second {x} $y").result
    assert second.session.programs == ["first\n", "second {x} $y"]


def test_names_of_the_notebook_are_seen(shell):
    shell.user_ns.update(aardvark=1, _private=2)
    assert cell(shell, "%%aascore\nnames").result.messages == ["saw aardvark"]


def test_quiet_shows_nothing_but_binds(shell, outputs):
    assert cell(shell, "%%aascore --quiet --out found\nplot sweep").result is None
    assert shell.user_ns["found"].charts
    assert not outputs


def test_mistake_shows_the_caret_and_no_frames(shell, capsys):
    assert not cell(shell, "%%aascore\nmistake here").success
    shown = capsys.readouterr().out
    assert shown.splitlines() == [
        'line 1: no stage "mistake"',
        "    mistake here",
        "    ^^^^^^^",
        'did you mean "stage"?',
    ]
    shell.run_line_magic("tb", "")
    frames = capsys.readouterr().out
    assert "Traceback" in frames
    assert "magic.py" in frames
    assert "^^^^^^^" in frames


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--ot x", 'did you mean "--out"?'),
        ("--out", "--out needs a value"),
        ("--out 3x", "needs a Python name"),
        ("--quiet=yes", "takes no value"),
        ("score a on b", "statements start on the second line"),
        ('--out "x', "cannot be read"),
    ],
)
def test_wrong_options_name_the_way_out(shell, capsys, line, message):
    assert not cell(shell, f"%%aascore {line}\nplot").success
    assert message in capsys.readouterr().out


def test_options_may_be_attached_or_apart(shell):
    cell(shell, "%%aascore --out=one\nscore")
    cell(shell, "%%aascore --out two # a comment\nscore")
    assert {"one", "two"} <= set(shell.user_ns)


def test_help_shows_options_and_statements(shell, capsys):
    shell.run_cell("%%aascore?")
    text = capsys.readouterr().out
    for word in ("--out NAME", "--quiet", "stage", "score", "verify", "plot timeline"):
        assert word in text


def test_interrupt_is_one_line_and_ends_the_bar(shell, outputs, capsys):
    done = cell(shell, "%%aascore\ninterrupt")
    assert isinstance(done.error_in_exec, KeyboardInterrupt)
    shown = capsys.readouterr().out
    assert "Traceback" not in shown
    assert "run the cell again to go on" in shown
    assert "stopped" in outputs[-1][0]["text/plain"]


def test_the_bar_of_an_explorer_comes_to_its_end(shell, monkeypatch):
    told = []

    def answered(magics, text, options, progress):
        return SimpleNamespace(shown=[])

    monkeypatch.setattr("jupyter_ext.magic.ProgressBars.close", lambda bars, stopped="": told.append(stopped or "end"))
    monkeypatch.setattr("jupyter_ext.magic.AascoreMagics._result", answered)
    monkeypatch.setattr("jupyter_ext.magic.explore", lambda result, names: told.append("explored"))
    cell(shell, "%%aascore --explore\nscore")
    assert told == ["end", "explored", "end"]


def test_loading_twice_and_unloading(shell):
    cell(shell, "%%aascore\nfirst")
    magic = shell.find_cell_magic("aascore")
    shell.run_line_magic("load_ext", "aadsl")
    shell.extension_manager.reload_extension("aadsl")
    shell.run_line_magic("unload_ext", "aadsl")
    assert shell.find_cell_magic("aascore") is None
    assert shell.find_line_magic("aascore") is None
    for formatter in (shell.display_formatter.ipython_display_formatter, shell.display_formatter.mimebundle_formatter):
        assert not [home for home in formatter.deferred_printers if home[0].startswith(("aadsl", "altair"))]
        assert not [known for known in formatter.type_printers if known.__module__.startswith(("aadsl", "altair"))]
    shell.run_line_magic("load_ext", "aadsl")
    assert shell.find_cell_magic("aascore") is not magic


def test_charts_of_others_are_left_alone(shell):
    import altair as alt

    ours = cell(shell, "%%aascore\nplot").result.charts[0]
    theirs = alt.Chart(alt.InlineData(values=[{"a": 1}])).mark_point().encode(x="a:Q")
    assert MIME in shell.display_formatter.format(ours)[0]
    assert MIME not in shell.display_formatter.format(theirs)[0]


def test_help_says_when_only_the_colors_are_missing(monkeypatch):
    from jupyter_ext import reference

    monkeypatch.setattr(reference, "_has_extension", lambda: False)
    assert "without Node.js. All else works" in reference.reference()
    monkeypatch.setattr(reference, "_has_extension", lambda: True)
    assert "Node.js" not in reference.reference()


def test_format_rewrites_the_cell_and_computes_nothing(shell, outputs, monkeypatch):
    found = []
    monkeypatch.setattr(shell, "set_next_input", lambda text, replace: found.append((text, replace)))
    assert cell(shell, "%%aascore --format --out r\nstage   a=steps[0 : 3]   # three\nscore a   on b").success
    ((text, replaced),) = found
    assert replaced
    assert text.splitlines()[0] == "%%aascore --out r"
    assert "stage a = steps[0:3]" in text
    assert "# three" in text
    assert "r" not in shell.user_ns
    assert outputs == []


def test_format_leaves_what_it_cannot_read(shell, monkeypatch):
    found = []
    monkeypatch.setattr(shell, "set_next_input", lambda text, replace: found.append(text))
    assert cell(shell, "%%aascore --format\nstage = steps[0:3]").success
    assert found == ["%%aascore\nstage = steps[0:3]"]


def test_options_of_a_line_are_told_to_stand_before_a_cell(shell, capsys):
    assert not cell(shell, "%aascore --quiet").success
    assert capsys.readouterr().out.splitlines() == [
        "options belong to cells, %aascore with one percent sign has none",
        "%%aascore --quiet, and the statements below it",
    ]
