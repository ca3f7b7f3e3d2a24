"""Runs a case in a process of its own, so that a crash is a result and not the end of the tests.

A server imports the frameworks and forks a child for each case, which costs a fraction of a second instead of the many
that the imports take. The server starts none of them: a child that is forked after JAX or OpenCL have started hangs.
"""

from __future__ import annotations

import atexit
import faulthandler
import gc
import importlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

HERE = Path(__file__).parent
PRELOADED = ["frameworks", "numpy", "torch", "tensorflow", "jax", "jax.numpy"]
"""`frameworks` first: it prepares the OpenCL drivers, which must happen before TensorFlow is imported."""

TIMED_OUT = -1000
"""Stands for the exit status of a child that had to be stopped."""


@dataclass(frozen=True)
class Outcome:
    """How a child ended."""

    status: int  # as of subprocess: a negative number is a signal
    verdict: Any  # what the case returned; None if it never did
    output: str  # the end of what it wrote

    def check(self) -> Any:
        """The verdict of a child that ended well; anything else fails the test."""
        if self.status == TIMED_OUT:
            ending = "did not end in time"
        elif self.status < 0:
            ending = f"died of {signal.Signals(-self.status).name}"
        else:
            ending = f"ended with {self.status}"
        assert self.status == 0, f"the child {ending}\n{self.output}"
        assert self.verdict is not None, f"the child gave no verdict\n{self.output}"
        return self.verdict


class Server:
    """One server process; runs one child at a time."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="arraybridge-children-")
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__)), self._folder.name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, module: str, function: str, arguments: list[Any], timeout: float) -> Outcome:
        """Calls `module.function(*arguments)` in a new child."""
        assert self._process.stdin is not None and self._process.stdout is not None
        request = {"module": module, "function": function, "arguments": arguments, "timeout": timeout}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the fork server itself has died"
        verdict = Path(self._folder.name, "verdict")
        output = Path(self._folder.name, "output").read_bytes().decode(errors="replace")[-6000:]
        return Outcome(json.loads(answer), json.loads(verdict.read_text()) if verdict.exists() else None, output)

    def close(self) -> None:
        """Ends the server."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._folder.cleanup()


class Children:
    """Two servers, and a queue of cases for them."""

    def __init__(self, width: int = 2) -> None:
        self._servers: SimpleQueue[Server] = SimpleQueue()
        self._threads = ThreadPoolExecutor(width)
        self._all = [Server() for _ in range(width)]
        self._started: dict[str, Future[Outcome]] = {}
        for server in self._all:
            self._servers.put(server)

    def _run(self, *call: Any) -> Outcome:
        server = self._servers.get()
        try:
            return server.run(*call)
        finally:
            self._servers.put(server)

    def start(self, module: str, function: str, *arguments: Any, timeout: float = 60) -> Future[Outcome]:
        """Queues a case; asking for the same one again gives the same future."""
        key = json.dumps([module, function, arguments])
        if key not in self._started:
            self._started[key] = self._threads.submit(self._run, module, function, list(arguments), timeout)
        return self._started[key]

    def run(self, module: str, function: str, *arguments: Any, timeout: float = 60) -> Outcome:
        """Runs a case, or waits for it if it was queued before."""
        return self.start(module, function, *arguments, timeout=timeout).result()

    def close(self) -> None:
        """Waits for what runs, forgets what is queued."""
        self._threads.shutdown(cancel_futures=True)
        for server in self._all:
            server.close()


# ---------------------------------------------------------------- the server process


def _end(status: int) -> None:
    """Leaves after the exit hooks; taking down some thousand modules takes seconds and is not what these tests ask."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _be_the_child(request: dict[str, Any], folder: Path) -> None:
    output = os.open(folder / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    faulthandler.enable()
    try:
        call = getattr(importlib.import_module(request["module"]), request["function"])
        verdict = json.dumps(call(*request["arguments"]))
    except BaseException:
        traceback.print_exc()
        _end(1)
    (folder / "verdict").write_text(verdict)
    _end(0)


def _wait(child: int, timeout: float) -> int:
    handle = os.pidfd_open(child)
    ended, _, _ = select.select([handle], [], [], timeout)
    os.close(handle)
    if not ended:
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status if ended else TIMED_OUT


def _serve(folder: Path) -> None:
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.path.insert(0, str(HERE))
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()  # a collection in a child looks at the child's own objects only
    while line := requests.readline():
        (folder / "verdict").unlink(missing_ok=True)
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _be_the_child(request, folder)
        answers.write(f"{_wait(child, request['timeout'])}\n")
        answers.flush()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
