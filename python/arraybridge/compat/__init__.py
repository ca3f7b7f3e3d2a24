# SPDX-License-Identifier: MIT
"""Names of arraybridge 0.2 to 0.5, for code written for those: aliases and thin adapters onto this package's functions.

Every module in this folder is ``arraybridge.X`` for its importers: the folder is part of the package's path, so that
``from arraybridge.types import MemoryType`` works as it did, and pickles of the older releases find their classes.
Inside, siblings are imported relatively (``from .types import …``) and the rest of the package by its full name.
"""

# Under this name nothing can be imported: each module exists once, as `arraybridge.X`.
__path__ = []
