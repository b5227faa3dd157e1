"""The kernel's half of the explorer: what it sends, what it answers. The browser's half is tested in a browser."""

import base64
import json
import re
import threading

import numpy as np
import pytest
import torch

import aadsl
from aadsl.charts.bundle import MIME
from aadsl.charts.compression import compression
from aadsl.core.errors import AadslError
from aadsl.core.exclusive import WAITING, turn
from aadsl.statements.session import Answered
from aadsl.statements.table import parser
from aadsl.study.cache import EffectCache
from aadsl.study.entries import EntryStore
from jupyter_ext.explorer import explore
from jupyter_ext.explorer.payload import compact, header_of
from jupyter_ext.explorer.widget import PARTS, STATIC, VIEW
from jupyter_ext.explorer.written import equals, reference
from tests.charts.answers import answer
from tests.charts.test_compression import with_outlier
from tests.charts.test_hostile_texts import HOSTILE
from tests.digits import record
from tests.notebook.lab import LIMIT

NO_GRADIENT = "behavior rate = accuracy on test\n"  # so the effects of single steps cannot be swept


def columns_of(header, stored):
    """Return each column by its name: how it is described, and its numbers."""
    return {
        column["name"]: (column, np.frombuffer(raw, column["type"]))
        for column, raw in zip(header["columns"], stored, strict=False)  # the last ones are the stages' members
    }


def select(explorer, start=0, stop=0, where="", stage=""):
    explorer.view = {**explorer.view, "start": start, "stop": stop, "where": where, "stage": stage}
    explorer._on_message(None, {"kind": "where", "text": where}, [])


def test_effects_and_columns_arrive_as_numbers():
    data = answer(steps=50)
    header, effects, columns = header_of(data, can_retrain=False)
    np.testing.assert_array_equal(np.frombuffer(effects, header["type"]).reshape(2, 50), data["step_effect"].values.T)
    by_name = columns_of(header, columns)
    column, codes = by_name["tag"]
    assert [column["categories"][int(code)] for code in codes] == data["tag"].values.tolist()
    np.testing.assert_array_equal(by_name["lr"][1], data["lr"].values)
    assert "momentum" not in by_name  # the same at every step
    column, codes = by_name["stage"]
    assert {column["categories"][int(codes[t])] for t in (0, 26, 49)} == {"warmup", "poisoned", "no stage"}
    bits = np.unpackbits(np.frombuffer(columns[-1], np.uint8).reshape(4, -1), axis=1, count=50, bitorder="little")
    np.testing.assert_array_equal(bits, data["member"].values)
    assert [stage["text"] for stage in header["stages"]] == data["stage"].values.tolist()


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        (np.array([1.5, np.nan, -np.inf]), "<f4"),
        (np.array([0.1, 1.0]), "<f8"),
        (np.array([-1, 100]), "|i1"),
        (np.array([200]), "<i2"),
        (np.array([2**40, 3]), "<f8"),
        (np.array([2**63], dtype=np.uint64), "<f8"),
    ],
)
def test_numbers_take_the_least_place_that_keeps_them(values, type_):
    assert compact(values).dtype.str == type_
    np.testing.assert_array_equal(compact(values).astype(values.dtype), values)


@pytest.mark.parametrize(("given", "under"), [("skip()", ""), ("restart()", " under restart()")])
def test_another_question_is_asked_under_the_same_intervention(given, under):
    assert header_of(answer(steps=50).assign_attrs(intervention=given), False)[0]["under"] == under


def test_the_browser_learns_how_far_to_trust_the_steps_and_why():
    first, second = header_of(answer(steps=50, trust=True), False)[0]["behaviors"]
    assert (first["trust"], first["reason"], second["trust"]) == ("low", "steps differ", "medium")
    assert not {"trust", "reason"} & set(header_of(answer(steps=50), False)[0]["behaviors"][0])


def test_the_browser_squeezes_an_axis_by_the_rule_of_the_charts():
    data = with_outlier(1000)
    squeezed = header_of(data, False)[0]["behaviors"][0]["squeezed"]
    known = compression(data["step_effect"].values[:, 0])
    assert (squeezed["constant"], squeezed["ticks"]) == (known.constant, known.ticks)
    assert "logarithmic away from zero" in squeezed["words"]
    assert header_of(answer(), False)[0]["behaviors"][0]["squeezed"] is None


def test_the_picture_does_not_take_the_source_of_the_stages_for_that_of_the_steps():
    shown = explore(answer(exact=4, trust=True)).picture()["text/plain"]
    assert "Single steps are estimated" in shown and "exact" not in shown
    assert "low trust" in shown and "steps differ" in shown


def test_what_only_a_replay_needs_is_not_shown():
    data = answer(steps=50)
    data = data.assign_coords(phase_boundary=("step", np.arange(50) % 2), training=("step", np.arange(50) > 3))
    names = [column["name"] for column in header_of(data, can_retrain=False)[0]["columns"]]
    assert names == ["stage", "phase", "tag", "epoch", "loss", "lr"]


def test_missing_names_and_numbers_are_marked():
    data = answer(steps=50)
    tag = data["tag"].values.astype(object)
    tag[3] = ""
    data = data.assign_coords(
        tag=("step", tag),
        loss=(
            "step",
            np.r_[
                np.nan,
                np.ones(49),
            ],
        ),
    )
    header, _, columns = header_of(data, can_retrain=False)
    by_name = columns_of(header, columns)
    assert by_name["tag"][1][3] == -1
    assert np.isnan(by_name["loss"][1][0])


@pytest.mark.parametrize(
    ("view", "text"),
    [
        ((0, 0, "", ""), ""),
        ((0, 24, "", ""), "steps"),
        ((3, 9, "", ""), "steps[3:9]"),
        ((0, 24, " loss < 2.2 ", ""), "steps where loss < 2.2"),
        ((0, 0, "loss < 2.2", ""), "steps where loss < 2.2"),
        ((3, 24, 'tag == "b"', ""), 'steps[3:24] where tag == "b"'),
        ((0, 0, "", "b"), "b"),
        ((3, 9, "", "b"), "b and steps[3:9]"),
        ((0, 0, "loss < 2.2", "b"), "b where loss < 2.2"),
        ((3, 24, "loss < 2.2", "b"), "(b and steps[3:24]) where loss < 2.2"),
    ],
)
def test_the_selection_is_said_in_the_language(answered, view, text):
    explorer = explore(answered)
    select(explorer, *view)
    assert explorer.selection == text
    if not text:
        assert not explorer.members.any()
        return
    aadsl.run(f"stage picked = {text}", session=answered.session)
    members = answered.session.study.stages["picked"].values
    np.testing.assert_array_equal(explorer.members, members)


def test_it_opens_with_nothing_selected(answered):
    explorer = explore(answered)
    assert explorer.selection == "" and not explorer.members.any()
    spec = str(explorer.picture()["application/vnd.vegalite.v5+json"])
    assert "'b'" in spec  # the picture shows the answer's own stages
    explorer._on_message(None, {"kind": "exact"}, [])
    explorer._on_message(None, {"kind": "rest"}, [])
    explorer._exact.wait(LIMIT)
    assert explorer.exact == {}


@pytest.mark.parametrize("text", HOSTILE)
def test_whatever_a_stage_is_called_it_is_written_as_that_or_not_at_all(text):
    for name in (text, f"source[{text}]"):
        written = reference(name)
        broken = {"\n", "\u2028"} & set(text)
        assert bool(written) == (not broken)
        assert not written or _named(f"score {written} on x").stages[0].text == name
    condition = equals("tag", text)
    assert not condition or _named(f"stage x = steps where {condition}").selection.condition.parts[2].value == text


def _named(program):
    parsed = parser().parse(program)
    assert not parsed.problems
    (only,) = parsed.statements
    return only


@pytest.mark.parametrize(
    "name",
    ["", "a b", "steps", "x = steps\nload y", "a = steps #", "stage", "score b on x\nstage a", "`a", "a`b", "1a"],
)
def test_a_name_that_is_none_is_put_into_no_cell(answered, name):
    explorer, sent = explore(answered), []
    explorer.send = sent.append
    select(explorer, 3, 9)
    explorer._on_message(None, {"kind": "name", "text": name}, [])
    assert explorer.name["text"] == name and "`my stage`" in explorer.name["mistake"]
    explorer._on_message(None, {"kind": "program", "id": 1, "view": {**explorer.view, "name": name}}, [])
    assert sent == [{"kind": "program", "id": 1, "text": "", "mistake": sent[0]["mistake"]}] and sent[0]["mistake"]


@pytest.mark.parametrize("name", ["picked", "`my stage`", "größe", " spaced "])
def test_a_new_cell_asks_for_the_selection(answered, name):
    explorer, sent = explore(answered), []
    explorer.send = sent.append
    select(explorer, 3, 9)
    explorer._on_message(None, {"kind": "name", "text": name}, [])
    assert explorer.name == {"text": name, "mistake": ""}
    explorer._on_message(None, {"kind": "program", "id": 1, "view": {**explorer.view, "name": name}}, [])
    assert sent[0]["text"] == f"stage {name.strip()} = steps[3:9]\nscore {name.strip()} on seven, right"
    result = aadsl.run(sent[0]["text"], session=aadsl.Session(study=answered.session.study.branch()))
    assert result.dataset.member.sum() == 6


def test_a_mistaken_condition_selects_nothing_and_says_where(answered):
    explorer = explore(answered)
    select(explorer, where='tga == "b"')
    assert explorer.where["mistake"].splitlines()[:3] == [
        'no coordinate "tga" on this trajectory',
        'tga == "b"',
        "^^^",
    ]
    assert 'did you mean "tag"' in explorer.where["mistake"]
    assert not explorer.members.any()
    select(explorer, where='tag == "b"')
    assert explorer.where == {"text": 'tag == "b"', "mistake": ""}
    assert explorer.members.sum() == 8


def test_a_condition_that_the_kernel_has_not_heard_of_is_read_when_needed(answered):
    explorer = explore(answered)
    select(explorer, where='tag == "b"')
    explorer.view = {**explorer.view, "where": 'tag == "a"'}
    assert explorer.members.sum() == 16


@pytest.mark.parametrize("text", ["lr <", "(((", '"', "lr < 1 \n and", "x = 3", "steps", "# nothing", "tag in ["])
def test_half_typed_conditions_never_raise(answered, text):
    explorer = explore(answered)
    select(explorer, where=text)
    assert explorer.where["mistake"]


def test_conditions_define_nothing(answered):
    before = set(answered.session.study.stages)
    select(explore(answered), where="loss > 0")
    assert set(answered.session.study.stages) == before


def test_names_of_the_notebook_may_stand_in_conditions(answered):
    explorer = explore(answered, lambda: {"wanted": ["b"]})
    select(explorer, where="tag in wanted")
    assert explorer.members.sum() == 8


def test_the_exact_answer_is_that_of_retraining(answered, recorded):
    explorer = explore(answered)
    select(explorer, 3, 12, "tag == 'b'")
    explorer._on_message(None, {"kind": "exact"}, [])
    explorer._exact.wait(LIMIT)
    assert explorer.exact["state"] == "done"
    assert explorer.answers == {explorer.selection: explorer.exact}
    assert explorer.exact["key"] == explorer.selection
    assert explorer.exact["trust"]["seven"]["trust"] in ("high", "low")
    assert explorer.exact["trust"]["seven"]["reason"]
    skipped = np.flatnonzero(explorer.members)
    assert skipped.tolist() == [5, 8, 11]
    inputs = recorded.data[0][:20]
    with_stage, without = (
        net(inputs).log_softmax(-1)[:, 7].mean().item() for net in (recorded.retrained([]), recorded.retrained(skipped))
    )
    assert explorer.exact["effects"]["seven"] == pytest.approx(with_stage - without, rel=1e-4)
    assert "explored_selection" not in answered.session.study.stages
    assert len(answered.session.answers) == 1


def test_a_picked_stage_is_that_of_the_answer_also_when_the_name_means_another_by_now(recorded):
    names = {"study": recorded.study(), "test": (recorded.data[0][:20], recorded.data[1][:20])}
    program = "load study\nstage part = steps[3:9]\nbehavior seven = log_likelihood(target=7) on test"
    result = aadsl.run(f"{program}\nscore part on seven", names)
    explorer = explore(result)
    aadsl.run("stage part = steps[9:12]", names, session=result.session)
    select(explorer, stage="part")
    assert np.flatnonzero(explorer.members).tolist() == [*range(3, 9)]
    explorer._on_message(None, {"kind": "exact"}, [])
    explorer._exact.wait(LIMIT)
    with_stage, without = (
        recorded.retrained(left)(names["test"][0]).log_softmax(-1)[:, 7].mean().item() for left in ([], range(3, 9))
    )
    assert explorer.answers["part"]["effects"]["seven"] == pytest.approx(with_stage - without, rel=1e-4)


def test_the_exact_answer_can_be_cancelled(answered):
    explorer = explore(answered)
    select(explorer, 3, 12)
    explorer._exact.tell = lambda state: (setattr(explorer, "exact", state), explorer._exact.cancel())
    explorer._on_message(None, {"kind": "exact"}, [])
    explorer._exact.wait(LIMIT)
    assert explorer.exact == {"state": "cancelled", "key": "steps[3:12]", "words": "cancelled"}
    assert "explored_selection" not in answered.session.study.stages


def test_the_exact_answer_waits_while_a_cell_computes_and_can_be_cancelled_then(answered):
    explorer, waits = explore(answered), threading.Event()
    select(explorer, 3, 12)

    def told(state):
        explorer.exact = state
        if WAITING in state["words"]:
            waits.set()

    explorer._exact.tell = told
    with turn(lambda *_: None):  # a cell that computes
        explorer._on_message(None, {"kind": "exact"}, [])
        assert waits.wait(LIMIT)
        explorer._on_message(None, {"kind": "cancel"}, [])
        explorer._exact.wait(LIMIT)
        assert explorer.exact == {"state": "cancelled", "key": "steps[3:12]", "words": "cancelled"}
    explorer._on_message(None, {"kind": "exact"}, [])  # asked again, it is computed
    explorer._exact.wait(LIMIT)
    assert explorer.exact["state"] == "done"


def test_the_exact_answer_follows_by_itself_where_it_is_quick_and_those_of_kept_selections_too(answered, monkeypatch):
    explorer = explore(answered)
    select(explorer, 3, 12)
    kept = {**explorer.view, "start": 1, "stop": 4, "where": 'tag == "b"'}
    explorer._on_message(None, {"kind": "rest", "view": {**explorer.view, "kept": [kept]}}, [])
    explorer._exact.wait(LIMIT)
    both = {"steps[3:12]", 'steps[1:4] where tag == "b"'}
    assert set(explorer.answers) == both
    monkeypatch.setattr("jupyter_ext.explorer.exact.QUICK", -1.0)
    explorer._on_message(None, {"kind": "rest", "view": {**explorer.view, "start": 2}}, [])
    explorer._exact.wait(LIMIT)
    assert (explorer.exact["state"], explorer.exact["key"]) == ("offered", "steps[2:12]")
    assert "would take about" in explorer.exact["words"]
    assert set(explorer.answers) == both


def test_what_follows_by_itself_ends_where_the_selection_moves_on_and_what_was_asked_for_does_not(answered):
    explorer, seen = explore(answered), []
    select(explorer, 3, 12)
    tell = explorer._exact.tell

    def told(state):
        tell(state)
        seen.append((state["key"], state["state"]))
        if len(seen) == 1:  # it trains; the brush moves
            explorer._on_message(None, {"kind": "rest", "view": {**explorer.view, "start": 4}}, [])

    explorer._exact.tell = told
    explorer._on_message(None, {"kind": "rest"}, [])
    explorer._exact.wait(LIMIT)
    assert ("steps[3:12]", "done") not in seen and seen[-1] == ("steps[4:12]", "done")
    seen.clear()
    explorer.view = {**explorer.view, "start": 5}
    explorer._on_message(None, {"kind": "exact"}, [])
    explorer._exact.wait(LIMIT)
    assert ("steps[5:12]", "done") in seen


def test_a_cell_waits_for_the_exact_answer_and_both_are_right(answered, recorded):
    explorer, study = explore(answered), answered.session.study
    select(explorer, 3, 12)
    expected = study.score(["b"], ["seven"], estimator="retraining").effect.item()
    study.cache = EffectCache(study.history, EntryStore(recorded.path.parent / "none kept before"))
    alone = dict(study.stages)
    training = threading.Event()
    tell = explorer._exact.tell
    explorer._exact.tell = lambda state: (tell(state), training.set())
    explorer._on_message(None, {"kind": "exact"}, [])
    assert training.wait(LIMIT)
    assert list(study.stages) == list(alone)  # also while it runs
    assert study.score(["b"], ["seven"], estimator="retraining").effect.item() == expected
    explorer._exact.wait(LIMIT)
    inputs = recorded.data[0][:20]
    with_stage, without = (
        recorded.retrained(skipped)(inputs).log_softmax(-1)[:, 7].mean().item() for skipped in ([], range(3, 12))
    )
    assert explorer.exact["effects"]["seven"] == pytest.approx(with_stage - without, rel=1e-4)


def test_completions_are_sent_for_the_condition(answered):
    explorer, sent = explore(answered), []
    explorer.send = sent.append
    explorer._on_message(None, {"kind": "complete", "id": 7, "text": "lr < 1 and ta", "cursor": 13}, [])
    assert sent[0]["id"] == 7
    assert sent[0]["start"] == 11
    assert {"text": "tag", "kind": "coordinate"} in sent[0]["items"]


def test_it_is_displayed_with_a_picture_beside_it(answered, shell, outputs):
    shell.user_ns["e"] = explore(answered)
    shell.run_cell("e")
    (widget, _), (picture, _) = outputs
    assert VIEW in widget
    assert "image/png" not in widget
    assert set(picture) == {"application/vnd.vegalite.v5+json", "image/png", "text/plain"}


def test_the_picture_follows_the_selection(answered):
    explorer = explore(answered)
    select(explorer, 3, 9)
    spec = str(explorer.picture()["application/vnd.vegalite.v5+json"])
    assert "steps[3:9]" in spec
    assert "no stage" in spec


def test_a_dataset_alone_can_be_explored_but_not_retrained():
    explorer = explore(answer())
    assert not explorer.header["can_retrain"]
    select(explorer, where="lr < 1")
    assert "result of %%aascore" in explorer.where["mistake"]
    explorer._on_message(None, {"kind": "exact"}, [])
    assert explorer.exact == {}


def test_an_explorer_stays_with_the_run_of_its_answer(answered, recorded, tmp_path):
    """The session loads another run: what is explored is still the answer's, and an older answer is not retrained."""
    explorer = explore(answered)
    other = record(tmp_path / "other", torch.float64)  # which cannot read the probes of the first
    session = aadsl.Session(study=answered.session.study, answers=answered.session.answers)
    program = "load other\nbehavior seven = log_likelihood(target=7) on test"
    names = {"other": other.study(), "test": (recorded.data[0][:20], recorded.data[1][:20])}
    answered.session.study = aadsl.run(program, names, session=session).session.study
    try:
        select(explorer, 3, 12, where='tag == "b"')
        explorer._on_message(None, {"kind": "exact"}, [])
        explorer._exact.wait(LIMIT)
        with_stage, without = (
            recorded.retrained(skipped)(names["test"][0]).log_softmax(-1)[:, 7].mean().item()
            for skipped in ([], [t for t in range(3, 12) if t % 3 == 2])
        )
        assert explorer.exact["effects"]["seven"] == pytest.approx(with_stage - without, rel=1e-4)
        late = explore(aadsl.Result(answered.session, answered.dataset))
        assert not late.header["can_retrain"]
        select(late, where="lr < 1")
        assert "conditions need the run" in late.where["mistake"]
    finally:
        answered.session.study = explorer._study


def test_what_cannot_be_explored_says_why(answered):
    with pytest.raises(AadslError, match="first_order"):
        explore(answer().drop_vars("step_effect"))
    with pytest.raises(AadslError, match="ask first"):
        explore(aadsl.Result(aadsl.Session()))
    exact = answer().drop_vars("step_effect")
    with pytest.raises(AadslError, match="first_order"):
        explore(aadsl.Result(aadsl.Session(answers=[Answered(exact)]), exact))


def test_result_and_magic_open_it(answered, shell):
    assert type(answered.explore()).__name__ == "Explorer"
    shell.user_ns["study"] = answered.session.study
    shown = shell.run_cell("%%aascore --explore\nload study\nscore b on seven").result
    assert type(shown).__name__ == "Explorer"
    assert type(shell.run_cell("%aascore explore").result).__name__ == "Explorer"


@pytest.mark.parametrize(
    ("options", "program", "said"),
    [
        ("--explore", f"{NO_GRADIENT}score b on rate", "line 3: no answer has effects of single steps"),
        ("--explore", f"{NO_GRADIENT}score b on rate using retraining()\nstage c = b", "score … using first_order()"),
        ("--explore --quiet", f"{NO_GRADIENT}rank b on rate using retraining()", "which `--explore` draws"),
        ("--explore", "stage c = b", "there is no answer to explore"),
        ("--explore --explain", "score b on seven", "there is no answer to explore"),
    ],
)
def test_what_cannot_be_explored_is_said_before_anything_is_computed(
    answered, recorded, shell, monkeypatch, capsys, options, program, said
):
    def refuse(*_, **__):
        raise AssertionError("computed")

    for question in ("score", "step_effects", "verify", "plan"):
        monkeypatch.setattr(aadsl.Study, question, refuse)
    shell.user_ns |= {"study": answered.session.study, "test": (recorded.data[0][:20], recorded.data[1][:20])}
    assert not shell.run_cell(f"%%aascore {options}\nload study\n{program}").success
    shown = capsys.readouterr().out
    assert said in shown and "computed" not in shown


def test_one_mistake_is_no_two(answered, shell, capsys):
    shell.user_ns["study"] = answered.session.study
    assert not shell.run_cell("%%aascore --explore\nload study\nscore bb on seven").success
    shown = capsys.readouterr().out
    assert 'no stage "bb"' in shown and "explore" not in shown


def test_single_steps_and_earlier_answers_can_be_explored(answered, recorded, shell):
    shell.user_ns |= {"study": answered.session.study, "test": (recorded.data[0][:20], recorded.data[1][:20])}
    shown = shell.run_cell("%%aascore --explore\nload study\nrank steps on seven").result
    assert type(shown).__name__ == "Explorer"
    later = shell.run_cell(f"%%aascore --explore\n{NO_GRADIENT}score b on rate").result
    assert later.header["behaviors"] == shown.header["behaviors"]


def many_stages(steps, stages):
    """An answer about stages of long names on three behaviors; numbers as a run in single precision has them."""
    data = answer(steps=steps, behaviors=("accuracy on held-out digits", "backdoor", "digits")).drop_dims("stage")
    data["step_effect"] = data["step_effect"].astype("f4").astype(float)
    member = np.arange(steps) * stages // steps == np.arange(stages)[:, None]
    names = [f"a stage with a rather long name, number {k} of all" for k in range(stages)]
    return data.assign(member=(("stage", "step"), member)).assign_coords(stage=names)


@pytest.mark.parametrize(("steps", "stages", "kept"), [(60, 4, True), (1000, 6, True), (20_000, 40, False)])
def test_a_notebook_keeps_no_more_than_300_kb_of_an_explorer(shell, outputs, steps, stages, kept):
    shell.user_ns["explorer"] = explorer = explore(many_stages(steps, stages))
    shell.run_cell("explorer")
    (_, _), (picture, _) = outputs
    size = len(json.dumps({name: part if isinstance(part, str) else "" for name, part in picture.items()}))
    size += len(json.dumps(picture[MIME])) + len(base64.b64encode(picture["image/png"]))
    if kept:
        state = explorer.get_state()
        size += sum(len(part) * 4 // 3 for part in (state["effects"], *state["columns"]))
        size += len(
            json.dumps({name: part for name, part in state.items() if name not in ("effects", "columns", "mask")})
        )
    assert explorer.header["keep"] == kept
    assert size < 300_000


def test_the_script_is_all_there_and_asks_for_nothing():
    assert {path.stem for path in STATIC.glob("*.js")} == set(PARTS)
    text = "\n".join(path.read_text(encoding="utf-8") for path in STATIC.iterdir())
    assert not re.findall(r"https?://|\bimport\b.*from|\beval\(|innerHTML", text)


def test_long_names_are_sent_as_they_are_shown_each_another_one():
    data = answer(steps=50)
    names = ["".join(["x"] * 100_000 + [str(t % 7)]) for t in range(50)]
    header, _, columns = header_of(data.assign_coords(tag=("step", names)), can_retrain=False)
    column, codes = columns_of(header, columns)["tag"]
    shown = [column["categories"][int(code)] for code in codes]
    assert len(set(shown)) == 7 and all(one.endswith(name[-1]) for one, name in zip(shown, names, strict=True))
    assert len(json.dumps(column["categories"])) < 10_000
