"""A notebook's shell in this process, and a stand-in for the language, so that each layer is tested alone."""

from dataclasses import dataclass, field

import pytest

import aadsl
from aadsl.charts import CHARTS
from aadsl.errors import AadslError, Problem, Span
from tests.charts.answers import answer


@dataclass
class Result:
    dataset: object = None
    charts: list = field(default_factory=list)
    plan: str = ""
    messages: list = field(default_factory=list)
    session: object = None


# The displays know answers by the name of their class, so that nothing is imported before one is shown.
Result.__module__ = "aadsl.statements.session"


class Session:
    def __init__(self):
        self.programs = []


def run(text, names, session=None, progress=None):
    """Understands the words below, each of which asks for one thing that a program can do."""
    session.programs.append(text)
    data = answer(behaviors=("backdoor",))
    if "mistake" in text:
        line = text.splitlines()[0]
        problem = Problem('no stage "mistake"', 'did you mean "stage"?', Span(1, 1, 8), line)
        raise AadslError(problem)
    if "interrupt" in text:
        progress("sweep", 3, 10)
        raise KeyboardInterrupt
    if "sweep" in text and progress:
        for done in range(11):
            progress("sweep", done, 10)
    charts = [CHARTS["timeline"]().draw(data)] if "plot" in text else []
    return Result(data, charts, "", [f"saw {name}" for name in ("aardvark", "_private") if name in names], session)


@pytest.fixture
def stub(monkeypatch):
    monkeypatch.setitem(vars(aadsl), "run", run)
    monkeypatch.setitem(vars(aadsl), "Session", Session)


@pytest.fixture
def shell():
    from IPython.core.interactiveshell import InteractiveShell

    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "aadsl")
    yield shell
    shell.run_line_magic("unload_ext", "aadsl")
    InteractiveShell.clear_instance()


@pytest.fixture
def outputs(shell, monkeypatch):
    """Everything that was published, as (mime bundle, arguments)."""
    published = []
    monkeypatch.setattr(shell.display_pub, "publish", lambda data, metadata=None, **kw: published.append((data, kw)))
    return published


@pytest.fixture(scope="session")
def recorded(tmp_path_factory):
    """A real run of 24 steps on real digits."""
    from tests.digits import record

    return record(tmp_path_factory.mktemp("runs") / "digits")


@pytest.fixture(scope="session")
def answered(recorded):
    """A result of the language on the real run, with effects of every step."""
    names = {"study": recorded.study(), "test": (recorded.data[0][:20], recorded.data[1][:20])}
    return aadsl.run(
        "load study\nstage b = steps where tag == 'b'\nbehavior seven = log_likelihood(target=7) on test\n"
        "behavior right = margin on test\nscore b on seven, right",
        names,
    )
