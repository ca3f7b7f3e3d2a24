"""The stream that a decorated function runs on. The CUDA driver is simulated, and so is the framework (tests/fakes)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import arraybridge
import pytest

BUILD = Path(os.environ.get("ARRAYBRIDGE_BUILD_DIR", ""))
DRIVER = BUILD / "conformance" / "driver"

simulated = pytest.mark.skipif(
    not ((BUILD / "fakes" / "fake_streams.so").is_file() and (DRIVER / "libcuda.so.1").is_file()),
    reason="ARRAYBRIDGE_BUILD_DIR has no simulated driver",
)

SLABS = """
from threading import local


class Current(local):  # of each thread: (handle, device) of what was entered
    def __init__(self):
        self.streams = []


current = Current()


class Slab(bytearray):
    on = -1


def make(data, on):
    slab = Slab(data)
    slab.on = on
    return slab


def handle_on(device):
    return next((handle for handle, where in reversed(current.streams) if where == device), 0)


def adopt(handle, device):
    return (handle, device)


def enter(stream):
    current.streams.append(stream)
    return current.streams.pop
"""

BEFORE = """
import ctypes, json, threading
import arraybridge, numpy, slabs

driver = ctypes.CDLL("libcuda.so.1")
driver.sim_reset(ctypes.c_uint64(1), 2, ctypes.c_uint64(1 << 20))
driver.sim_fault.restype = ctypes.c_char_p
decorator = arraybridge.backend("slabs")
on_host = numpy.arange(6, dtype=numpy.float32)
here, there = (slabs.make(on_host.tobytes(), on) for on in (0, 1))

def where(image, *others):
    return slabs.current.streams[-1] if slabs.current.streams else None

def seen(call):
    try:
        return call()
    except Exception as error:
        return [type(error).__name__, str(error)]
"""

AFTER = """
assert slabs.current.streams == [], slabs.current.streams
assert driver.sim_fault() is None, driver.sim_fault()
print(json.dumps(result))
"""


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Runs code in a process that has the framework `slabs`, and gives what it assigned to `result`."""
    (tmp_path / "plugins").mkdir()
    shutil.copy(BUILD / "fakes" / "fake_streams.so", tmp_path / "plugins" / "arraybridge_slabs.so")
    (tmp_path / "plugins" / "arraybridge_slabs.so").chmod(0o644)
    (tmp_path / "slabs.py").write_text(SLABS)
    paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {
        **os.environ,
        "PYTHONPATH": paths,
        "ARRAYBRIDGE_PLUGIN_PATH": str(tmp_path / "plugins"),
        "LD_LIBRARY_PATH": str(DRIVER),
    }

    def in_child(code: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-c", f"{BEFORE}\n{code}\n{AFTER}"],
            capture_output=True, text=True, timeout=120, env=environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout.splitlines()[-1])

    return in_child


@simulated
def test_a_function_runs_on_one_stream_of_its_arrays_device(run: Any) -> None:
    first, again, other, nested, outside = run("""
function = decorator(where)
result = [function(here), function([{"deep": here}], 1), function(there), function(on_host, here), where(here)]
""")
    assert first == again == nested
    assert first[0] > 2 and first[1] == 0
    assert other[1] == 1 and other[0] != first[0]
    assert outside is None


@simulated
def test_threads_have_streams_of_their_own(run: Any) -> None:
    streams = run("""
function = decorator(where)
result, barrier = [], threading.Barrier(3)

@decorator
def held(image):
    barrier.wait()
    result.append(where(image))

threads = [threading.Thread(target=held, args=(here,)) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
""")
    assert len({handle for handle, _ in streams}) == 3


@simulated
def test_work_on_the_host_has_no_stream_and_opens_no_driver(run: Any) -> None:
    streams = run("""
driver.sim_calls.restype = ctypes.c_uint64
function = decorator(output_type="slabs")(where)
result = [function(on_host), function(slabs.make(on_host.tobytes(), -1)), driver.sim_calls(None)]
""")
    assert streams == [None, None, 0]


@simulated
@pytest.mark.parametrize(("said", "number"), [("gpu_id=1", 1), ('device="cuda:1"', 1), ('device="cuda"', 0)])
def test_the_device_that_the_decorator_names_counts(run: Any, said: str, number: int) -> None:
    assert run(f"result = decorator({said})(where)(on_host)")[1] == number


@simulated
def test_an_accelerator_may_be_preferred(run: Any) -> None:
    seen = run("""
function = decorator(where)
with arraybridge.options(prefer_accelerator=True):
    preferred = function(on_host)
result = [preferred, function(on_host)]
""")
    assert seen[0][1] == 0 and seen[1] is None


@simulated
def test_a_stream_can_be_given_or_refused(run: Any) -> None:
    given, by_object, none, other = run("""
class Given:
    def __init__(self, handle, device_id=0):
        self.handle, self.device_id = handle, device_id
    def __cuda_stream__(self):
        return 0, self.handle

handle = decorator(where)(here)[0]
result = [decorator(stream=handle)(where)(here)[0] == handle, decorator(stream=Given(handle))(where)(here)[0] == handle,
          decorator(stream=False)(where)(here), seen(lambda: decorator(stream=Given(handle, 1))(where)(here))]
""")
    assert given and by_object and none is None
    assert other[0] == "MemoryConversionError" and "device 1" in other[1]


@simulated
def test_what_the_function_raises_passes_unchanged_and_the_stream_is_left(run: Any) -> None:
    seen = run("""
@decorator
def fails(image):
    raise KeyError("mine")

result = seen(lambda: fails(here))
""")
    assert seen == ["KeyError", "'mine'"]


@simulated
def test_generators_and_coroutines_run_on_the_callers_stream(run: Any) -> None:
    seen = run("""
import asyncio

@decorator
def gives(image):
    yield where(image)

@decorator
async def waits(image):
    return where(image)

result = [list(gives(here)), asyncio.run(waits(here))]
""")
    assert seen == [[None], None]


@simulated
def test_a_block_has_a_stream_that_others_can_use(run: Any) -> None:
    inside, second, shown, outside, other = run("""
with arraybridge.stream("slabs") as s:
    inside = slabs.current.streams[-1]
    shown = [s.__cuda_stream__()[1], s.device_id]
    with arraybridge.stream("slabs", stream=s):
        second = slabs.current.streams[-1]
with arraybridge.stream("slabs", device="cuda:1"):
    other = slabs.current.streams[-1]
result = [inside, second, shown, seen(lambda: s.device_id), other]
""")
    assert inside == second == shown
    assert outside[0] == "RuntimeError"
    assert other[1] == 1


@simulated
def test_blocks_end_in_order(run: Any) -> None:
    seen = run("""
one, two = arraybridge.stream("slabs"), arraybridge.stream("slabs")
one.__enter__()
two.__enter__()
result = seen(lambda: one.__exit__(None, None, None))
two.__exit__(None, None, None)
one.__exit__(None, None, None)
""")
    assert seen[0] == "RuntimeError" and "last one first" in seen[1]


@simulated
def test_a_device_that_is_not_there_is_named(run: Any) -> None:
    assert "slabs has no device cuda:7 here" in run('result = seen(arraybridge.stream("slabs", "cuda:7").__enter__)')[1]


def test_a_framework_without_cuda_says_so() -> None:
    with pytest.raises(arraybridge.MemoryConversionError, match="numpy has no CUDA device here"):
        arraybridge.stream("numpy").__enter__()


def test_a_stream_is_not_for_the_host() -> None:
    with pytest.raises(ValueError, match="streams are for CUDA devices"):
        arraybridge.stream("numpy", device="cpu").__enter__()


@pytest.mark.parametrize("stream", [True, "mine", 1.5])
def test_what_is_no_stream_is_refused_at_decoration(stream: object) -> None:
    with pytest.raises(TypeError, match="stream must be None"):
        arraybridge.backend("numpy")(stream=stream)
