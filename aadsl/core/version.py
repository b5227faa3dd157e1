"""The version of the package, in one place for whatever writes it down."""

from __future__ import annotations

__version__ = "0.1.0"
