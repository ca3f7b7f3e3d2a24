# SPDX-License-Identifier: MIT
"""``arraybridge new-plugin``: a plugin to start from."""

from __future__ import annotations

import os
import re
import shlex
import sys

from .refusal import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

SUMMARY = "copy the template of a plugin into a new folder, under your name for it"
EXAMPLES = """\
  arraybridge new-plugin ring                       into ./arraybridge-ring
  arraybridge new-plugin ring --into ~/src/ring
"""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("name", metavar="NAME", help="of the backend: lower-case letters, digits, _")
    parser.add_argument("--into", metavar="DIR", help="folder to make (default: ./arraybridge-NAME)")


def _check_name(name: str) -> None:
    from .plan import backend_names

    if not _NAME.fullmatch(name):
        lower = re.sub(r"[^a-z0-9_]", "_", name.lower())
        better = f'; "{lower}" would do' if _NAME.fullmatch(lower) else ""
        raise Refusal(f'"{name}" is no name of a backend{better}', "1 to 63 of a-z, 0-9, _, a letter first")
    if name in backend_names():
        import arraybridge

        path = next((one.path for one in arraybridge.backends() if one.name == name), "")
        of = f": {path}" if path else ""
        raise Refusal(f'there is a backend "{name}" already{of}', "of two plugins with one name, the first found wins")


def _template() -> str:
    from . import paths

    folder = paths.find()["template"]
    if not folder:
        raise Refusal("this arraybridge has no template", "reinstall arraybridge", exit_code=1)
    return folder


def renamed(text: str, name: str) -> str:
    """``text`` of the template with the backend called ``name``. Python's own ``array.array`` keeps its name."""
    text = text.replace("array_plugin", f"{name}_plugin")
    text = text.replace("NAME array ", f"NAME {name} ").replace('.name = "array"', f'.name = "{name}"')
    return text.replace('[::-1], "array")', f'[::-1], "{name}")')


def _copy(template: str, folder: str, name: str) -> list[str]:
    made = []
    for file in sorted(os.listdir(template)):
        with open(os.path.join(template, file), encoding="utf-8") as source:
            text = renamed(source.read(), name)
        path = os.path.join(folder, file.replace("array_plugin", f"{name}_plugin"))
        with open(path, "x", encoding="utf-8") as copy:
            copy.write(text)
        made.append(path)
    return made


def _make_folder(folder: str) -> None:
    parent = os.path.dirname(os.path.abspath(folder))
    if not os.path.isdir(parent):
        raise Refusal(f"there is no folder {parent}", f"make it first: mkdir -p {shlex.quote(parent)}", exit_code=1)
    try:
        os.makedirs(folder, exist_ok=True)
        if os.listdir(folder):
            raise Refusal(f"{folder} is not empty", "name another folder with --into", exit_code=1)
    except OSError as error:
        raise Refusal(f"cannot make {folder}: {error.strerror}", "name another folder with --into", 1) from None


def _next_commands(folder: str, name: str) -> list[str]:
    from . import paths

    build, source = shlex.quote(os.path.join(folder, "build")), shlex.quote(folder)
    sdk = shlex.quote(paths.find()["cmake"] or "PREFIX/lib/cmake/arraybridge-sdk")
    plugins = shlex.quote(os.path.join(os.path.abspath(folder), "build", "plugins"))
    return [
        f"cmake -S {source} -B {build} -Darraybridge-sdk_DIR={sdk} -DPython_EXECUTABLE={shlex.quote(sys.executable)}",
        f"cmake --build {build}",
        f"ARRAYBRIDGE_PLUGIN_PATH={plugins} arraybridge plan numpy {name} --shape 8",
    ]


def run(options: argparse.Namespace) -> int:
    """Copy the template and say what to do next."""
    from . import tables

    _check_name(options.name)
    template = _template()
    folder = options.into or f"arraybridge-{options.name}"
    _make_folder(folder)
    files = _copy(template, folder, options.name)
    commands = _next_commands(folder, options.name)
    if options.json:
        tables.print_json({"name": options.name, "folder": folder, "files": files, "commands": commands})
        return 0
    out = tables.console()
    out.print(f"made {', '.join(files)}")
    tables.heading(out, "Build it, and try it:")
    for command in commands:
        print(f"  {command}")  # not through rich: a command to be copied is never folded
    out.print("\nIt converts Python's own array.array. README.md says how to make it yours.")
    return 0
