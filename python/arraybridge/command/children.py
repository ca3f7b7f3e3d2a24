# SPDX-License-Identifier: MIT
"""Child processes: everything that starts a framework runs in one.

The parent's side. A child does one task of ``tasks.py`` and answers with lines of JSON on a pipe of its own, so that
what frameworks print cannot mix with it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from time import monotonic
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO, Any

    Answer = dict[str, Any]

# The parent's module search path is handed over: the child must find the same arraybridge and the same frameworks.
_START = "import sys, json; r = json.loads(sys.argv[1]); sys.path[:] = r['path']; "
_CODE = _START + "from arraybridge.command.tasks import serve; serve(r)"


class Outcome(NamedTuple):
    """What came of a child.

    Attributes
    ----------
    answers : list of dict
        What it said, in order.
    death : str
        Empty if it ended well; else how it ended, for people: ``"died of SIGSEGV"``.
    last_words : str
        The last line it printed before it died; may be empty.
    """

    answers: list[Answer]
    death: str
    last_words: str

    @property
    def how(self) -> str:
        """``death``, with the last words if there are any."""
        return f"{self.death} ({self.last_words})" if self.last_words else self.death


def _environment() -> dict[str, str]:
    return {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ}


def _start(task: str, request: Answer, answers: int, output: IO[bytes]) -> subprocess.Popen[bytes]:
    whole = {"task": task, "request": request, "answers": answers, "path": sys.path}
    return subprocess.Popen(
        [sys.executable, "-c", _CODE, json.dumps(whole)],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=[answers],
        env=_environment(),
    )


def _lines(pipe: int, patience: float) -> Iterator[bytes]:
    """Lines from ``pipe``; TimeoutError after ``patience`` seconds without one."""
    rest = b""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    deadline = monotonic() + patience
    while True:
        if not poll.poll(max(0.0, deadline - monotonic()) * 1000):
            raise TimeoutError
        read = os.read(pipe, 1 << 16)
        if not read:
            return
        *lines, rest = (rest + read).split(b"\n")
        if lines:
            deadline = monotonic() + patience
        yield from lines


def _last_words(output: IO[bytes]) -> str:
    output.seek(0)
    lines = [line.strip() for line in output.read().decode(errors="replace").splitlines()]
    # Python's own "Extension modules: …" after a fatal error says nothing about the cause.
    words = [line for line in lines if line and not line.startswith(("Extension modules", "<no Python frame>"))]
    return words[-1][:200] if words else ""


def _death(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}" if code else ""
    try:
        return f"died of {signal.Signals(-code).name}"
    except ValueError:
        return f"died of signal {-code}"


def _listen(process: subprocess.Popen[bytes], pipe: int, patience: float, heed: Callable[[Answer], None]) -> str:
    """Hand each answer to ``heed`` until the child ends. Returns how it ended, empty if well."""
    finished = False
    try:
        for line in _lines(pipe, patience):
            answer = json.loads(line)
            finished = "finished" in answer
            if not finished:
                heed(answer)
        code = process.wait(patience)
    except (TimeoutError, subprocess.TimeoutExpired):
        return f"gave no answer for {patience:g} s"
    finally:
        process.kill()
        process.wait()
    if code == 0 and not finished:
        return "ended in the middle"
    return (_death(code) + (" while it ended" if finished else "")) if code else ""


def run(task: str, request: Answer, patience: float, heed: Callable[[Answer], None] | None = None) -> Outcome:
    """Run one task in a child process.

    Parameters
    ----------
    task : str
        Name of a function of ``tasks.py``.
    request : dict
        What it gets; plain values.
    patience : float
        Seconds that may pass between two answers.
    heed : callable, optional
        Called with each answer as it arrives.
    """
    answers: list[Answer] = []

    def take(answer: Answer) -> None:
        answers.append(answer)
        if heed is not None:
            heed(answer)

    ours, theirs = os.pipe()
    with tempfile.TemporaryFile() as output:
        try:
            process = _start(task, request, theirs, output)
            os.close(theirs)
            theirs = -1
            death = _listen(process, ours, patience, take)
        finally:
            os.close(ours)
            if theirs >= 0:
                os.close(theirs)
        return Outcome(answers, death, _last_words(output) if death else "")


def run_each(
    task: str, requests: dict[str, Answer], patience: float, heed: Callable[[str], None]
) -> dict[str, Outcome]:
    """Run one task for several requests, each in a child of its own, a few at a time.

    ``heed`` is called with the name of each as it is done.
    """
    from concurrent.futures import ThreadPoolExecutor, as_completed

    workers = max(1, min(4, len(requests), os.cpu_count() or 1))
    outcomes: dict[str, Outcome] = {}
    with ThreadPoolExecutor(workers) as pool:
        waiting = {pool.submit(run, task, request, patience): name for name, request in requests.items()}
        for done in as_completed(waiting):
            outcomes[waiting[done]] = done.result()
            heed(waiting[done])
    return {name: outcomes[name] for name in requests}
