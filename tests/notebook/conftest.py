"""A notebook's shell in this process, and a stand-in for the language, so that each layer is tested alone."""

import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from filelock import FileLock

import aadsl
import aadsl.statements
from aadsl.charts import CHARTS
from aadsl.core.errors import AadslError, Problem, Span
from tests.charts.answers import answer
from tests.notebook import lab

ROOT = Path(__file__).parents[2]
LAB = ROOT / "jupyter_ext" / "lab"
EXTENSION = ROOT / "jupyter_ext" / "labextension"


@dataclass
class Result:
    dataset: object = None
    charts: list = field(default_factory=list)
    plan: str = ""
    messages: list = field(default_factory=list)
    session: object = None
    reports: list = field(default_factory=list)

    @property
    def shown(self):
        answered = SimpleNamespace(dataset=self.dataset, asked=None, charts=dict(enumerate(self.charts)))
        return [*self.messages, *self.reports, answered, *self.charts]


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
    monkeypatch.setattr(aadsl.statements, "run", run)
    monkeypatch.setattr(aadsl.statements, "Session", Session)


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


@pytest.fixture(scope="session")
def alone(tmp_path_factory):
    """What one process of the tests prepares for all, such as a browser, it prepares while the others wait."""
    return FileLock(tmp_path_factory.getbasetemp().parent / "preparing.lock")


# One server and one browser for all files of browser tests: tests/conftest.py lets one process have them all.
@pytest.fixture(scope="session")
def page(alone):
    with alone:
        executable = lab.chromium()
    if not executable:
        pytest.skip("there is no Chromium here, and it cannot be installed (apt-get as root)")
    with lab.browser_page(executable) as page:
        yield page
        assert page.aborted == [], "something asked for the internet"


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("notebooks")


@pytest.fixture(scope="session")
def extension(alone):
    """What is in the way of the JupyterLab extension, an empty string where it is built."""
    with alone:
        return subprocess.run([sys.executable, LAB / "build.py"], capture_output=True, text=True).stderr.strip()


@pytest.fixture(scope="session")
def address(root, extension, tmp_path_factory):
    data = tmp_path_factory.mktemp("jupyter")
    if not extension:
        shutil.copytree(EXTENSION, data / "jupyter_data_dir" / "labextensions" / "aadsl")
    with lab.running_lab(root, data) as address:
        yield address


@pytest.fixture
def wrong(page):
    """What ran that should not have: dialogs, and errors of scripts."""
    seen = []

    def dialog(dialog):
        if dialog.type == "beforeunload":  # the page before has changes that nobody saved
            dialog.accept()
            return
        seen.append(dialog.message)
        dialog.dismiss()

    def failed(error):
        seen.append(str(error))

    page.on("dialog", dialog)
    page.on("pageerror", failed)
    yield seen
    page.remove_listener("dialog", dialog)
    page.remove_listener("pageerror", failed)


@pytest.fixture
def notebook(page, address, root):
    """Write cells to a notebook and open it."""

    def opened(name, *cells):
        book = nbformat.v4.new_notebook(metadata=lab.METADATA)
        book.cells = [nbformat.v4.new_code_cell(source) for source in cells]
        nbformat.write(book, root / f"{name}.ipynb")
        return lab.Notebook(page, address).open(f"{name}.ipynb")

    yield opened
    lab.end_kernels(address)
