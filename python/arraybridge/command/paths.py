# SPDX-License-Identifier: MIT
"""``arraybridge paths``: where the parts of this installation are, for build scripts."""

from __future__ import annotations

import os
import re
from importlib import import_module

from .refusal import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

SUMMARY = "print where headers, CMake package, plugins and library are"
EXAMPLES = """\
  arraybridge paths
  cmake -S . -B build -Darraybridge-sdk_DIR="$(arraybridge paths --cmake)"
  cc -shared -fPIC -Wl,-z,now -I"$(arraybridge paths --include)" slab.c -o arraybridge_slab.so    # without Python
"""

_MEANING = {
    "include": "headers: -I",
    "cmake": "CMake package of the SDK: -Darraybridge-sdk_DIR=",
    "plugins": "this installation's plugins",
    "library": "folder of libarraybridge",
    "template": "the plugin that new-plugin copies",
    "guide": "how to write a plugin",
}


def _package_folders() -> list[str]:
    """The package's folders: an editable install has two, the sources and what was built from them."""
    return [os.path.abspath(folder) for folder in import_module("arraybridge").__path__]


def _below_package() -> dict[str, list[str]]:
    names = {
        "include": "include",
        "cmake": "lib/cmake/arraybridge-sdk",
        "plugins": "plugins",
        "library": "lib",
        "template": "share/arraybridge/template",
        "guide": "share/arraybridge/plugin-author.md",
    }
    return {what: [os.path.join(folder, name) for folder in _package_folders()] for what, name in names.items()}


def _cached(build: str, variable: str) -> str:
    """What CMake remembers under ``variable`` in a build folder; empty if that is none."""
    try:
        with open(os.path.join(build, "CMakeCache.txt"), encoding="utf-8", errors="replace") as cache:
            found = re.search(rf"^{variable}:\w+=(.*)$", cache.read(), re.MULTILINE)
    except OSError:
        return ""
    return found[1] if found else ""


def _below_build(build: str) -> dict[str, list[str]]:
    source = _cached(build, "CMAKE_HOME_DIRECTORY")
    return {
        "include": [os.path.join(source, "sdk", "include")] if source else [],
        "cmake": [],  # a CMake package exists only once it is installed
        "plugins": [os.path.join(build, "plugins")],
        "library": [os.path.join(build, "core")],
        "template": [os.path.join(source, "sdk", "template")] if source else [],
        "guide": [os.path.join(source, "docs", "plugin-author.md")] if source else [],
    }


def build_folder() -> str:
    """The build folder in use instead of an installation; empty for an installation."""
    from .libraries import native_path

    folder = os.path.dirname(native_path())
    return "" if folder in _package_folders() else os.path.dirname(folder)


def find() -> dict[str, str]:
    """Where each part is; empty where there is none."""
    build = build_folder()
    candidates = _below_build(build) if build else _below_package()
    return {what: next((path for path in candidates[what] if os.path.exists(path)), "") for what in _MEANING}


def header_numbers(header: str, *names: str) -> str:
    """The numbers that a header of the SDK gives to ``names``, joined with dots; empty if it cannot be read.

    Parameters
    ----------
    header : str
        Path below the include folder.
    names : str
        Macros or enumerators.
    """
    build = build_folder()
    folders = [find()["include"], _cached(build, "DLPACK_INCLUDE_DIR") if build else ""]
    file = next((path for path in (os.path.join(one, header) for one in folders if one) if os.path.isfile(path)), "")
    if not file:
        return ""
    with open(file, encoding="utf-8", errors="replace") as opened:
        text = opened.read()
    found = [re.search(rf"\b{name}\b\s*=?\s*(\d+)", text) for name in names]
    return ".".join(match[1] for match in found if match)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    one = parser.add_mutually_exclusive_group()
    for what, meaning in _MEANING.items():
        one.add_argument(
            f"--{what}", dest="only", action="store_const", const=what, help=f"this path alone: {meaning.rstrip('=')}"
        )


def _missing(what: str) -> Refusal:
    build = build_folder()
    hint = "reinstall arraybridge"
    if build:
        hint = f"a build folder has none: cmake --install {build} --prefix PREFIX, or pip install"
    return Refusal(f"this arraybridge has no {what}{'' if what == 'guide' else ' folder'}", hint, exit_code=1)


def run(options: argparse.Namespace) -> int:
    """Print one path, or all of them."""
    from . import tables

    found = find()
    if options.only and not found[options.only]:
        raise _missing(options.only)
    if options.json:
        tables.print_json({options.only: found[options.only]} if options.only else found)
    elif options.only:
        print(found[options.only])
    else:
        rows = [(what, found[what] or "(none: only an installation has it)") for what in _MEANING]
        tables.lines(tables.console(), [(what, text) for what, text in rows], indent=0)
    return 0
