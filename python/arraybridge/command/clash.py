# SPDX-License-Identifier: MIT
"""Libraries of different frameworks that do not go together in one process."""

from __future__ import annotations

import os

from .finding import Finding
from .libraries import openmp_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .children import Outcome

_SECTION = "clashes"

# ------------------------------------------------------------------ OpenMP

#: Two copies of one of these end the process: "OMP: Error #15".
_LLVM_RUNTIMES = ("libiomp5", "libomp")


def loaded_openmp(libraries: dict[str, list[str]]) -> dict[str, list[str]]:
    """OpenMP runtime: the frameworks that load it. ``libraries`` are those in each framework's process."""
    users: dict[str, list[str]] = {}
    for framework, paths in libraries.items():
        for path in filter(openmp_name, paths):
            users.setdefault(os.path.realpath(path), []).append(framework)
    return users


def judge_openmp(users: dict[str, list[str]], certain: bool) -> Finding:
    """Whether one process would have several OpenMP runtimes.

    Parameters
    ----------
    users : dict
        OpenMP runtime: who loads it, or would.
    certain : bool
        Whether it was seen, or only concluded from the files in the wheels.
    """
    told = "; ".join(f"{path} ({', '.join(names)})" for path, names in users.items())
    if len(users) < 2:
        none = "no framework loads one" if certain else "no wheel brings one"
        return Finding(_SECTION, "ok", "OpenMP runtimes", f"one: {told}" if users else none)
    llvm = [path for path in users if openmp_name(path) in _LLVM_RUNTIMES]
    verb = "are loaded" if certain else "lie in the installed wheels and may be loaded"
    text = f"{len(users)} {verb}: {told}"
    if len(llvm) > 1:
        return Finding(
            _SECTION, "problem", "OpenMP runtimes", f"{text}; two of this kind end the process with \"OMP: Error #15\"",
            "install these packages from one source (all from conda-forge, or none), so that they share one runtime",
        )  # fmt: skip
    return Finding(
        _SECTION, "note", "OpenMP runtimes", f"{text}; each starts threads of its own",
        "if the machine is overloaded, set OMP_NUM_THREADS before Python starts, or use threadpoolctl",
    )  # fmt: skip


# ------------------------------------------------------------------ OpenCL


def _unnamed(vendor: dict[str, Any]) -> Finding:
    return Finding(
        _SECTION, "problem", f"OpenCL {vendor['path']}", "names no library, or cannot be read",
        "repair or remove the file",
    )  # fmt: skip


def _judge_vendor(vendor: dict[str, Any], tried: bool, meets_tensorflow: bool) -> Finding:
    """One driver. ``meets_tensorflow``: TensorFlow is there, and its LLVM may collide with the driver's."""
    subject = f"OpenCL {vendor['library'] or vendor['path']}"
    if not vendor["library"]:
        return _unnamed(vendor)
    if tried and not vendor["loaded"]:
        return Finding(
            _SECTION, "problem", subject, f"named by {vendor['path']}, but cannot be opened",
            f"reinstall the driver, or remove {vendor['path']}",
        )  # fmt: skip
    if meets_tensorflow:
        return Finding(
            _SECTION, "note", subject,
            "collides with TensorFlow's LLVM: `import tensorflow`, then `import pyclesperanto` may kill the process",
            "conversions take care of it; before your own imports of the two, call arraybridge.prepare()",
        )  # fmt: skip
    return Finding(_SECTION, "ok", subject, f"named by {vendor['path']}")


def judge_opencl(
    vendors: list[dict[str, Any]], libraries: list[str] | None, has_tensorflow: bool, has_pyclesperanto: bool
) -> list[Finding]:
    """The OpenCL drivers, each alone and beside TensorFlow.

    Parameters
    ----------
    vendors : list of dict
        As ``Vendor.to_json`` gives them.
    libraries : list of str or None
        What a process had in it once the drivers were opened; None: nobody tried.
    has_tensorflow, has_pyclesperanto : bool
        Whether these are installed.
    """
    if not vendors and has_pyclesperanto:
        advice = "install the driver of your device; for the CPU: pocl-opencl-icd"
        return [Finding(_SECTION, "problem", "OpenCL", "pyclesperanto is installed, but no driver is", advice)]
    if not vendors:
        return [Finding(_SECTION, "ok", "OpenCL", "no driver is installed; only pyclesperanto needs one")]
    has_llvm = libraries is None or any(os.path.basename(path).startswith("libLLVM") for path in libraries)
    meets = has_tensorflow and has_pyclesperanto and has_llvm
    return [_judge_vendor(vendor, libraries is not None, meets) for vendor in vendors]


# ------------------------------------------------------------------ all in one process


def judge_together(names: list[str], outcome: Outcome) -> Finding:
    """What came of starting all frameworks in one process."""
    subject = "all in one process"
    doing = next((answer["doing"] for answer in reversed(outcome.answers) if "doing" in answer), "it started")
    across = {answer["name"]: answer["across"] for answer in outcome.answers if "across" in answer}
    wrong = [f"numpy -> {name} -> numpy: {one['error']}" for name, one in across.items() if "error" in one]
    if wrong:
        return Finding(
            _SECTION, "problem", subject, "; ".join(wrong),
            "repair the plugin: strides, extents and exceptions, see `arraybridge paths --guide`",
        )  # fmt: skip
    if not outcome.death:
        refused = [f"; {name} not: {one['refusal']}" for name, one in across.items() if "refusal" in one]
        return Finding(_SECTION, "ok", subject, f"{', '.join(names)}: started, and converted across{''.join(refused)}")
    return Finding(
        _SECTION, "problem", subject, f"{', '.join(names)}: the process {outcome.how} while: {doing}",
        "use fewer of them in one process, and report this with the versions that `arraybridge info` shows",
    )  # fmt: skip
