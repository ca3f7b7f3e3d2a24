# SPDX-License-Identifier: MIT
"""``arraybridge info``: versions, plugins, devices."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from .children import Outcome

SUMMARY = "show versions, plugins, frameworks and their devices"
EXAMPLES = """\
  arraybridge info
  arraybridge info --no-devices          starts no framework: at once
  arraybridge info --json | jq '.backends[].name'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--no-devices", action="store_true", help="do not start the frameworks to ask for devices")
    parser.add_argument(
        "--timeout", type=float, default=60.0, metavar="S", help="seconds that a framework may take (default: 60)"
    )


def versions() -> dict[str, str]:
    """Versions of arraybridge, its contracts, Python and the platform."""
    import platform

    from .. import __version__
    from .paths import header_numbers

    return {
        "arraybridge": __version__,
        "contract": header_numbers("arraybridge/plugin.h", "AB_ABI_MAJOR", "AB_ABI_MINOR"),
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
    }


def device_rows(outcome: Outcome) -> tuple[list[dict[str, Any]], str]:
    """The devices that a child found, and what went wrong."""
    answer = outcome.answers[-1] if outcome.answers else {}
    if "devices" in answer:
        return answer["devices"], outcome.how
    error = answer.get("error")
    return [], f"{error['reason']}; {error['hint']}".rstrip("; ") if error else outcome.how


def _ask_devices(names: list[str], patience: float) -> dict[str, Outcome]:
    from . import children, tables

    with tables.progress("asking for devices", len(names)) as show:
        done: list[str] = []

        def heed(name: str) -> None:
            done.append(name)
            show(", ".join(one for one in names if one not in done), len(done))

        return children.run_each("framework", {name: {"name": name} for name in names}, patience, heed)


def gather(with_devices: bool, patience: float) -> dict[str, Any]:
    """Everything that ``info`` shows; the keys are those of ``--json``."""
    import arraybridge

    from .known import may_start

    backends = [backend.to_json() for backend in arraybridge.backends()]
    asked: dict[str, Outcome] = {}
    if with_devices:
        asked = _ask_devices([backend["name"] for backend in backends if may_start(backend)], patience)
    for backend in backends:
        rows, problem = device_rows(asked[backend["name"]]) if backend["name"] in asked else (None, "")
        backend.update({"devices": rows, "problem": problem})
    return {"versions": versions(), "backends": backends}


def _framework_text(backend: dict[str, Any]) -> str:
    if not backend["python"]:
        return "for C programs"
    if backend["probed"] == "UNSUPPORTED":
        return "not said"
    if not backend["installed"]:
        return "not installed"
    version = backend["framework_version"] or "installed"
    return f"{version}, imported" if backend["imported"] else str(version)


def _device_text(device: dict[str, Any]) -> str:
    from ..value import size_text

    facts = [size_text(device["memory_bytes"]) if device["memory_bytes"] else ""]
    facts += ["memory of the host"] if device["unified_memory"] else []
    told = ", ".join(fact for fact in facts if fact)
    return f"{device['name']}{f' ({told})' if told else ''}".strip()


def _remarks(backends: list[dict[str, Any]]) -> list[tuple[Any, str]]:
    """What keeps frameworks from being used. Nobody is told to install what this machine has no use for."""
    from .known import advice

    said: list[tuple[Any, str]] = []
    for one in backends:
        name, detail = one["name"], one["detail"]
        absent = not one["installed"] and detail.startswith(f"{name} is not installed")
        if absent and advice(name):
            said.append((name, f"not installed: {advice(name)}"))
        elif detail and not absent and one["probed"] != "UNSUPPORTED":
            said.append((name, detail))
    return said


def _show(found: dict[str, Any]) -> None:
    from . import tables
    from .known import may_start

    out = tables.console()
    version = found["versions"]
    contract = f", plugin contract {version['contract']}" if version["contract"] else ""
    out.print(f"arraybridge {version['arraybridge']}{contract}", style="bold")
    out.print(f"{version['implementation']} {version['python']} on {version['platform']}")
    if not found["backends"]:
        tables.heading(out, "No plugin is loaded: `arraybridge doctor` says why.")
        return
    folder = tables.common_folder([backend["path"] for backend in found["backends"]])
    tables.heading(out, f"Plugins{f' in {tables.short_path(folder)}' if folder else ''}")
    plugins = tables.table("Backend", "Plugin", "Framework", *([] if folder else ["File"]), keep=("Backend",))
    for backend in found["backends"]:
        file = [] if folder else [tables.short_path(backend["path"])]
        framework = tables.marked("" if may_start(backend) else "impossible", _framework_text(backend))
        plugins.add_row(backend["name"], backend["version"], framework, *file)
    out.print(plugins)
    _show_devices(found)
    if said := _remarks(found["backends"]):
        tables.heading(out, "Frameworks that cannot be used")
        tables.lines(out, said, indent=0)


def _show_devices(found: dict[str, Any]) -> None:
    from . import tables

    if all(backend["devices"] is None for backend in found["backends"]):
        return
    out = tables.console()
    tables.heading(out, "Devices (* the framework's default)")
    shown = tables.table("Backend", "Device", "Name", keep=("Backend", "Device"))
    for backend in found["backends"]:
        label = backend["name"]
        for device in backend["devices"] or ():
            shown.add_row(label, device["device"] + (" *" if device["default"] else ""), _device_text(device))
            label = ""
        if backend["problem"]:
            shown.add_row(label, "none" if label else "", tables.marked("note", backend["problem"]))
    out.print(shown)


def run(options: argparse.Namespace) -> int:
    """Print what there is. Exit code 1 if no plugin is loaded."""
    from . import tables

    found = gather(not options.no_devices, options.timeout)
    if options.json:
        tables.print_json(found)
    else:
        _show(found)
    return 0 if found["backends"] else 1
