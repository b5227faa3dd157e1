"""The widget: holds what the browser shows, answers what it asks, and leaves a picture for when it is not running."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets as t
import xarray as xr
from IPython.display import display

from aadsl.charts import CHARTS, mimebundle
from aadsl.charts.words import step_source
from aadsl.core.errors import AadslError
from aadsl.statements import Session
from jupyter_ext.explorer.condition import mistakes, steps_where, suggest
from jupyter_ext.explorer.exact import ExactAnswer
from jupyter_ext.explorer.nothing import NO_ANSWER
from jupyter_ext.explorer.payload import header_of, selected, selection_text

STATIC = Path(__file__).parent / "static"
# One module for the browser, from files that a person can read.
PARTS = ("dom", "lab", "data", "colors", "timeline", "brush", "hover", "panel", "where", "explorer")
SCRIPT = "\n".join((STATIC / f"{part}.js").read_text(encoding="utf-8") for part in PARTS)
VIEW = "application/vnd.jupyter.widget-view+json"

NotebookNames = Callable[[], Mapping[str, Any]]


class Explorer(anywidget.AnyWidget):  # type: ignore[misc]
    """An answer to explore by hand. The browser computes the sums; the kernel reads conditions and trains again."""

    _esm = f"{SCRIPT}\nexport default {{ render }};\n"
    _css = (STATIC / "explorer.css").read_text(encoding="utf-8")
    _made_by = t.Unicode("aadsl-explorer").tag(sync=True)
    header = t.Dict().tag(sync=True)
    effects = t.Bytes().tag(sync=True)
    columns = t.List(t.Bytes()).tag(sync=True)
    view = t.Dict().tag(sync=True)
    mask = t.Bytes().tag(sync=True)
    where = t.Dict().tag(sync=True)
    exact = t.Dict().tag(sync=True)

    def __init__(self, dataset: xr.Dataset, study: Any = None, names: NotebookNames = dict) -> None:
        self._dataset, self._study, self._names = dataset, study, names
        # Of its own: the notebook's goes on to another run when it loads one.
        self._session = None if study is None else Session(study=study)
        self._still: Any = None
        self._exact = ExactAnswer(self._tell_exact)
        header, effects, columns = header_of(dataset, can_retrain=study is not None)
        view = {
            "start": 0,
            "stop": header["length"],
            "from": 0,
            "to": header["length"],
            "where": "",
            "name": "picked",
            "behaviors": [behavior["name"] for behavior in header["behaviors"]][:3],
            "color": "stage",
            "kept": None,
            "sort": {"column": "step", "descending": False},
        }
        super().__init__(header=header, effects=effects, columns=columns, view=view)
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
        return cls(dataset, study if of_its_run else None, names)

    @property
    def selection(self) -> str:
        """The selected steps in the words of the language."""
        return selection_text(self.view, self.header["length"])

    @property
    def members(self) -> np.ndarray:
        """Which steps are selected: (steps,) of bool."""
        mask = np.frombuffer(self.mask, np.uint8).astype(bool) if self.view["where"].strip() and self.mask else None
        return selected(self.view, mask, self.header["length"])

    def _ipython_display_(self, **_: Any) -> None:
        bundle = {VIEW: {"version_major": 2, "version_minor": 0, "model_id": self.model_id}}
        display({**bundle, "text/plain": "[explorer of training steps]"}, raw=True)
        # The picture is an output of its own: where no widget runs, in a page or a reopened notebook, it is what shows.
        self._still = display(self.picture(), raw=True, display_id=True)

    def picture(self) -> dict[str, Any]:
        """Return the timeline of what is shown now, the selected steps as a stage, as a chart's mime bundle."""
        member = xr.DataArray(self.members[None], {"stage": [self.selection]}, ("stage", "step"))
        alone = self._dataset.drop_dims([name for name in ("stage", "example") if name in self._dataset.dims])
        alone = alone.assign_attrs(answered_by=step_source(self._dataset))  # not that of the stages
        chosen = alone.sel(behavior=self.view["behaviors"]).assign(member=member)
        return mimebundle(CHARTS["timeline"]().draw(chosen))

    def _on_message(self, _: Any, message: dict[str, Any], __: Any) -> None:
        handlers = {
            "where": self._on_where,
            "complete": self._on_complete,
            "exact": self._on_exact,
            "cancel": self._on_cancel,
            "still": self._on_still,
        }
        if message.get("kind") in handlers:
            handlers[message["kind"]](message)

    def _on_where(self, message: dict[str, Any]) -> None:
        text, length, mistake = message["text"], self.header["length"], ""
        try:
            allowed = self._steps_where(text) if text.strip() else np.ones(length, dtype=bool)
        except AadslError as error:
            allowed, mistake = np.zeros(length, dtype=bool), mistakes(error, text)
        with self.hold_sync():
            self.mask, self.where = allowed.astype(np.uint8).tobytes(), {"mistake": mistake}

    def _steps_where(self, text: str) -> np.ndarray:
        if self._session is None:
            hint = "explore a result of %%aascore or aadsl.run, while its run is the one that is loaded"
            raise AadslError("conditions need the run", hint=hint)
        return steps_where(text, self._names(), self._session)

    def _on_complete(self, message: dict[str, Any]) -> None:
        start, items = suggest(message["text"], message["cursor"], self._names(), self._session)
        self.send({"kind": "completions", "id": message["id"], "start": start, "items": items})

    def _on_exact(self, _: dict[str, Any]) -> None:
        if self._study is not None:
            under = self.header["under"]
            self._exact.start(self.selection, self.view["behaviors"], under, self._study, dict(self._names()))

    def _on_cancel(self, _: dict[str, Any]) -> None:
        self._exact.cancel()

    def _tell_exact(self, state: dict[str, Any]) -> None:
        self.exact = state

    def _on_still(self, _: dict[str, Any]) -> None:
        if self._still is not None and self.members.any():
            self._still.update(self.picture(), raw=True)
