# SPDX-License-Identifier: MIT
"""The older module of the slice loop."""

from __future__ import annotations

from arraybridge.stacks import process_slices

__all__ = ["process_slices"]
