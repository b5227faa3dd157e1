"""The widget: holds what the browser shows, answers what it asks, and leaves a picture for when it is not running."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets as t
import xarray as xr
from IPython.display import display

from aadsl.charts import save
from aadsl.charts.brushing import brushable
from aadsl.charts.bundle import MIME, lab_spec, small_png, summary
from aadsl.charts.theme import specification
from aadsl.charts.words import step_source
from aadsl.core.errors import AadslError
from aadsl.statements import Session
from jupyter_ext.explorer.condition import mistakes, steps_where, suggest
from jupyter_ext.explorer.exact import Asked, ExactAnswer
from jupyter_ext.explorer.examples import ExamplesBeside
from jupyter_ext.explorer.nothing import NO_ANSWER
from jupyter_ext.explorer.payload import header_of, selected
from jupyter_ext.explorer.written import definition, question, selection_text

STATIC = Path(__file__).parent / "static"
# One module for the browser, from files that a person can read.
PARTS = (
    *("dom", "lab", "data", "selection", "colors", "canvas", "timeline", "strips", "brush", "zoom"),
    *("hover", "panel", "steps"),
    *("where", "naming", "exact", "examples", "controls", "links", "explorer"),
)
_LINES = [line.strip() for part in PARTS for line in (STATIC / f"{part}.js").read_text(encoding="utf-8").splitlines()]
SCRIPT = "\n".join(line for line in _LINES if line and not line.startswith("//"))  # every saved explorer holds it
STYLE = (STATIC / "explorer.css").read_text(encoding="utf-8")
VIEW = "application/vnd.jupyter.widget-view+json"
IN_NOTEBOOK = 300_000
"""Bytes that an explorer may take in a saved notebook, with its code and its picture; larger ones leave the picture."""
ANSWERS = 50
"""Exact answers that are kept beside the explorer, the newest."""

NotebookNames = Callable[[], Mapping[str, Any]]


class Explorer(anywidget.AnyWidget):  # type: ignore[misc]
    """An answer to explore by hand. The browser computes the sums; the kernel reads conditions and trains again.

    What the kernel found out says which text it is about (``where``, ``name``, ``exact``; the keys of ``answers`` are
    selections), and the browser shows it beside that text alone.
    """

    _esm = f"{SCRIPT}\nexport default {{ render }};\n"
    _css = STYLE
    _made_by = t.Unicode("aadsl-explorer").tag(sync=True)
    header = t.Dict().tag(sync=True)
    effects = t.Bytes().tag(sync=True)
    columns = t.List(t.Bytes()).tag(sync=True)
    view = t.Dict().tag(sync=True)
    mask = t.Bytes().tag(sync=True)
    where = t.Dict().tag(sync=True)
    name = t.Dict().tag(sync=True)
    exact = t.Dict().tag(sync=True)
    answers = t.Dict().tag(sync=True)

    def __init__(self, dataset: xr.Dataset, study: Any = None, names: NotebookNames = dict) -> None:
        self._dataset, self._study, self._names = dataset, study, names
        # Of its own: the notebook's goes on to another run when it loads one.
        self._session = None if study is None else Session(study=study)
        self._examples = None
        if self._session is not None:
            self._examples = ExamplesBeside(self._session, study, lambda message: self.send(message))
        self._still: Any = None
        self._tried: set[str] = set()  # selections whose exact answers came, or would not by themselves
        self._exact = ExactAnswer(self._tell_exact)
        header, effects, columns = header_of(dataset, study is not None)
        self._stages = {stage["name"]: stage["text"] for stage in header["stages"]}
        self._behaviors = {behavior["name"]: behavior["text"] for behavior in header["behaviors"]}
        view = {
            "start": 0,
            "stop": 0,
            "stage": "",
            "where": "",
            "from": 0,
            "to": header["length"],
            "name": "picked",
            "behaviors": [*self._behaviors][:3],
            "color": "stage",
            "linear": False,
            "kept": [],
            "sort": {"column": "step", "descending": False},
        }
        name = {"text": "picked", "mistake": ""}
        super().__init__(header=header, effects=effects, columns=columns, view=view, name=name)
        self.on_msg(self._on_message)

    @classmethod
    def of(cls, result: Any, names: NotebookNames = dict) -> Explorer:
        """Return the explorer of a result, or of a Dataset alone, which can neither be filtered nor retrained."""
        if isinstance(result, xr.Dataset):
            return cls(result, names=names)
        newest = list(reversed(result.session.answers))
        if not newest:
            raise AadslError(NO_ANSWER)
        answered = next((answer for answer in newest if answer.outline.stepped), newest[0])
        dataset = answered.with_steps(progress=result.progress)
        study = result.session.study
        of_its_run = study is not None and study.trajectory.digest == dataset.attrs.get("trajectory_digest")
        # As it was when it answered: a stage may be another one by now, and what is picked is the answer's.
        return cls(dataset, (answered.study or study) if of_its_run else None, names)

    @property
    def selection(self) -> str:
        """The selected steps in the words of the language; nothing where nothing is selected."""
        return selection_text(self.view, self.header["length"], self._stages)

    @property
    def members(self) -> np.ndarray:
        """Which steps are selected: (steps,) of bool."""
        length, stage, where = self.header["length"], self.view["stage"], self.view["where"].strip()
        masks = []
        if stage in self._stages:
            masks.append(self._dataset["member"].sel(stage=stage).values.astype(bool))
        if where and self.where.get("text") == where:
            masks.append(np.frombuffer(self.mask, np.uint8).astype(bool))
        elif where:
            masks.append(self._steps_where(where)[0])
        return selected(self.view, np.all(masks, axis=0) if masks else None, length)

    def _ipython_display_(self, **_: Any) -> None:
        picture = self.picture()
        self.header = {**self.header, "keep": self.saved_bytes + _bytes(picture) <= IN_NOTEBOOK}
        bundle = {VIEW: {"version_major": 2, "version_minor": 0, "model_id": self.model_id}}
        display({**bundle, "text/plain": "[explorer of training steps]"}, raw=True)
        # The picture is an output of its own: where no widget runs, in a page or a reopened notebook, it is what shows.
        self._still = display(picture, raw=True, metadata=_described(picture), display_id=True)

    @property
    def saved_bytes(self) -> int:
        """About how many bytes a notebook takes that keeps the explorer, without its picture."""
        mask: int = self.header["length"]
        numbers = len(self.effects) + sum(map(len, self.columns)) + mask
        return len(SCRIPT) + len(STYLE) + len(json.dumps(self.header)) + numbers * 4 // 3

    def picture(self) -> dict[str, Any]:
        """Return :meth:`chart` as a mime bundle, small enough to be kept beside the explorer."""
        spec = specification(self.chart())
        return {MIME: lab_spec(spec), "image/png": small_png(spec, scale=1.0), "text/plain": summary(spec)}

    def chart(self) -> Any:
        """Return what is shown now as a timeline that can be brushed without a kernel.

        A selection that is no stretch of steps is drawn as a stage.
        """
        view, shown = self.view, self._dataset.sel(behavior=self.view["behaviors"])
        shown = shown.assign_attrs(answered_by=step_source(self._dataset))  # not that of the stages
        if view["where"].strip() or view["stage"]:
            member = xr.DataArray(self.members[None], {"stage": [self.selection]}, ("stage", "step"))
            shown = shown.drop_dims([name for name in ("stage", "example") if name in shown.dims]).assign(member=member)
        return brushable(shown, self.selection, view["start"], view["stop"])

    def save(self, path: str | Path) -> Path:
        """Write :meth:`chart` to ``path``: a page that can be brushed (.html), or a picture (.svg, .png).

        Raises:
            AadslError: another ending, or the file cannot be written there.
        """
        return save(self.chart(), path)

    def _on_message(self, _: Any, message: dict[str, Any], __: Any) -> None:
        handlers = {
            "where": self._on_where,
            "name": self._on_name,
            "complete": self._on_complete,
            "program": self._on_program,
            "rest": self._on_rest,
            "exact": self._on_exact,
            "examples": self._on_examples,
            "step": self._on_step,
            "cancel": self._on_cancel,
            "still": self._on_still,
        }
        if message.get("kind") in handlers:
            # With the view: it may be on its way still, behind this.
            if "view" in message:
                self.view = message["view"]
            handlers[message["kind"]](message)

    def _on_where(self, message: dict[str, Any]) -> None:
        text = message["text"].strip()
        allowed, mistake = self._steps_where(text)
        with self.hold_sync():
            self.mask, self.where = allowed.astype(np.uint8).tobytes(), {"text": text, "mistake": mistake}

    def _steps_where(self, text: str) -> tuple[np.ndarray, str]:
        """Return which steps a condition allows, and what is wrong with it."""
        length = self.header["length"]
        if not text:
            return np.ones(length, dtype=bool), ""
        try:
            if self._session is None:
                hint = "explore a result of %%aascore or aadsl.run, while its run is the one that is loaded"
                raise AadslError("conditions need the run", hint=hint)
            return steps_where(text, self._names(), self._session), ""
        except AadslError as error:
            return np.zeros(length, dtype=bool), mistakes(error, text)

    def _on_name(self, message: dict[str, Any]) -> None:
        mistake = ""
        try:
            definition(message["text"], "steps")
        except AadslError as error:
            mistake = "\n".join(filter(None, (error.problems[0].message, error.problems[0].hint)))
        self.name = {"text": message["text"], "mistake": mistake}

    def _on_complete(self, message: dict[str, Any]) -> None:
        start, items = suggest(message["text"], message["cursor"], self._names(), self._session)
        self.send({"kind": "completions", "id": message["id"], "start": start, "items": items})

    def _on_program(self, message: dict[str, Any]) -> None:
        try:
            program = question(self.view["name"], self.selection, self._shown_behaviors(), self.header["under"])
            self.send({"kind": "program", "id": message["id"], "text": program, "mistake": ""})
        except AadslError as error:
            self.send({"kind": "program", "id": message["id"], "text": "", "mistake": error.problems[0].message})

    def _on_rest(self, _: dict[str, Any]) -> None:
        """The selection rests: its exact answer follows by itself, where that is quick; then those that were kept."""
        if not self.members.any():
            self._exact.cancel(by_hand=False)
        elif self._unanswered(self.selection):
            self._start(self.selection, by_hand=False)
            return
        self._go_on()

    def _on_exact(self, _: dict[str, Any]) -> None:
        if self.members.any():
            self._start(self.selection, by_hand=True)

    def _on_examples(self, _: dict[str, Any]) -> None:
        if self._examples is not None and self.members.any():
            self._examples.worst(self.selection, self.members)

    def _on_step(self, message: dict[str, Any]) -> None:
        if self._examples is not None:
            self._examples.first(int(message["step"]))

    def _go_on(self) -> None:
        kept = (selection_text(one, self.header["length"], self._stages) for one in self.view["kept"])
        following = next((text for text in kept if text not in self._tried and self._unanswered(text)), "")
        if following:
            self._start(following, by_hand=False)

    def _unanswered(self, selection: str) -> bool:
        return bool(set(self.view["behaviors"]) - set(self.answers.get(selection, {}).get("effects", {})))

    def _start(self, selection: str, by_hand: bool) -> None:
        behaviors = tuple(self._shown_behaviors())
        if self._study is not None and behaviors:
            asked = Asked(selection, behaviors, self.header["under"], self._study.branch(), dict(self._names()))
            self._exact.start(asked, by_hand)

    def _shown_behaviors(self) -> list[str]:
        return [text for name in self.view["behaviors"] if (text := self._behaviors[name])]

    def _on_cancel(self, _: dict[str, Any]) -> None:
        self._exact.cancel()

    def _tell_exact(self, state: dict[str, Any]) -> None:
        if state["state"] == "done":
            others = [(key, known) for key, known in self.answers.items() if key != state["key"]]
            self.answers = dict([*others, (state["key"], state)][-ANSWERS:])
        self.exact = state
        if state["state"] in ("done", "offered", "stopped"):
            self._tried.add(state["key"])
            self._go_on()

    def _on_still(self, _: dict[str, Any]) -> None:
        if self._still is not None and (self.members.any() or not self.selection):
            picture = self.picture()
            self._still.update(picture, raw=True, metadata=_described(picture))


def _described(picture: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of a picture: its words, for pages and for those who cannot see it."""
    return {"image/png": {"alt": picture["text/plain"]}}


def _bytes(picture: dict[str, Any]) -> int:
    """Return how many bytes a notebook takes for a picture."""
    return len(json.dumps(picture[MIME])) + len(picture["image/png"]) * 4 // 3
