"""What is written past the page cache is what was given, also where the system cannot, or the disk is full."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aadsl.trajectory.store import direct
from aadsl.trajectory.store.direct import write_direct

LENGTHS = [0, 1, 79, 4095, 4096, 4097, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_000_000]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(LENGTHS), max_size=5))
def test_any_parts_are_written(lengths: list[int]) -> None:
    parts = [os.urandom(length) for length in lengths]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x")
        path.write_bytes(b"longer than what follows" * 1000)
        write_direct(path, map(memoryview, parts))
        assert path.read_bytes() == b"".join(parts)


@pytest.mark.parametrize("refused", ["opening", "writing", "unknown"])
def test_where_the_system_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str) -> None:
    opened, written = os.open, os.write
    if refused == "unknown":
        monkeypatch.setattr(direct, "_DIRECT", 0)

    def opens(path: Path, flags: int, mode: int) -> int:
        if refused == "opening" and flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return opened(path, flags, mode)

    def writes(handle: int, content: memoryview) -> int:
        import fcntl

        if refused == "writing" and fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return written(handle, content[:100_001])  # no system has to write all at once

    monkeypatch.setattr(os, "open", opens)
    monkeypatch.setattr(os, "write", writes)
    content = os.urandom(2_500_000)
    write_direct(tmp_path / "x", [memoryview(content)])
    assert (tmp_path / "x").read_bytes() == content


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EINVAL])
def test_a_refusal_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuses(handle: int, content: memoryview) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "write", refuses)
    with pytest.raises(OSError) as caught:
        write_direct(tmp_path / "x", [memoryview(b"1" * 9)])
    assert caught.value.errno == code
