# SPDX-License-Identifier: MIT
"""``python -m arraybridge`` is the command ``arraybridge``."""

from __future__ import annotations

import sys

from .command import main

if __name__ == "__main__":
    sys.exit(main())
