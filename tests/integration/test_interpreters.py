"""Subinterpreters, and the end of the interpreter: nothing crashes, and what cannot be done is an error."""

from __future__ import annotations

import subprocess
import sys

import pytest

SUBINTERPRETER = """
import arraybridge, weakref, numpy as np
try:
    import _xxsubinterpreters as interpreters
except ImportError:
    import _interpreters as interpreters
"""

# torch lets go of the GIL where it frees a tensor: the source must then be released later, not there and then.
RELEASE = """
interpreters.destroy(interpreters.create())
memory = np.zeros((1 << 15) + 16, np.float32)
source = memory[-memory.ctypes.data % 64 // 4 :][: 1 << 15]
released = []
watch = weakref.ref(source, lambda _: released.append(sum(range(1000))))
result = arraybridge.convert(source, {target!r})
del source, result
arraybridge.drain()
deadline = __import__("time").monotonic() + 10
while not released and __import__("time").monotonic() < deadline:
    arraybridge.drain()
assert released, "never released"
print("fine")
"""

IMPORT = """
inner = interpreters.create()
code = "import sys; sys.path[:] = %r; import arraybridge" % sys.path
try:
    outcome = interpreters.run_string(inner, code)
    print("refused" if outcome is not None else "imported")
except Exception as error:
    print("refused" if "main interpreter only" in str(error) else error)
interpreters.destroy(inner)
assert arraybridge.convert(np.ones(3), "numpy", copy=True).sum() == 3
print("fine")
"""

AT_EXIT = """
import atexit
def late():
    try:
        arraybridge.convert(np.ones(3), "torch")
    except arraybridge.MemoryConversionError as error:
        print("fine" if "ending" in str(error) else error)
atexit.register(late)
import numpy as np
import arraybridge
arraybridge.convert(np.ones(3), "torch")
"""


def run(script: str) -> str:
    outcome = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert outcome.returncode == 0, outcome.stderr[-2000:]
    return outcome.stdout


@pytest.mark.parametrize("target", ["torch", "jax"])
def test_a_source_is_released_after_a_subinterpreter_has_existed(target: str) -> None:
    assert run(SUBINTERPRETER + RELEASE.format(target=target)).split()[-1] == "fine"


def test_a_subinterpreter_is_refused_and_does_no_harm() -> None:
    assert run("import sys" + SUBINTERPRETER + IMPORT).split() == ["refused", "fine"]


def test_a_conversion_after_our_exit_hook_is_an_error() -> None:
    assert run(AT_EXIT).split()[-1] == "fine"
