# SPDX-License-Identifier: MIT
# For type checkers: they do not know that the folder `compat` is part of the path of this package.
from .compat.arrays import *  # noqa: F403
