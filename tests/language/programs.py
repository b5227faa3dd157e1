"""Strategies: valid programs, and the same programs spoiled."""

from __future__ import annotations

import string

from hypothesis import strategies as st

from aadsl.statements.table import parser

WORDS = sorted(parser().words)
names = st.one_of(
    st.sampled_from(["poisoned", "tag", "epoch", "source", "lr", "x1", "_y", "stagee", "ofx", "ä", "trajectory"]),
    st.text(string.ascii_lowercase + "_", min_size=1, max_size=6).filter(lambda name: name not in WORDS),
    st.sampled_from(["`top`", "`two words`", "`where`"]),
)
numbers = st.one_of(
    st.integers(0, 10**6).map(str),
    st.floats(0, 1e6, allow_nan=False).map(repr),
    st.sampled_from(["1e-3", ".5", "3.", "2E+10"]),
)
strings = st.sampled_from(['"badnet"', "'single'", '""', '"a \\"b\\" c"', r'"\d+\\"', '"# no comment"', '"[0:3"'])
booleans = st.sampled_from(["true", "false", "True"])
signed = st.builds(lambda sign, number: sign + number, st.sampled_from(["", "-"]), numbers)
literals = st.one_of(signed, strings, booleans)
integers = st.integers(-300, 300).map(str)
items = st.lists(literals, max_size=3).map(lambda values: "[" + " , ".join(values) + "]")
comparison = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
join = st.sampled_from([" and ", " or ", " and\n", " or # why\n  "])


def _deeper_sum(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("{}{}{}".format, inner, st.sampled_from(["+", " - ", "*", "/ ", " %", "-"]), inner),
        inner.map(lambda operand: f"- {operand}"),
        inner.map(lambda operand: f"({operand})"),
    )


sums = st.recursive(st.one_of(names, numbers, strings, booleans), _deeper_sum, max_leaves=3)
tests = st.one_of(
    sums,
    st.builds("{}{} {}".format, sums, comparison, sums),
    st.builds("{} {}{} {} {}".format, sums, comparison, sums, comparison, sums),
    st.builds("{} in {}".format, sums, st.one_of(items, names)),
    st.builds("{} not in {}".format, sums, items),
    st.builds("{} matches {}".format, sums, strings),
)


def _deeper_condition(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("{}{}{}".format, inner, join, inner),
        inner.map(lambda operand: f"not ({operand})"),
        inner.map(lambda operand: f"(\n {operand} )"),
        inner.map(lambda operand: f"share({operand}) > 0.5"),
    )


conditions = st.recursive(tests, _deeper_condition, max_leaves=4)
optional = st.one_of(st.just(""), integers)
slices = st.builds("[{}:{}]".format, optional, optional) | st.builds("[{}:{} :{}]".format, optional, optional, optional)
references = st.one_of(
    names,
    st.builds("{}[{}]".format, names, st.one_of(names, strings, signed, booleans)),
    st.builds("{}[{}:{}]".format, names, integers, integers),
)
axes = st.builds("{}{}".format, st.sampled_from(["steps", "batches"]), st.one_of(st.just(""), slices))
atoms = st.one_of(axes, references)


def _deeper_selection(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("({}{}{})".format, inner, join, inner),
        inner.map(lambda operand: f"( not {operand})"),
        st.builds("({} where {})".format, axes, conditions),
    )


selections = st.one_of(
    st.recursive(atoms, _deeper_selection, max_leaves=4), st.builds("{} where {}".format, atoms, conditions)
)
values = st.deferred(lambda: st.one_of(literals, items, calls))
arguments = st.lists(st.builds("{}={}".format, names, values), max_size=2).map(",".join)
calls = st.one_of(names, st.builds("{}({})".format, names, arguments))
listed = st.lists(references, min_size=1, max_size=3).map(",".join)
maybe = st.booleans()


def _clauses(*parts: tuple[str, st.SearchStrategy[str]]) -> st.SearchStrategy[str]:
    """Return some of the optional clauses in their order."""
    given_or_not = [st.one_of(st.just(""), strategy.map(f" {word} {{}}".format)) for word, strategy in parts]
    return st.tuples(*given_or_not).map("".join)


chosen = st.lists(
    st.one_of(references, st.builds("steps{}".format, slices), selections.map("({})".format)), min_size=1, max_size=3
).map(",".join)
using_under = _clauses(("using", calls), ("under", calls))
questions = st.one_of(
    st.builds("score {} on {}{}".format, chosen, listed, using_under),
    st.builds("verify {} on {}{}".format, chosen, listed, using_under),
    st.builds("check {}{}".format, listed, _clauses(("using", calls), ("under", calls),
              ("with", st.builds("{} = {}".format, names, values)))),
    st.builds("shares {}{} on {}{}".format, st.sampled_from(["", "of "]), chosen, listed,
              _clauses(("under", calls), ("with", st.builds("{} = {}".format, names, values)))),
    st.builds("examples of {} on {}{}".format, chosen, listed,
              _clauses(("top", integers), ("with", st.builds("{} = {}".format, names, values)))),
    st.builds("rank {} on {}{}".format, st.one_of(axes.map(lambda a: a.split("[")[0]), listed), listed,
              _clauses(("top", integers), ("using", calls), ("under", calls))),
)  # fmt: skip
within = _clauses(("within", selections))
statements = st.one_of(
    st.builds("load {}{}{}".format, st.lists(st.one_of(strings, names), min_size=1, max_size=2).map(", ".join),
              _clauses(("with", st.lists(st.builds("{} = {}".format, names, values), min_size=1, max_size=3)
                        .map(", ".join))), _clauses(("as", names))),
    st.builds("stage {}={}".format, names, selections),
    st.builds("stages {} by {}{}".format, names, names, within),
    st.builds("stages {} every {} steps{}".format, names, integers, within),
    st.builds("behavior {} = {} on {}{}{}{}".format, names, calls, names, st.just("") | slices,
              _clauses(("where", conditions), ("by", names)), st.sampled_from(["", " per example"])),
    questions,
    questions.map("explain {}".format),
    st.builds("verify trajectory{}".format, _clauses(("with", st.builds("{} = {}".format, names, values)))),
    st.builds("plot {}{}".format, calls, _clauses(("of", listed), ("by", names))),
    strings.map("save {}".format),
    st.sampled_from(["show", "show stages", "help", "help score", "help nothing"]),
)  # fmt: skip
between = st.sampled_from(["\n", "\n\n\n", "  # a comment\n", "\n# alone\n   ", "\r\n"])
programs = st.lists(st.tuples(statements, between), max_size=4).map(lambda parts: "".join(map("".join, parts)))
PIECES = [*WORDS, *"()[]{},:=<>!+-*/%#\"'`\\\n. ;&|@$~^?ä\t\0", "==", "where where", "3", "'", "and not", "\u2028"]


@st.composite
def mangled(draw: st.DrawFn) -> str:
    """Return a valid program with a few cuts, copies and strange pieces."""
    text = draw(programs)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        stop = min(len(text), start + draw(st.sampled_from([0, 0, 1, 3, 10])))
        text = text[:start] + draw(st.sampled_from(["", *PIECES])) + text[stop:]
    return text
