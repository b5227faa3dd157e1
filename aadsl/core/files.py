"""Files that are whole or not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aadsl.core.errors import AadslError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give another name in the same folder to write to, and make that ``path`` at the end.

    Whoever has the old file open goes on reading that.

    Raises:
        AadslError: the file cannot be written there.
    """
    target = path.resolve()  # a link stays one
    unfinished = target.with_name(f".{target.stem}.tmp{target.suffix}")  # libraries look at the extension
    try:
        yield unfinished
        unfinished.replace(target)
    except OSError as error:
        hint = "save it somewhere else, or close what has it open"
        raise AadslError(f"{path} cannot be written: {error.strerror or error}", hint=hint) from error
    finally:
        unfinished.unlink(missing_ok=True)
