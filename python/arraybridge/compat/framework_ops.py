# SPDX-License-Identifier: MIT
"""The older name of ``framework_config``."""

from __future__ import annotations

from .framework_config import _FRAMEWORK_CONFIG

_FRAMEWORK_OPS = _FRAMEWORK_CONFIG

__all__ = ["_FRAMEWORK_OPS"]
