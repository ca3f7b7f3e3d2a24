# SPDX-License-Identifier: MIT
"""Find and open the native module, once.

In an installed package it lies beside this file. Developers may name a build folder instead, in the variable
``ARRAYBRIDGE_BUILD_DIR``; a process with elevated privileges ignores it.
"""

from __future__ import annotations

import atexit
import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _elevated() -> bool:
    return os.getuid() != os.geteuid() or os.getgid() != os.getegid()


def _places() -> list[tuple[str, str]]:
    """Candidates for the native module, each with the folder of the plugins that belong to it."""
    build = "" if _elevated() else os.environ.get("ARRAYBRIDGE_BUILD_DIR", "")
    if build:
        build = os.path.abspath(build)
        return [(os.path.join(build, "python", "_native.so"), os.path.join(build, "plugins"))]
    # An editable install has two folders: the sources, and what was built from them.
    folders = [os.path.dirname(os.path.abspath(__file__)), *__import__(__package__).__path__]
    return [(os.path.join(folder, "_native.so"), os.path.join(folder, "plugins")) for folder in folders]


def _open() -> Any:
    places = _places()
    for library, plugins in places:
        if not os.path.exists(library):
            continue
        try:
            opened = ctypes.PyDLL(library)
        except OSError as problem:
            raise ImportError(f"arraybridge cannot open its native module: {problem}", path=library) from problem
        opened.ab_python_module.restype = ctypes.py_object
        module = opened.ab_python_module()
        module.add_folder(plugins)
        return module
    looked = ", ".join(dict.fromkeys(library for library, _ in places))
    raise ImportError(
        f"arraybridge has no native module: looked for {looked}. Install the package with pip, "
        "or set ARRAYBRIDGE_BUILD_DIR to a build folder"
    )


#: The module object with the built-ins; its functions cost what a C call costs.
native: Any = _open()

# From here on nothing is released through an interpreter that comes apart.
atexit.register(native.end)
