# SPDX-License-Identifier: MIT
"""The older module of the scaling functions."""

from __future__ import annotations

from arraybridge.scaling import SCALING_FUNCTIONS

__all__ = ["SCALING_FUNCTIONS"]
