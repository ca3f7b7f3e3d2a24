# SPDX-License-Identifier: MIT
"""``arraybridge doctor``: what was looked at, what is wrong, and what to do."""

from __future__ import annotations

import os

from . import clash, libraries, paths, tables
from .environment import judge_environment
from .finding import Finding
from .known import INSTALL, advice, is_installed, may_start

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from typing import Any

    from .children import Outcome
    from .finding import Severity

    Show = Callable[[str, int], None]

SUMMARY = "look at every plugin, framework and driver: what is wrong, and what to do"
EXAMPLES = """\
  arraybridge doctor
  arraybridge doctor --fast            starts no framework: at once
  arraybridge doctor --problems        only what needs attention
  arraybridge doctor --json | jq '.findings[] | select(.severity == "problem")'

exit codes: 0 no problems, 1 problems, 2 wrong usage
"""

#: What --problems leaves out.
QUIET = ("ok", "absent")

_TITLES = {
    "plugins": "Plugins",
    "frameworks": "Frameworks",
    "clashes": "Clashes",
    "environment": "Environment",
    "library": "Library",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--fast", action="store_true", help="do not start the frameworks")
    parser.add_argument("--problems", action="store_true", help="leave out what is ok")
    parser.add_argument(
        "--timeout", type=float, default=120.0, metavar="S", help="seconds that a framework may take (default: 120)"
    )


# ------------------------------------------------------------------ plugins


def _is_shadowed(row: dict[str, str]) -> bool:
    """Whether this is arraybridge's own plugin, and another one found first has its name."""
    ours = paths.find()["plugins"]
    return row["status"] == "UNSUPPORTED" and bool(ours) and os.path.dirname(row["path"]) == os.path.realpath(ours)


def _plugin_severity(row: dict[str, str]) -> Severity:
    if row["status"] == "OK":
        return "ok"
    # UNSUPPORTED is a second plugin of a name that is taken: the first one works.
    return "note" if row["status"] == "UNSUPPORTED" and not _is_shadowed(row) else "problem"


#: Who named the places that plugins are looked for in.
_PLACES = {
    "api": "named by the program",
    "environment": "from ARRAYBRIDGE_PLUGIN_PATH",
    "distribution": "from an installed package",
    "user": "the user's folder",
    "library": "beside the library",
}


def _plugin_text(row: dict[str, str], is_folder: bool) -> str:
    place = f"({_PLACES.get(row['place'], row['place'])})"
    loaded = f"{row['name']} {row['version']}: loaded" if row["status"] == "OK" and row["name"] else ""
    shadowed = f"arraybridge's own plugin for {row['name']} is not used" if _is_shadowed(row) else ""
    text = "; ".join(part for part in (loaded, shadowed, row["reason"]) if part)
    return f"{text} {place}" if is_folder or row["status"] != "OK" else text


def _plugin_advice(row: dict[str, str]) -> str:
    if row["status"] == "OK" or row["hint"]:
        return row["hint"]
    named = ", or take it out of ARRAYBRIDGE_PLUGIN_PATH" if row["place"] == "environment" else ""
    return f"repair or remove it{named}"


def _judge_plugin(row: dict[str, str], folder: dict[str, str] | None, is_folder: bool) -> Finding:
    """One file or folder; ``folder`` is the row of the folder that it lies in."""
    if folder is not None and row["status"] != "OK" and folder["reason"] == row["reason"]:
        return Finding("plugins", "note", row["path"], "not loaded, as its folder is refused")
    return Finding(
        "plugins", _plugin_severity(row), row["path"], _plugin_text(row, is_folder), _plugin_advice(row)
    )  # fmt: skip


def judge_plugins(trace: list[dict[str, str]]) -> list[Finding]:
    """One finding for each file and folder that was looked at for plugins."""
    rows = {row["path"]: row for row in trace}
    folders = {os.path.dirname(path) for path in rows}
    findings = [_judge_plugin(row, rows.get(os.path.dirname(path)), path in folders) for path, row in rows.items()]
    if not any(row["status"] == "OK" and row["name"] for row in trace):
        findings.append(
            Finding("plugins", "problem", "backends", "no plugin is loaded: nothing can be converted",
                    "reinstall arraybridge, or name a folder of plugins in ARRAYBRIDGE_PLUGIN_PATH")
        )  # fmt: skip
    return findings


# ------------------------------------------------------------------ frameworks


_NO_PROBE = "loaded; its plugin has no probe()"


def _known_of(backend: dict[str, Any]) -> str:
    """What stands before what a framework does: its version, if that is known."""
    return _NO_PROBE if backend["probed"] == "UNSUPPORTED" else backend["framework_version"] or "installed"


def _judge_started(backend: dict[str, Any], outcome: Outcome) -> Finding:
    """A framework that a child process tried to start."""
    name = backend["name"]
    known = _known_of(backend)
    answer = outcome.answers[-1] if outcome.answers else {}
    if outcome.death:
        started = "starts, but its process " if "devices" in answer else "its process "
        return Finding(
            "frameworks", "problem", name, f"{known}: {started}{outcome.how}",
            f'try `python -c "import {name}"`; if that works, report this',
        )  # fmt: skip
    if "error" in answer:
        error = answer["error"]
        # A framework without its hardware is a fact, not a fault.
        severity: Severity = "note" if error["status"] in ("UNAVAILABLE", "NO_DEVICE") else "problem"
        return Finding("frameworks", severity, name, f"{known}: {error['reason']}", error["hint"])
    devices = ", ".join(device["device"] for device in answer["devices"]) or "no device"
    text = f"{answer['version'] or known}: starts in {answer['seconds']:.1f} s; {devices}"
    detail = backend["detail"] if backend["probed"] == "OK" else ""
    return Finding("frameworks", "note" if detail else "ok", name, f"{text}; {detail}" if detail else text)


def _judge_resting(backend: dict[str, Any]) -> Finding:
    """A framework that nobody tried to start."""
    name = backend["name"]
    if not backend["python"]:
        return Finding("frameworks", "ok", name, "for C programs; Python cannot reach it")
    if backend["probed"] == "UNSUPPORTED":
        return Finding("frameworks", "ok", name, _NO_PROBE)
    if backend["probed"] != "OK":
        return Finding("frameworks", "problem", name, backend["detail"], "repair its plugin, see Plugins above")
    if backend["installed"]:
        version = backend["framework_version"] or "version unknown"
        if backend["detail"]:
            return Finding("frameworks", "note", name, f"{version}: {backend['detail']}")
        return Finding("frameworks", "ok", name, f"{version}: installed, not started")
    detail = backend["detail"] or "not installed"
    if detail.startswith(f"{name} is not installed"):
        detail = "not installed"
    install = advice(name)
    return Finding("frameworks", "absent", name, detail, f"to use it: {install}" if install else "")


def _judge_number(backends: list[dict[str, Any]]) -> list[Finding]:
    """With fewer than two frameworks there is nothing to convert between."""
    there = [one["name"] for one in backends if may_start(one)]
    if len(there) >= 2 or not backends:
        return []
    text = f"{there[0]} alone is installed" if there else "none is installed"
    return [
        Finding("frameworks", "note", "frameworks", f"{text}: nothing to convert between yet", "install two of these")
    ]


def _judge_without_plugin(loaded: set[str]) -> list[Finding]:
    missing = [name for name in INSTALL if name not in loaded and is_installed(name)]
    return [
        Finding("frameworks", "note", name, "installed, but no plugin for it is loaded",
                "see Plugins above; if it is not named there, install the plugin")
        for name in missing
    ]  # fmt: skip


def judge_frameworks(backends: list[dict[str, Any]], started: dict[str, Outcome]) -> list[Finding]:
    """One finding for each framework that has a plugin or should have one."""
    findings = [
        _judge_started(backend, started[backend["name"]]) if backend["name"] in started else _judge_resting(backend)
        for backend in backends
    ]
    return findings + _judge_without_plugin({backend["name"] for backend in backends}) + _judge_number(backends)


# ------------------------------------------------------------------ clashes


def _tensorflow_and_pyclesperanto() -> tuple[bool, bool]:
    return is_installed("tensorflow"), is_installed("pyclesperanto")


def _fast_clashes() -> list[Finding]:
    """Clashes that can be concluded from files alone."""
    shipped = {path: ["in a wheel"] for path in libraries.shipped_openmp(INSTALL)}
    vendors = [vendor.to_json() for vendor in libraries.opencl_vendors()]
    return [
        clash.judge_openmp(shipped, certain=False),
        *clash.judge_opencl(vendors, None, *_tensorflow_and_pyclesperanto()),
    ]


def _full_clashes(started: dict[str, Outcome], patience: float, show: Show) -> list[Finding]:
    """Clashes seen in child processes: each framework alone, the drivers, then everything in one process."""
    from . import children

    alive = {name: one.answers[-1] for name, one in started.items() if not one.death and "devices" in one.answers[-1]}
    users = clash.loaded_openmp({name: answer["libraries"] for name, answer in alive.items()})
    findings = [clash.judge_openmp(users, certain=True)]

    show("OpenCL drivers", len(started))
    drivers = children.run("vendors", {}, patience)
    seen = drivers.answers[-1] if not drivers.death else {"vendors": [], "libraries": []}
    if drivers.death:
        findings.append(Finding("clashes", "problem", "OpenCL", f"opening the drivers: the process {drivers.how}",
                                "remove the driver that is broken from OpenCL/vendors"))  # fmt: skip
    else:
        findings.extend(clash.judge_opencl(seen["vendors"], seen["libraries"], *_tensorflow_and_pyclesperanto()))
    if "numpy" in alive and len(alive) > 1:
        show("all in one process", len(started) + 1)
        findings.append(clash.judge_together(list(alive), children.run("together", {"names": list(alive)}, patience)))
    return findings


# ------------------------------------------------------------------ the library itself


def _judge_interpreter(trace: list[dict[str, str]]) -> Finding:
    # Text files and the like are INCOMPATIBLE as well.
    wrong = [row["path"] for row in trace if row["status"] == "INCOMPATIBLE" and row["reason"].startswith("built for")]
    if wrong:
        return Finding("library", "problem", "interpreter", f"built for another interface: {', '.join(wrong)}",
                       "see Plugins above")  # fmt: skip
    return Finding("library", "ok", "interpreter", "every plugin that was found matches this Python")


def judge_library(trace: list[dict[str, str]]) -> list[Finding]:
    """Versions of what arraybridge itself is made of."""
    from .info import versions

    version = versions()
    where = libraries.mapped_library("libarraybridge") or libraries.native_path()
    ltdl = libraries.mapped_library("libltdl")
    dlpack = paths.header_numbers("dlpack/dlpack.h", "DLPACK_MAJOR_VERSION", "DLPACK_MINOR_VERSION")
    return [
        Finding("library", "ok", "arraybridge", f"{version['arraybridge']}, {where}"),
        Finding("library", "ok", "contract", version["contract"] or "unknown: no headers here"),
        Finding("library", "ok", "libltdl", ltdl or "linked into libarraybridge"),
        Finding("library", "ok", "DLPack", dlpack or "built in; no headers here"),
        Finding("library", "ok", "Python", f"{version['python']}, {version['platform']}"),
        _judge_interpreter(trace),
    ]


# ------------------------------------------------------------------ all of it


def _start_frameworks(names: list[str], patience: float, show: Show) -> dict[str, Outcome]:
    from . import children

    done: list[str] = []

    def heed(name: str) -> None:
        done.append(name)
        show(f"{', '.join(one for one in names if one not in done)} to start", len(done))

    show(f"{', '.join(names)} to start", 0)
    return children.run_each("framework", {name: {"name": name} for name in names}, patience, heed)


def examine(fast: bool, patience: float) -> list[Finding]:
    """Look at everything."""
    import arraybridge

    backends = [backend.to_json() for backend in arraybridge.backends()]
    trace = arraybridge.load_trace()
    names = [] if fast else [backend["name"] for backend in backends if may_start(backend)]
    with tables.progress("examining", len(names) + 2) as show:
        started = _start_frameworks(names, patience, show) if names else {}
        clashes = _fast_clashes() if fast else _full_clashes(started, patience, show)
    return [
        *judge_plugins(trace),
        *judge_frameworks(backends, started),
        *clashes,
        *judge_environment(),
        *judge_library(trace),
    ]


def _text(finding: Finding) -> Any:
    from rich.text import Text

    text = Text(finding.text)
    if finding.advice:
        text.append("\n-> " + finding.advice, style="bold" if finding.severity == "problem" else "")
    return text


def _row(finding: Finding, subject: str, width: int) -> Any:
    """One finding: mark, subject, text. A subject wider than ``width`` gets a line of its own."""
    from rich.table import Table
    from rich.text import Text

    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_column(width=len("problem"), no_wrap=True)
    mark = tables.marked(finding.severity)
    if len(subject) > width:
        row.add_column(overflow="fold")
        row.add_row(mark, Text(f"{subject}\n") + _text(finding))
        return row
    row.add_column(width=width, no_wrap=True)
    row.add_column(overflow="fold")
    row.add_row(mark, subject, _text(finding))
    return row


def _subjects(findings: list[Finding]) -> list[str]:
    """What each finding is about, for people: files without the folder that stands above them."""
    subjects: list[str] = []
    folder = ""
    for finding in findings:
        inside = bool(folder) and os.path.dirname(finding.subject) == folder
        subjects.append(f"  {os.path.basename(finding.subject)}" if inside else tables.short_path(finding.subject))
        if not inside:
            folder = finding.subject if finding.section == "plugins" else ""
    return subjects


def _show_section(findings: list[Finding]) -> None:
    out = tables.console()
    subjects = _subjects(findings)
    widest = out.width * 2 // 5
    width = max((len(subject) for subject in subjects if len(subject) <= widest), default=0)
    for finding, subject in zip(findings, subjects, strict=True):
        out.print(_row(finding, subject, width))


def _count(number: int, word: str) -> str:
    return f"{number or 'no'} {word}{'' if number == 1 else 's'}"


def _show(findings: list[Finding], only_bad: bool) -> None:
    out = tables.console()
    for section, title in _TITLES.items():
        mine = [one for one in findings if one.section == section and not (only_bad and one.severity in QUIET)]
        if mine:
            out.print(title, style="bold")
            _show_section(mine)
            out.print()
    problems, notes = (sum(one.severity == word for one in findings) for word in ("problem", "note"))
    out.print(tables.marked("problem" if problems else "ok", f"{_count(problems, 'problem')}, {_count(notes, 'note')}"))


def run(options: argparse.Namespace) -> int:
    """Print what was found. Exit code 1 if there is a problem."""
    findings = examine(options.fast, options.timeout)
    problems = sum(finding.severity == "problem" for finding in findings)
    if options.json:
        shown = [one._asdict() for one in findings if not (options.problems and one.severity in QUIET)]
        notes = sum(finding.severity == "note" for finding in findings)
        tables.print_json({"problems": problems, "notes": notes, "findings": shown})
    else:
        _show(findings, options.problems)
    return 1 if problems else 0
