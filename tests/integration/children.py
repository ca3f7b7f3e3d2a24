"""Runs a case in a process of its own, so that a crash is a result and not the end of the tests.

A process imports the frameworks, once, and forks servers, each of which forks a child for each case: that costs a
fraction of a second instead of the many that the imports take, and all share the memory of what was imported. None of
them starts a framework: a child that is forked after JAX or OpenCL have started hangs.
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
import socket
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

    def __init__(self, connection: socket.socket, folder: Path) -> None:
        self._connection = connection
        self._folder = folder
        self._folder.mkdir()

    def run(self, module: str, function: str, arguments: list[Any], timeout: float) -> Outcome:
        """Calls `module.function(*arguments)` in a new child."""
        request = {"module": module, "function": function, "arguments": arguments, "timeout": timeout}
        self._connection.sendall(json.dumps(request).encode() + b"\n")
        with self._connection.makefile() as answers:  # one line, after which the server waits for the next request
            answer = answers.readline()
        assert answer, "the fork server itself has died"
        verdict = self._folder / "verdict"
        output = (self._folder / "output").read_bytes().decode(errors="replace")[-6000:]
        return Outcome(json.loads(answer), json.loads(verdict.read_text()) if verdict.exists() else None, output)

    def close(self) -> None:
        """Lets the server end."""
        self._connection.close()


class Children:
    """Servers, and a queue of cases for them."""

    def __init__(self, width: int = 2) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="arraybridge-children-")
        ours, theirs = zip(*[socket.socketpair() for _ in range(width)], strict=True)
        handles = [one.fileno() for one in theirs]
        self._process = subprocess.Popen(
            [sys.executable, __file__, self._folder.name, *map(str, handles)], pass_fds=handles
        )
        self._all = [
            Server(connection, Path(self._folder.name, str(handle)))
            for connection, handle in zip(ours, handles, strict=True)
        ]
        for one in theirs:
            one.close()
        self._servers: SimpleQueue[Server] = SimpleQueue()
        self._threads = ThreadPoolExecutor(width)
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
        self._process.wait()
        self._folder.cleanup()


# ---------------------------------------------------------------- the server processes


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


def _serve(connection: socket.socket, folder: Path) -> None:
    requests, answers = connection.makefile(), connection.makefile("w")
    while line := requests.readline():
        (folder / "verdict").unlink(missing_ok=True)
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _be_the_child(request, folder)
        answers.write(f"{_wait(child, request['timeout'])}\n")
        answers.flush()


def _main(folder: Path, handles: list[int]) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.path.insert(0, str(HERE))
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()  # a collection in a child looks at the child's own objects only
    connections = {handle: socket.socket(fileno=handle) for handle in handles}
    servers = []
    for handle, connection in connections.items():
        servers.append(os.fork())
        if servers[-1] == 0:
            for other in connections.values():
                if other is not connection:
                    other.close()  # or it would stay open when the server at its end has died
            _serve(connection, folder / str(handle))
            os._exit(0)
    for connection in connections.values():
        connection.close()
    for server in servers:
        os.waitpid(server, 0)
    os._exit(0)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), [int(word) for word in sys.argv[2:]])
