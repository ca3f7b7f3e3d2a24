# SPDX-License-Identifier: MIT
"""Plugins that installed distributions announce, in the entry point group ``arraybridge.plugins``.

The value of an entry point is a path below the distribution (it has a slash), the name of a module whose folder holds
the plugins (which is not imported), or ``module:attribute``, where the attribute is a path or a function giving one.

Looking at all distributions takes tens of milliseconds. It is done once, and only when a backend of an unknown name or
an array of an unknown type turns up, or when all backends are asked for.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "arraybridge.plugins"

#: Announcements that could not be followed, as rows of the load trace.
problems: list[dict[str, str]] = []


def _module_folders(name: str) -> list[str]:
    from importlib.util import find_spec

    spec = find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"no module named {name!r}")
    if spec.submodule_search_locations:
        return list(spec.submodule_search_locations)
    if spec.origin is None:
        raise FileNotFoundError(f"module {name!r} has no folder")
    return [os.path.dirname(spec.origin)]


def _folders(point: EntryPoint) -> list[str]:
    if "/" in point.value:
        return [str(point.dist.locate_file(point.value) if point.dist else point.value)]
    if not point.attr:
        return _module_folders(point.module)
    value = point.load()
    return [os.fspath(value() if callable(value) else value)]


def _problem(point: EntryPoint, error: Exception) -> dict[str, str]:
    owner = point.dist.name if point.dist else "an unknown distribution"
    return {
        "status": "UNAVAILABLE",
        "path": point.value,
        "place": "distribution",
        "name": point.name,
        "version": "",
        "reason": f"{owner} announces plugins, but {type(error).__name__}: {error}",
        "hint": f"reinstall or remove {owner}",
    }


def announced_paths() -> list[str]:
    """Folders and files that distributions announce. One bad announcement never takes the others down."""
    from importlib.metadata import entry_points

    paths: list[str] = []
    problems.clear()
    for point in entry_points(group=GROUP):
        try:
            paths.extend(_folders(point))
        except Exception as error:
            problems.append(_problem(point, error))
    return paths
