"""Runs the cases on the arraybridge that this interpreter finds, each in a child process, and writes JSON.

``run_cases.py FILE.json [WORD …]``: only cases whose name has one of the words.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import select
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

FILES = ("cases_02", "cases_05", "cases_wrong")
TIMEOUT = 120


def preload(names: tuple[str, ...]) -> None:
    """Import what many cases need; start none of it, since a child of a started framework hangs."""
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError:
            print(f"{name} is not installed", file=sys.stderr)


def run_child(file: str, name: str, reader: int, writer: int) -> None:
    os.close(reader)
    silence = os.open(os.devnull, os.O_RDWR)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    from case import result_of

    try:
        text = json.dumps(result_of(importlib.import_module(file).case[name]))
    except BaseException:
        text = json.dumps({"raises": "BaseException", "text": traceback.format_exc()[-300:]})
    with os.fdopen(writer, "w") as pipe:
        pipe.write(text)
    os._exit(0)


def run(file: str, name: str) -> Any:
    """The result of one case; ``{"died": signal}`` where the process did."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        run_child(file, name, reader, writer)
    os.close(writer)
    handle = os.pidfd_open(child)
    ended, _, _ = select.select([handle], [], [], TIMEOUT)
    os.close(handle)
    if not ended:
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with os.fdopen(reader) as pipe:
        text = pipe.read() if status == 0 else ""
    if not ended:
        return {"died": f"no answer in {TIMEOUT} s"}
    if status != 0:
        return {"died": signal.Signals(-status).name if status < 0 else f"exit status {status}"}
    return json.loads(text)


def main() -> None:
    """Run them all, those without TensorFlow first: it must not be loaded where pyclesperanto is."""
    target, words = Path(sys.argv[1]), sys.argv[2:]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import arraybridge

    cases = [(file, one) for file in FILES for one in importlib.import_module(file).case.values()]
    if words:
        cases = [pair for pair in cases if any(word in pair[1].name for word in words)]
    results: dict[str, Any] = {}
    for tensorflow in (False, True):
        preload(("numpy", "torch", "jax", "jax.numpy", "tensorflow") if tensorflow else ("numpy", "torch", "jax.numpy"))
        for file, one in cases:
            if ("tensorflow" in one.needs) == tensorflow:
                results[f"{file}.{one.name}"] = run(file, one.name)
    version = getattr(arraybridge, "__version__", "")
    target.write_text(json.dumps({"version": version, "results": results}, indent=1))


if __name__ == "__main__":
    main()
