"""A child that is forked while other threads of its parent are inside arraybridge converts as if it were new.

NumPy and torch only: a child that is forked after JAX or OpenCL have started hangs by itself. Each case runs in a
process of its own, which forks; a child that hangs is ended by its alarm.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BUILD = Path(os.environ.get("ARRAYBRIDGE_BUILD_DIR", ""))
pytestmark = pytest.mark.alone  # forks again and again while threads work, each child with a time limit
WAITING = BUILD / "fork" / "waiting_plugin.so"
CHILD_SECONDS = 30
FORKS = 40
ROUNDS = 20

# ---------------------------------------------------------------- the tests


def run(case: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, __file__, case],
        capture_output=True, text=True, timeout=240, env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, f"ended with {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    assert done.stdout.split()[-1:] == [case]


@pytest.mark.skipif(not WAITING.exists(), reason="ARRAYBRIDGE_BUILD_DIR has no plugin that waits")
def test_a_child_looks_for_plugins_while_another_thread_was_doing_so(tmp_path: Path) -> None:
    shutil.copy(WAITING, tmp_path / "waiting.so")
    run("discovery", ARRAYBRIDGE_PLUGIN_PATH=str(tmp_path))


def test_a_child_converts_while_four_threads_began_to() -> None:
    run("beginning")


def test_a_child_converts_while_four_threads_do() -> None:
    run("converting")


# ---------------------------------------------------------------- a process that forks


def convert_everything() -> None:
    """Converts between NumPy and torch, small and large, shared and copied."""
    import arraybridge
    import numpy as np

    small = np.arange(12, dtype=np.float32).reshape(3, 4)
    tensor = arraybridge.convert(small, "torch")
    small[0, 0] = 7
    assert tensor[0, 0].item() == 7
    back = arraybridge.convert(tensor, "numpy", copy=True)
    assert back is not small and back.tolist() == small.tolist()
    assert arraybridge.convert(small[::-1, ::2], "torch").tolist() == small[::-1, ::2].tolist()
    large = np.arange(2 << 20, dtype=np.float32).reshape(1024, 2048)  # copied by several threads
    for view in (large, large.T, large[::-1, ::2]):
        assert np.array_equal(arraybridge.convert(view, "numpy", copy=True), view)
        assert np.array_equal(arraybridge.convert(arraybridge.convert(view, "torch", copy=True), "numpy"), view)


def fork_and_wait(work: Callable[[], Any]) -> None:
    """Runs `work` in a child that must end well."""
    child = os.fork()
    if child == 0:
        signal.alarm(CHILD_SECONDS)
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == 0, f"the child ended with {status}"


def discovery() -> None:
    """Forks while the first conversion, on another thread, waits in the create() of a plugin."""
    entered, says = os.pipe()
    hears, go_on = os.pipe()
    os.environ["AB_WAITING_FILES"] = f"{says},{hears}"
    import arraybridge

    def look_and_convert() -> None:
        assert "waiting" in [backend.name for backend in arraybridge.backends()]
        convert_everything()

    first = threading.Thread(target=convert_everything)
    first.start()
    os.read(entered, 1)
    try:
        fork_and_wait(look_and_convert)
        fork_and_wait(lambda: fork_and_wait(look_and_convert))
    finally:
        os.write(go_on, b"g")
        first.join()
    look_and_convert()


def begin() -> None:
    """Forks while four threads do their first conversion."""
    import arraybridge  # noqa: F401

    start = threading.Barrier(5)
    threads = [threading.Thread(target=lambda: (start.wait(), convert_everything())) for _ in range(4)]
    for thread in threads:
        thread.start()
    start.wait()
    fork_and_wait(convert_everything)
    for thread in threads:
        thread.join()
    fork_and_wait(convert_everything)


def beginning() -> None:
    """begin(), each time in a new process without arraybridge."""
    for _ in range(ROUNDS):
        fork_and_wait(begin)


def converting() -> None:
    """Forks again and again while four threads convert."""
    import arraybridge
    import numpy as np

    stop = threading.Event()

    def share() -> None:
        array = np.ones((4, 4), np.float32)
        while not stop.is_set():
            arraybridge.convert(arraybridge.convert(array, "torch"), "numpy")

    def copy() -> None:
        array = np.ones((1024, 4096), np.float32)
        while not stop.is_set():
            arraybridge.convert(array[::-1, ::2], "torch", copy=True)

    threads = [threading.Thread(target=target) for target in (share, copy) * 2]
    for thread in threads:
        thread.start()
    try:
        for _ in range(FORKS):
            fork_and_wait(convert_everything)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)
    import numpy  # noqa: F401  (imported here, since a child cannot finish an import of a thread that it does not have)
    import torch  # noqa: F401

    {"discovery": discovery, "beginning": beginning, "converting": converting}[sys.argv[1]]()
    print(sys.argv[1])
