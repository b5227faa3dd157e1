"""Conditions over arrays against the same conditions computed step by step, in three-valued logic, in plain Python."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from operator import add, mod, mul, sub, truediv
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from aadsl.core.errors import AadslError
from aadsl.language import conditions, nodes
from aadsl.statements import Session, run
from aadsl.statements.table import parser
from tests.statements.fakes import LENGTH, FakeStudy

KINDS = {"tag": "text", "epoch": "number", "lr": "number", "quality": "number", "flipped": "boolean", "sure": "boolean"}
numbers = st.sampled_from(
    ["0", "1", "2", "0.1", "0.01", "3.5", "epoch", "lr", "quality", "-epoch", "epoch + 1", "1 / epoch"]
)
texts = st.sampled_from(["tag", '"badnet"', '"clean"', '"other"', '""'])
booleans = st.sampled_from(["flipped", "sure", "true", "false"])
ordering = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
equality = st.sampled_from(["==", "!="])
tests = st.one_of(
    st.builds("{} {} {}".format, numbers, ordering, numbers),
    st.builds("{} {} {} {} {}".format, numbers, ordering, numbers, ordering, numbers),
    st.builds("{} {} {}".format, texts, ordering, texts),
    st.builds("{} {} {}".format, booleans, equality, booleans),
    booleans,
    st.builds("{} in [0, 2, 3.5]".format, numbers),
    st.builds("{} not in [1]".format, numbers),
    st.builds('{} in ["badnet", "x"]'.format, texts),
    st.builds('{} matches "^b|x$"'.format, texts),
)
programs = st.recursive(
    tests,
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("not ({})".format, inner),
    ),
    max_leaves=5,
)


def known(value: Any, kind: str) -> Any:
    """Return a stored value as Python has it, None where it is missing."""
    if kind == "text":
        return value or None
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and math.isnan(value):
        return None
    return bool(value) if kind == "boolean" else value


def rounded(value: float) -> float:
    """Return a number as it is kept: a whole one beyond 64 bits as a float."""
    return value if -(2**63) <= value < 2**64 else float(value)


def by_hand(node: Any, step: dict[str, Any]) -> Any:
    """Return the value of a condition at one step, None where it is unknown."""
    match node:
        case nodes.Literal(value=value):
            return value
        case nodes.Name(text=name):
            return step[name]
        case conditions.Negative(operand=operand):
            value = by_hand(operand, step)
            return None if value is None else rounded(-value)
        case conditions.Arithmetic(left=left, symbol=symbol, right=right):
            a, b = by_hand(left, step), by_hand(right, step)
            if a is None or b is None or (symbol in "/%" and b == 0):
                return None
            return rounded({"+": add, "-": sub, "*": mul, "/": truediv, "%": mod}[symbol](a, b))
        case conditions.Compare(parts=parts):
            pairs = zip(parts[::2], parts[1::2], parts[2::2], strict=False)
            return conjunction([compared(by_hand(a, step), symbol, by_hand(b, step)) for a, symbol, b in pairs])
        case conditions.NotContained(operand=operand, items=items):
            value = by_hand(operand, step)
            return None if value is None else value not in items.values
        case conditions.Contained(operand=operand, items=items):
            value = by_hand(operand, step)
            return None if value is None else value in items.values
        case conditions.Matches(operand=operand, pattern=pattern):
            value = by_hand(operand, step)
            return None if value is None else re.search(pattern.value, value) is not None
        case conditions.Negation(operand=operand):
            value = by_hand(operand, step)
            return None if value is None else not value
        case conditions.AllOf(operands=operands):
            return conjunction([by_hand(operand, step) for operand in operands])
        case conditions.AnyOf(operands=operands):
            values = [by_hand(operand, step) for operand in operands]
            return True if True in values else None if None in values else False
    raise AssertionError(node)


def conjunction(values: list[Any]) -> Any:
    return False if False in values else None if None in values else True


def compared(a: Any, symbol: str, b: Any) -> Any:
    if a is None or b is None:
        return None
    return {"==": a == b, "!=": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[symbol]


BEYOND = 2**60  # floats hold every 256th whole number there
wide = st.sampled_from(["sample", "unsigned", "gaps", "ratio", "epoch", f"{BEYOND}.0", f"{BEYOND + 2}", f"{2**63 + 2}"])
computed = st.one_of(
    wide,
    st.builds("-{}".format, wide),
    st.builds("({} {} {})".format, wide, st.sampled_from(["+", "-", "*", "/", "%"]), wide),
    st.builds("({} - {})".format, wide, st.sampled_from([f"{BEYOND}", "1", "0.5"])),
)


def wide_numbers() -> xr.Dataset:
    """Return whole numbers that no float holds: signed, unsigned, with gaps; and floats near them."""
    step = np.arange(LENGTH)
    gaps = np.array([None if t % 4 == 0 else BEYOND + t for t in range(LENGTH)], dtype=object)
    columns = {"sample": BEYOND + step, "unsigned": np.uint64(2**63) + step.astype(np.uint64), "gaps": gaps}
    columns |= {"ratio": (BEYOND + 128.0) * (step % 3), "epoch": step // 20}
    return xr.Dataset({name: ("step", values) for name, values in columns.items()}, {"step": step})


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.builds("{} {} {}".format, computed, ordering, computed),
        st.builds("{} {} {} {} {}".format, wide, ordering, wide, ordering, wide),
        st.builds("{} in [{}, {}, 1.5]".format, wide, wide.filter(str.isdigit), wide.filter(str.isdigit)),
    )
)
def test_whole_numbers_are_exact(text: str) -> None:
    selects_the_steps_where_it_holds(text, FakeStudy(wide_numbers()), dict.fromkeys(wide_numbers().data_vars, "number"))


def test_whole_numbers_of_64_bits_are_found() -> None:
    study = FakeStudy(wide_numbers())
    session, names = Session(study=study), {"listed": np.array([BEYOND + 3, BEYOND + 5])}  # type: ignore[arg-type]
    for text, expected in {
        f"sample == {BEYOND + 3}": [3],
        f"sample in [{BEYOND + 3}, {BEYOND + 4}]": [3, 4],
        "sample in listed": [3, 5],
        f"{BEYOND + 3} <= sample < {BEYOND + 5}": [3, 4],
        f"unsigned == {2**63 + 3}": [3],
        f"gaps == {BEYOND + 3}": [3],
        f"sample + 1 == {BEYOND + 3}": [2],
        f"sample % 7 == {(BEYOND + 3) % 7} and epoch == 0": [3, 10, 17],
        f"-sample == -{BEYOND + 3}": [3],
    }.items():
        run(f"stage found = steps where {text}", names, session=session)
        assert np.flatnonzero(study.stages["found"]).tolist() == expected, text
    with pytest.raises(AadslError, match=f"sample runs from {BEYOND} to {BEYOND + LENGTH - 1}"):
        run(f"stage found = steps where sample == {BEYOND - 1}", {}, session=session)
    run("stages part by sample", {}, session=session)
    assert len(study.families["part"]) == LENGTH


@settings(max_examples=300, deadline=None)
@given(programs)
def test_a_condition_selects_the_steps_where_it_holds(text: str) -> None:
    selects_the_steps_where_it_holds(text, FakeStudy(), KINDS)


def selects_the_steps_where_it_holds(text: str, study: FakeStudy, kinds: Mapping[Any, str]) -> None:
    program = f"stage chosen_steps = steps where {text}"
    (statement,) = parser().parse(program).statements
    rows = [{name: known(study.steps[name].values[t], kind) for name, kind in kinds.items()} for t in range(LENGTH)]
    expected = np.array([by_hand(statement.selection.condition, row) is True for row in rows])
    try:
        run(program, {}, Session(study=study))  # type: ignore[arg-type]
        found = study.stages["chosen_steps"].values
    except AadslError as error:
        assert "is empty" in str(error)
        found = np.zeros(LENGTH, dtype=bool)
    np.testing.assert_array_equal(found, expected)
