"""Memory stays flat, whoever goes first may go first, and nothing is held after an exception.

What is dropped where it cannot be released at once is released by the next conversion or by `arraybridge.drain()`: up
to 64 small arrays, or 64 KiB, wait for that; anything larger is released at the next bytecode.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from children import Children, Outcome
from frameworks import NAMES

pytestmark = pytest.mark.alone  # memory is measured, and some of it must be given back within two seconds

MIB = 1 << 20
PAIRS = [(source, target) for source in NAMES for target in NAMES]
WITHOUT_SELF = [target for target in NAMES if target != "numpy"]


def run(children: Children, function: str, *arguments: Any, timeout: float = 240) -> Any:
    return children.run("lifetime_child", function, *arguments, timeout=timeout).check()


# ---------------------------------------------------------------- memory stays flat

COUNT = 100_000


@pytest.fixture(scope="module")
def flat(children: Children) -> dict[tuple[str, str], Future[Outcome]]:
    """All pairs queued at once, so that they share the cores."""
    return {pair: children.start("lifetime_child", "conversions", *pair, COUNT, timeout=240) for pair in PAIRS}


def check_flat(seen: dict[str, int]) -> None:
    assert seen["grown"] < MIB, f"{seen['grown']} bytes more: {seen}"
    assert seen["references"] == 0
    assert seen["pending"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_100_000_conversions_hold_memory_flat(
    flat: dict[tuple[str, str], Future[Outcome]], source: str, target: str
) -> None:
    check_flat(flat[source, target].result().check())


@pytest.mark.slow
@pytest.mark.parametrize("target", NAMES)
def test_20_000_copies_hold_memory_flat(children: Children, target: str) -> None:
    check_flat(run(children, "copies", target, 20_000))


@pytest.mark.slow
@pytest.mark.parametrize("target", NAMES)
def test_20_000_fresh_sources_hold_memory_flat(children: Children, target: str) -> None:
    check_flat(run(children, "fresh_sources", target, 20_000))


@pytest.mark.slow
@pytest.mark.parametrize("target", WITHOUT_SELF)
def test_10_000_refusals_hold_memory_flat(children: Children, target: str) -> None:
    check_flat(run(children, "refusals", target, 10_000))


@pytest.mark.slow
@pytest.mark.parametrize("target", NAMES)
def test_10_000_plans_and_records_hold_memory_flat(children: Children, target: str) -> None:
    check_flat(run(children, "plans_and_records", target, 10_000))


# ---------------------------------------------------------------- who goes first


@pytest.mark.parametrize(
    "scene",
    [
        "dropped_source_first",
        "dropped_result_first",
        "dropped_in_another_thread",
        "made_in_another_thread",
        "dropped_in_a_cycle",
    ],
)
def test_whoever_goes_first(children: Children, scene: str) -> None:
    wrong = run(children, "every_pair", scene)
    assert wrong == []


@pytest.mark.parametrize("target", NAMES)
def test_the_last_reference_gives_the_source_back(children: Children, target: str) -> None:
    assert run(children, "numpy_source_is_given_back", target)


def test_conversions_and_drops_on_a_jax_callback_thread(children: Children) -> None:
    seen = run(children, "in_a_jax_callback")
    assert seen["own_thread"], "JAX ran the callback on the main thread: nothing was tried"
    assert seen["wrong"] == []
    assert seen["kept"] == []


def test_xla_gives_back_what_it_was_the_last_to_use(children: Children) -> None:
    assert run(children, "released_by_xla") == {"wrong": 0, "kept": 0}


# ---------------------------------------------------------------- large arrays


LARGE = [
    pytest.param("numpy", "torch", 256 * MIB, id="numpy-torch-256MiB"),
    *(
        pytest.param(source, target, 64 * MIB, id=f"{source}-{target}-64MiB")
        for source, target in PAIRS
        if source != "tensorflow" and (source, target) != ("numpy", "torch")
    ),
]
"""Not from TensorFlow: its own pool never gives memory back."""


@pytest.mark.parametrize(("source", "target", "nbytes"), LARGE)
def test_a_large_array_is_given_back_at_once(children: Children, source: str, target: str, nbytes: int) -> None:
    left = run(children, "large_is_given_back", source, target, nbytes)
    assert left < nbytes // 8, f"{left / MIB:.0f} MiB are still there"


@pytest.mark.parametrize("target", NAMES)
def test_a_large_copy_is_given_back_at_once(children: Children, target: str) -> None:
    left = run(children, "large_is_given_back", "numpy", target, 64 * MIB, True)
    assert left < 8 * MIB, f"{left / MIB:.0f} MiB are still there"


@pytest.mark.parametrize("target", NAMES)
def test_large_arrays_in_a_loop_do_not_pile_up(children: Children, target: str) -> None:
    assert run(children, "many_large_in_a_loop", "numpy", target) < 80 * MIB


# ---------------------------------------------------------------- eight threads


@pytest.mark.slow
def test_eight_threads_convert_across_all_pairs(children: Children) -> None:
    seen = run(children, "eight_threads", 5.0)
    assert seen["problems"] == []
    assert seen["kept"] == []
    assert seen["fewest"] > 20


def test_eight_threads_are_the_first_to_ask(children: Children) -> None:
    assert run(children, "eight_threads_start_at_once") == []


# ---------------------------------------------------------------- an exception in the middle


JAX_PRIVATE, TENSORFLOW_PRIVATE = "jax._src.lib:_jax", "tensorflow.python.pywrap_tfe:"
JAX_ARRAY, CLE_ARRAY = "jaxlib._jax:ArrayImpl", "pyclesperanto_opencl._pyclesperanto:_Array"
STRANGE = {"strange": True}  # strides that no target but torch takes, so that the core copies first
TORCH_PUBLIC = {"switch": "ARRAYBRIDGE_TORCH_PUBLIC"}
JAX_PUBLIC = {"switch": "ARRAYBRIDGE_JAX_PUBLIC"}
TENSORFLOW_PUBLIC = {"switch": "ARRAYBRIDGE_TENSORFLOW_PUBLIC"}

FAULTS: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "jax import": (f"{JAX_PRIVATE}.dlpack_managed_tensor_to_buffer", "numpy", "jax", {}),
    "jax import of a copy": (f"{JAX_PRIVATE}.dlpack_managed_tensor_to_buffer", "numpy", "jax", STRANGE),
    "jax import from torch": (f"{JAX_PRIVATE}.dlpack_managed_tensor_to_buffer", "torch", "jax", {}),
    "jax import from OpenCL": (f"{JAX_PRIVATE}.dlpack_managed_tensor_to_buffer", "pyclesperanto", "jax", {}),
    "jax public import": ("jax.dlpack:from_dlpack", "numpy", "jax", JAX_PUBLIC),
    "jax export": (
        f"{JAX_PRIVATE}.buffer_to_dlpack_managed_tensor", "jax", "numpy", {"source_dtype": "bfloat16"},
    ),
    "tensorflow import": (f"{TENSORFLOW_PRIVATE}TFE_FromDlpackCapsule", "numpy", "tensorflow", {}),
    "tensorflow import of a copy": (f"{TENSORFLOW_PRIVATE}TFE_FromDlpackCapsule", "numpy", "tensorflow", STRANGE),
    "tensorflow import from jax": (f"{TENSORFLOW_PRIVATE}TFE_FromDlpackCapsule", "jax", "tensorflow", {}),
    "tensorflow export": (f"{TENSORFLOW_PRIVATE}TFE_ToDlpackCapsule", "tensorflow", "torch", {}),
    "tensorflow public import": (
        "tensorflow.experimental.dlpack:from_dlpack", "numpy", "tensorflow", TENSORFLOW_PUBLIC,
    ),
    "tensorflow public export": (
        "tensorflow.experimental.dlpack:to_dlpack", "tensorflow", "numpy", TENSORFLOW_PUBLIC,
    ),
    "pyclesperanto import": (f"{CLE_ARRAY}._from_dlpack", "numpy", "pyclesperanto", {}),
    "pyclesperanto import of a copy": (f"{CLE_ARRAY}._from_dlpack", "numpy", "pyclesperanto", STRANGE),
    "pyclesperanto export": (f"{CLE_ARRAY}.__dlpack__", "pyclesperanto", "numpy", {}),
    "torch public import": ("torch:from_dlpack", "numpy", "torch", TORCH_PUBLIC),
    "torch public import of a copy": ("torch:from_dlpack", "numpy", "torch", {**TORCH_PUBLIC, **STRANGE}),
    "torch storage": ("torch:Tensor.untyped_storage", "torch", "numpy", {}),
    "torch conj": ("torch:Tensor.is_conj", "torch", "numpy", {"source_dtype": "complex64"}),
}  # fmt: skip
"""Where an exception can be put: the function, the pair whose conversion calls it, and how."""


@pytest.mark.parametrize("mode", ["before", "after"])
@pytest.mark.parametrize("fault", FAULTS)
def test_an_exception_in_a_slot_releases_everything(children: Children, fault: str, mode: str) -> None:
    """Before: an import has not consumed its capsule. After: it has, and the array it made is dropped."""
    path, source, target, keywords = FAULTS[fault]
    seen = run(children, "exception_in_a_slot", path, mode, source, target, keywords)
    assert seen["called"] > 0, "the conversion does not call this function: nothing was tried"
    assert seen["raised"] >= 200
    assert set(seen["outcomes"]) <= {"right", "error"}, seen
    assert seen["kept"] == 0, seen
    assert seen["grown"] < 2 * MIB, seen  # 200 arrays of 64 KiB would be 12.5 MiB
    assert seen["again"]
    assert seen["pending"] == 0


# ---------------------------------------------------------------- fork


def test_a_forked_child_converts_on_the_host(children: Children) -> None:
    assert run(children, "fork_after_host_conversions")


# ---------------------------------------------------------------- the end of the process

ENDS = {
    "exit_with_globals": NAMES,
    "exit_with_cycles": NAMES,
    "exit_with_hooks": NAMES,
    "exit_with_idle_threads": NAMES,
    "exit_with_del_methods": NAMES,
    # Without torch: it gives up the GIL inside noexcept functions (the end of a plain tensor is one), so that Python
    # 3.11, which unwinds a daemon thread at the end, brings down a process in which torch alone is at work as well.
    "exit_with_busy_threads": ["numpy"],
    "exit_after_foreign_threads": NAMES,
    "exit_while_xla_computes": NAMES,
}


def end_of_process(scene: str, names: list[str]) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).with_name("lifetime_child.py")
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", str(script), scene, ",".join(names)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def ended() -> Iterator[dict[str, Future[subprocess.CompletedProcess[str]]]]:
    with ThreadPoolExecutor(2) as threads:
        yield {scene: threads.submit(end_of_process, scene, names) for scene, names in ENDS.items()}


@pytest.mark.slow
@pytest.mark.parametrize("scene", ENDS)
def test_the_interpreter_ends_in_peace(ended: dict[str, Future[subprocess.CompletedProcess[str]]], scene: str) -> None:
    done = ended[scene].result()
    assert done.returncode == 0, f"ended with {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    assert "end of the script" in done.stdout
    for sign in ("Fatal Python error", "Traceback", "Exception ignored", "terminate called"):
        assert sign not in done.stderr, done.stderr[-4000:]
    if scene == "exit_with_hooks":
        assert "late hook done" in done.stdout
        assert "early hook done" in done.stdout
