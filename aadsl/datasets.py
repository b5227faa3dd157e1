"""Real data that ship with the package, for tutorials, demonstrations and tests."""

from __future__ import annotations

from aadsl.data.digits import mnist10k

__all__ = ["mnist10k"]
