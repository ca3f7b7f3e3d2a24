# SPDX-License-Identifier: MIT
"""The older module of the scaling functions."""

from __future__ import annotations

from arraybridge.scaling import SCALING_FUNCTIONS

from .types import MemoryType
from .utils import optional_import

__all__ = ["SCALING_FUNCTIONS", "MemoryType", "optional_import"]
