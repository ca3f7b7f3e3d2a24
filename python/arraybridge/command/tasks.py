# SPDX-License-Identifier: MIT
"""What child processes do: the only part of the command that starts frameworks."""

from __future__ import annotations

import json
import os
import sys
from time import perf_counter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Say = Callable[[dict[str, Any]], None]


def _problem(error: BaseException) -> dict[str, str]:
    """What an exception says, as far as it is one of ours: status, reason and hint."""
    from .known import INSTALL

    if isinstance(error, ModuleNotFoundError) and error.name in INSTALL:
        return {"status": "UNAVAILABLE", "reason": f"{error.name} is not installed", "hint": INSTALL[error.name],
                "cause": str(error)}  # fmt: skip
    return {
        "status": getattr(error, "status", "") or type(error).__name__,
        "reason": getattr(error, "reason", "") or f"{type(error).__name__}: {error}".strip(),
        "hint": getattr(error, "hint", ""),
        "cause": str(error.__cause__ or ""),
    }


def framework(request: dict[str, Any], say: Say) -> None:
    """Start one framework: its devices, how long it took, and which libraries came with it."""
    import arraybridge

    from .libraries import mapped_runtimes

    start = perf_counter()
    try:
        devices = [device.to_json() for device in arraybridge.list_devices(request["name"])]
    except Exception as error:
        say({"error": _problem(error)})
        return
    seconds = perf_counter() - start
    version = next((one.framework_version for one in arraybridge.backends() if one.name == request["name"]), "")
    say({"devices": devices, "seconds": seconds, "version": version, "libraries": mapped_runtimes()})


def vendors(request: dict[str, Any], say: Say) -> None:
    """Open the OpenCL drivers as ``prepare()`` does: which ones can be opened, and what they bring along."""
    import arraybridge

    from .libraries import mapped_runtimes, opencl_vendors

    try:
        arraybridge.prepare()
    except Exception as error:
        say({"error": _problem(error)})
    say({"vendors": [vendor.to_json() for vendor in opencl_vendors()], "libraries": mapped_runtimes()})


def _there_and_back(name: str) -> dict[str, str]:
    """Convert arrays whose values all differ to a framework and back: what is wrong or why that cannot be done.

    Wrong strides and extents show in a 2-D array that is not square; a framework that has no such arrays gets others.
    """
    import numpy

    import arraybridge

    refusal = ""
    for dtype in ("float32", "uint8", "int32", "float64"):
        for shape in ((3, 5), (15,), (3, 5, 1)):
            sent = numpy.arange(1, 16, dtype=dtype).reshape(shape)
            try:
                got = arraybridge.convert(arraybridge.convert(sent, name), "numpy")
            except arraybridge.MemoryConversionError as error:
                if error.status not in ("UNSUPPORTED", "WOULD_CAST"):
                    return {"error": str(error)}
                refusal = refusal or error.reason
                continue
            if got.shape == sent.shape and got.dtype == sent.dtype and (got == sent).all():
                return {}
            return {"error": f"sent {sent.tolist()} as {dtype}, got {got.tolist()[:15]} as {got.dtype}"}
    return {"refusal": refusal}


def together(request: dict[str, Any], say: Say) -> None:
    """Start all frameworks in one process and convert a small array across them."""
    import arraybridge

    from .libraries import mapped_runtimes

    for name in request["names"]:
        say({"doing": f"{name} starts"})
        arraybridge.list_devices(name)
        say({"doing": f"numpy -> {name} -> numpy"})
        say({"name": name, "across": _there_and_back(name)})
    say({"libraries": mapped_runtimes()})


def memory(request: dict[str, Any], say: Say) -> None:
    """Start one framework and ask who holds what."""
    import arraybridge

    try:
        arraybridge.list_devices(request["name"])
        say({"holdings": arraybridge.memory_report(clear=request["clear"]).to_json()})
    except Exception as error:
        say({"error": _problem(error)})


def plan(request: dict[str, Any], say: Say) -> None:
    """Make an array and ask for the plan of its conversion."""
    import arraybridge

    from .sample import numpy_dtype, source_array

    try:
        if "dtype" in request["keywords"]:
            numpy_dtype(request["keywords"]["dtype"])
        array = source_array(request["source"], request["dtype"], tuple(request["shape"]), request["layout"])
    except Exception as error:
        say({"error": {**_problem(error), "during": "make"}})
        return
    say({"array": arraybridge.describe(array).to_json()})
    try:
        say({"plan": arraybridge.plan(array, request["target"], **request["keywords"]).to_json()})
    except Exception as error:
        say({"error": {**_problem(error), "during": "plan"}})


def matrix(request: dict[str, Any], say: Say) -> None:
    """Measure each of the pairs asked for."""
    from .measurement import measure

    measure(request, say)


#: Tasks whose process need not be taken down in order: how it ends is not part of the answer, and takes seconds.
_LEAVE_AT_ONCE = ("plan", "matrix")

_TASKS: dict[str, Callable[[dict[str, Any], Say], None]] = {
    task.__name__: task for task in (framework, vendors, together, plan, matrix, memory)
}


def serve(whole: dict[str, Any]) -> None:
    """Do the one task this process was started for."""
    os.set_inheritable(whole["answers"], False)  # not for whatever the frameworks start
    with open(whole["answers"], "w", encoding="utf-8", buffering=1) as pipe:

        def say(answer: dict[str, Any]) -> None:
            pipe.write(json.dumps(answer) + "\n")

        # C libraries that find argv interesting should not find ours.
        del sys.argv[1:]
        _TASKS[whole["task"]](whole["request"], say)
        say({"finished": True})
    if whole["task"] in _LEAVE_AT_ONCE:
        os._exit(0)
