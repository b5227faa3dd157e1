"""Whatever a run holds and names are called, all that is said of it can be seen: no terminal and no page obeys it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

import aadsl
from aadsl.__main__ import main
from aadsl.core.texts import LINE, visible
from aadsl.statements.example_listing import ExampleListing
from aadsl.statements.report import report_of
from jupyter_ext.answers import answer_html, answer_text
from jupyter_ext.html import preformatted
from jupyter_ext.progress import ProgressBars
from jupyter_ext.views import behavior_html, examples_html, study_html
from tests.charts.test_hostile_texts import HOSTILE
from tests.trajectory.loops import DATA, mean_loss, sgd

TEXTS = [text for text in HOSTILE if "\0" not in text]
ASKED = """load study
show
stages origin by tag
show stages
score origin on all
rank steps on all top 3
examples of origin[constructor], steps[0:9] on all top 3
explain score origin on all
verify trajectory"""
ESCAPE = "\x1b]0;mine\x07\x9b31m\u202e"


class Texted(Dataset[Any]):
    """Examples with a text each."""

    def __len__(self) -> int:
        return len(DATA)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return *DATA[index], TEXTS[index % len(TEXTS)]


class Net(nn.Sequential):
    """Its parts, and the class itself, are called anything."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        for name, part in {
            "<img src=x>": nn.Linear(6, 5),
            f"a{ESCAPE}": nn.Tanh(),
            f"b{ESCAPE}": nn.Linear(5, 3),
        }.items():
            self.add_module(name, part)


Net.__qualname__ = Net.__name__ = f"<i>Net{ESCAPE}"


def metric(model: nn.Module, examples: Any) -> torch.Tensor:
    return torch.log_softmax(model(examples[0]), 1)[:, 0]


metric.__name__ = f"metric{ESCAPE}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs") / f"<img src=x onerror=alert(1)>{ESCAPE}"
    net = Net()
    optimizer = sgd(net)
    with aadsl.Recorder(place, net, optimizer, Texted()) as recorder:
        for t, text in enumerate(TEXTS):
            rows = range(2 * t, 2 * t + 4)
            optimizer.zero_grad()
            mean_loss(net, DATA[rows]).backward()
            recorder.batch(
                indices=rows, tag=text, self=t, **{"f<img>": text, "a\u2028\u202eb": [text] * 4, "a\x9bb": t}
            )
            optimizer.step()
            if t == 5:
                recorder.phase(ESCAPE)
    return place


@pytest.fixture(scope="module")
def asked(folder: Path) -> Any:
    """What a program gave that asked about all of it."""
    study = aadsl.Study(aadsl.open_trajectory(folder), model=Net(), loss=mean_loss, data=Texted(), device="cpu")
    for t, text in enumerate(TEXTS):
        study.stage(text, [t])
    for text in TEXTS[:4]:
        study.behavior(text, metric, on=DATA)
    study.behavior("all", "log_likelihood", on=DATA)
    return aadsl.run(ASKED, {"study": study})


def mistake(study: Any, program: str) -> str:
    with pytest.raises(aadsl.AadslError) as caught:
        aadsl.run(f"load study\n{program}", {"study": study})
    return str(caught.value)


def training_examples(asked: Any) -> ExampleListing:
    return next(part for part in asked.shown if isinstance(part, ExampleListing))


def progress(_: Any) -> ProgressBars:
    bars = ProgressBars(print)
    for text in TEXTS:
        bars(text, 1, 2)
    bars.stopped = ESCAPE
    return bars


NO_STAGES = "\n".join(f"score `{text}!` on all" for text in TEXTS if not {"`", "\n", "\u2028"} & set(text))
SAID: dict[str, Callable[[Any], Any]] = {
    "a trajectory": lambda asked: repr(asked.study.trajectory),
    "a study": lambda asked: repr(asked.study),
    "behaviors": lambda asked: "\n".join(map(repr, asked.study.behaviors.values())),
    "a session": lambda asked: repr(asked.session),
    "a result": lambda asked: f"{asked!r}\n{asked}",
    "what a cell shows": lambda asked: "\n".join(part for part in asked.shown if isinstance(part, str)),
    "an answer": lambda asked: answer_text(asked.asked[0].dataset),
    "training examples": lambda asked: training_examples(asked),
    "verification": lambda asked: asked.reports[0],
    "progress": progress,
    "names that nothing has": lambda asked: mistake(asked.study, NO_STAGES),
    "what is no value": lambda asked: mistake(asked.study, "stage a = steps where tag == 1 or `f<img>` == 2"),
}
PAGES: dict[str, Callable[[Any], str]] = {
    "a study": lambda asked: study_html(asked.study),
    "behaviors": lambda asked: "".join(map(behavior_html, asked.study.behaviors.values())),
    "what a cell shows": lambda asked: "".join(preformatted(part) for part in asked.shown if isinstance(part, str)),
    "an answer": lambda asked: answer_html(asked.asked[0].dataset),
    "training examples": lambda asked: examples_html(training_examples(asked)),
    "verification": lambda asked: asked.reports[0]._repr_html_(),
    "progress": lambda asked: progress(asked)._repr_html_(),
    "a report": lambda asked: (
        replace(report_of(asked.asked[0]), charts=()).html().partition("<body>")[2].partition("<script")[0]
    ),
}


class Tags(HTMLParser):
    """Collects what a page would do, where all that it should do is to show."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.active: list[Any] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        names = [name for name, _ in attrs if name.startswith("on") or name in ("src", "href", "xlink:href")]
        if names or tag in ("i", "img", "script"):
            self.active.append((tag, attrs))


def test_a_page_that_does_something_is_told_from_others() -> None:
    assert Tags("<p title=x>a</p>").active == [] and len(Tags('<svg onload="x"><img src=x>').active) == 2


@pytest.mark.parametrize("what", SAID)
def test_what_is_said(what: str, asked: Any) -> None:
    said = str(SAID[what](asked))
    assert visible(said) == said
    assert 0 < max(map(len, said.split("\n"))) < 2 * LINE
    assert "alert(1)" in said or "␛" in said


@pytest.mark.parametrize("what", PAGES)
def test_what_is_on_pages(what: str, asked: Any) -> None:
    page = PAGES[what](asked)
    assert visible(page) == page
    assert Tags(page).active == []
    assert "&lt;" in page


@pytest.mark.parametrize("command", ["info", "verify"])
def test_what_is_in_a_terminal(command: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, str(folder)]) == 0
    assert main([command, f"{folder}{ESCAPE}"]) == 1
    printed = capsys.readouterr()
    for said in (printed.out, printed.err):
        assert "␛" in said and visible(said) == said


def test_a_long_line_of_a_program_is_told_around_the_mistake(asked: Any) -> None:
    said = mistake(asked.study, f"stage a = steps where {'step == 1 or ' * 500} nothing == 1 {'or step == 2' * 500}")
    _, line, carets = said.split("\n")[:3]
    assert len(line) < 500 and line[carets.index("^") : carets.rindex("^") + 1] == "nothing"
