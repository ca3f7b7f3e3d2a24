# SPDX-License-Identifier: MIT
"""The older module of the error class."""

from __future__ import annotations

from arraybridge.errors import MemoryConversionError

__all__ = ["MemoryConversionError"]
