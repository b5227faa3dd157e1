"""Invalid programs and what is said about them: the file ``invalid.txt``.

A case is a program, a line of ``-``, the message, a line of ``=``. After a message was changed on purpose,
``python -m tests.statements.snapshots`` writes the file anew; the difference is what has to be read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aadsl.core.errors import AadslError
from aadsl.statements import STATEMENTS, Session, run
from aadsl.statements.help import topics
from aadsl.statements.vocabulary import HOMES, table
from tests.statements.conftest import notebook
from tests.statements.fakes import FakeStudy

FILE = Path(__file__).parent / "invalid.txt"
BETWEEN, AFTER = "-" * 40, "=" * 40
UNLOADED = "# nothing is loaded"
PRELUDE = """
stage poisoned = batches where tag == "badnet"
stage warmup = steps[0:10]
stage everything = steps
stages source by tag
behavior backdoor = log_likelihood(target=7) on triggered
behavior digits = log_likelihood on test by label
behavior right = accuracy on test
"""


def cases() -> list[tuple[str, str]]:
    """Return programs with their messages."""
    blocks = FILE.read_text(encoding="utf-8").split(f"{AFTER}\n")
    pairs = [block.split(f"{BETWEEN}\n") for block in blocks if block.strip()]
    return [(pair[0].rstrip("\n"), "".join(pair[1:]).rstrip("\n")) for pair in pairs]


def prepared(program: str) -> tuple[Session, dict[str, Any]]:
    """Return a session with the prelude's definitions, and the notebook's names."""
    names = notebook()
    if program.startswith(UNLOADED):
        return Session(), names
    session = Session(study=FakeStudy())  # type: ignore[arg-type]
    run(PRELUDE, names, session)
    return session, names


def message_of(program: str) -> str:
    """Return what is said about a program; the open vocabulary is shortened, so that it can grow."""
    session, names = prepared(program)
    try:
        run(program, names, session)
    except AadslError as error:
        text = "\n".join(line.rstrip() for line in str(error).split("\n"))
        additive = [name for name, member in table("estimator").items() if getattr(member, "additive", False)]
        listings = {
            "ADDITIVE": additive,
            "TOPICS": topics(STATEMENTS),
            **{f"{kind.upper()}S": list(table(kind)) for kind in HOMES},
        }
        for name, listing in listings.items():
            text = text.replace(", ".join(sorted(listing)), name).replace(", ".join(listing), name)
        return text
    return "NO MISTAKE FOUND"


if __name__ == "__main__":
    written = [f"{program}\n{BETWEEN}\n{message_of(program)}\n{AFTER}\n" for program, _ in cases()]
    FILE.write_text("".join(written), encoding="utf-8")
