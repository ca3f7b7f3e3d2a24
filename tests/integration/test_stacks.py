"""Stacks are made and taken apart in every framework: exact values, any leading axes, views where there are views."""

from __future__ import annotations

import collections
import enum
import sys
import threading
import time
from typing import Any

import arraybridge as ab
import frameworks  # first: it prepares the OpenCL drivers
import numpy as np
import pytest

NAMES = frameworks.NAMES
DTYPES = [
    "bool", "uint8", "int16", "uint32", "int64", "uint64", "float16", "bfloat16", "float32", "float64", "complex64",
]  # fmt: skip


def make(name: str, array: np.ndarray[Any, Any]) -> Any:
    return frameworks.MAKE[name](array, array.dtype.name)


def read(array: Any) -> np.ndarray[Any, Any]:
    name = frameworks.module_of(array)
    dtype, shape, data = frameworks.READ[name](array)
    return np.frombuffer(data, frameworks.DTYPES[dtype]).reshape(shape)


def same(array: Any, name: str, expected: np.ndarray[Any, Any]) -> None:
    """Framework, dtype, shape and every bit."""
    assert frameworks.module_of(array) == name
    dtype, shape, data = frameworks.READ[name](array)
    assert (dtype, shape) == (expected.dtype.name, expected.shape)
    assert data == frameworks.raw(expected)


def slices_of(dtype: str, count: int = 4, shape: tuple[int, ...] = (3, 5)) -> list[np.ndarray[Any, Any]]:
    return [frameworks.random_array(dtype, shape, seed) for seed in range(count)]


#: Source, target and dtype where each of the two can hold a stack of (4, 3, 5).
PAIRS = [
    (source, target, dtype)
    for source in NAMES
    for target in NAMES
    for dtype in DTYPES
    if frameworks.holds(source, dtype, (4, 3, 5)) and frameworks.holds(target, dtype, (4, 3, 5))
]

# ---------------------------------------------------------------- stacking


@pytest.mark.parametrize(("source", "target", "dtype"), PAIRS)
def test_a_stack_has_every_bit_of_its_slices(source: str, target: str, dtype: str) -> None:
    base = slices_of(dtype)
    same(ab.stack_slices([make(source, one) for one in base], target, 0), target, np.stack(base))


@pytest.mark.parametrize("target", NAMES)
def test_frameworks_mix(target: str) -> None:
    base = slices_of("float32", 5)
    mixed = [make(name, one) for name, one in zip(NAMES, base, strict=True)]
    for order in (mixed, mixed[::-1]):
        expected = np.stack([read(one) for one in order])
        same(ab.stack_slices(order, target), target, expected)


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("kind", [list, tuple, iter, lambda s: (one for one in s), collections.deque])
def test_slices_come_from_anything_iterable(kind: Any, target: str) -> None:
    base = slices_of("uint16", 2)
    same(ab.stack_slices(kind(base), target), target, np.stack(base))


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("source", NAMES)
def test_an_array_stands_for_its_slices_and_is_copied(source: str, target: str) -> None:
    base = np.stack(slices_of("float32"))
    given = make(source, base)
    result = ab.stack_slices(given, target)
    same(result, target, base)
    if source == target == "numpy":
        assert not np.shares_memory(result, given)


def test_memory_types_may_be_enum_members() -> None:
    class Memory(enum.Enum):
        JAX = "jax"

    base = slices_of("float32")
    same(ab.stack_slices(base, Memory.JAX, 0), "jax", np.stack(base))
    same(ab.unstack_slices(np.stack(base), Memory.JAX, 0)[1], "jax", base[1])


@pytest.mark.parametrize("target", ["numpy", "torch", "tensorflow", "jax"])
def test_leading_axes_are_filled_in_c_order(target: str) -> None:
    base = slices_of("int32", 6)
    stacked = ab.stack_slices(base, target, leading=(2, 3))
    same(stacked, target, np.stack(base).reshape(2, 3, 3, 5))
    same(ab.stack_slices(base, target, leading=(1, 6, 1)), target, np.stack(base).reshape(1, 6, 1, 3, 5))


@pytest.mark.parametrize("target", NAMES)
def test_slices_of_any_layout(target: str) -> None:
    wide = np.arange(40, dtype=np.float32).reshape(5, 8)
    odd = np.zeros(4 * 15 + 1, np.uint8)[1:].view(np.float32).reshape(3, 5)
    odd[...] = 7
    frozen = wide[1:4, 3:].copy()
    frozen.flags.writeable = False
    layouts = [
        wide[::2, :5], wide[4:1:-1, 4::-1], wide[:5, :3].T, wide[:3, :5].astype(">f4"), odd, frozen,
        np.broadcast_to(np.float32(3), (3, 5)),
    ]  # fmt: skip
    same(ab.stack_slices(layouts, target), target, np.stack([one.astype(np.float32) for one in layouts]))


def test_conjugated_and_negated_torch_views_are_resolved() -> None:
    import torch

    base = torch.from_numpy(slices_of("complex64", 1)[0])
    base = torch.where(torch.isfinite(base.real) & torch.isfinite(base.imag), base, torch.zeros_like(base))
    stacked = ab.stack_slices([base, base.conj(), base.conj().imag.to(torch.complex64)], "numpy")
    expected = torch.stack([base, base.conj().resolve_conj(), base.conj().imag.resolve_neg().to(torch.complex64)])
    np.testing.assert_array_equal(stacked, expected.numpy())


@pytest.mark.parametrize("dtype", ["int64", "float64", "uint64", "complex128"])
def test_64_bits_reach_jax_exactly(dtype: str) -> None:
    base = slices_of(dtype)
    assert not __import__("jax").config.jax_enable_x64
    stacked = ab.stack_slices(base, "jax")
    same(stacked, "jax", np.stack(base))
    for index, one in enumerate(ab.unstack_slices(stacked, "jax")):
        same(one, "jax", base[index])
    same(ab.process_slices(stacked, lambda one: one), "jax", np.stack(base))


def test_a_stack_is_a_copy_that_may_be_written() -> None:
    base = slices_of("float32")
    for one in base:
        one.flags.writeable = False
    stacked = ab.stack_slices(base, "numpy")
    assert stacked.flags.writeable and stacked.ctypes.data % 64 == 0
    before = base[0].tobytes()
    ab.stack_slices(base, "torch").fill_(0)
    stacked[...] = 1
    assert base[0].tobytes() == before


@pytest.mark.parametrize("target", NAMES)
def test_a_stack_is_copied_once_and_shared_with_its_target(target: str) -> None:
    base = slices_of("float32", 8, (64, 64))
    with ab.records() as log:
        ab.stack_slices(base, target)
    assert len(log) == 1
    assert (log[0].source, log[0].target, log[0].bytes) == ("numpy", target, 8 * 64 * 64 * 4)
    assert log[0].bytes_copied == log[0].bytes and log[0].copied and not log[0].shared
    assert not log[0].aliases_mutable and log[0].mechanism.startswith("pivot+")


def test_slices_of_several_dtypes_take_the_smallest_that_holds_all() -> None:
    def stacked(*dtypes: str) -> str:
        return str(ab.stack_slices([np.ones((2, 2), dtype) for dtype in dtypes], "numpy").dtype)

    assert stacked("uint8", "uint16") == "uint16"
    assert stacked("uint8", "int8") == "int16"
    assert stacked("bool", "uint8") == "uint8"
    assert stacked("float32", "float64", "uint8") == "float64"
    assert stacked("uint16", "float32") == "float32"
    values = ab.stack_slices([np.array([[70000]], np.uint32), np.array([[-1]], np.int16)], "numpy")
    assert values.dtype == np.int64 and values.tolist() == [[[70000]], [[-1]]]


def test_dtypes_that_nothing_holds_together_name_the_way_out() -> None:
    pair = [np.full((1, 1), 2**53 + 1), np.ones((1, 1))]
    with pytest.raises(ab.MemoryConversionError, match=r'int64.*float64.*dtype="float64", casting="same_kind"'):
        ab.stack_slices(pair, "numpy")
    assert ab.stack_slices(pair, "numpy", dtype="float64", casting="same_kind").dtype == np.float64


def test_a_dtype_is_cast_as_casting_allows() -> None:
    base = [np.array([[1.5, 2.5]]), np.array([[3.5, 4.5]])]
    result = ab.stack_slices(base, "torch", dtype="float32", casting="same_kind")
    same(result, "torch", np.stack(base).astype(np.float32))
    with pytest.raises(ab.MemoryConversionError, match=r'pass casting="same_kind"'):
        ab.stack_slices(base, "torch", dtype="float32")
    with pytest.raises(ab.MemoryConversionError, match=r'pass casting="unsafe"'):
        ab.stack_slices(base, "torch", dtype="uint8", casting="same_kind")


# ---------------------------------------------------------------- what cannot be stacked


def test_no_slices_are_a_value_error() -> None:
    for nothing in ([], (), iter(())):
        with pytest.raises(ValueError, match="empty"):
            ab.stack_slices(nothing, "numpy")


@pytest.mark.parametrize("name", NAMES)
def test_ragged_slices_are_named(name: str) -> None:
    base = [*slices_of("float32", 3), frameworks.random_array("float32", (3, 6))]
    with pytest.raises(ValueError, match=r"slice 3 has the shape \(3, 6\), slice 0 has \(3, 5\)"):
        ab.stack_slices([make(name, one) for one in base], name)


@pytest.mark.parametrize("shape", [(), (4,), (2, 3, 4)])
def test_slices_are_2d_unless_said_otherwise(shape: tuple[int, ...]) -> None:
    base = [np.ones(shape, np.float32)] * 2
    with pytest.raises(ValueError, match=f"slice 0 is not a 2D array.*slice_ndim={len(shape)}"):
        ab.stack_slices(base, "numpy")
    assert ab.stack_slices(base, "numpy", slice_ndim=len(shape)).shape == (2, *shape)
    assert ab.stack_slices(base, "torch", slice_ndim=None).shape == (2, *shape)


def test_what_is_no_array_is_named() -> None:
    one = np.ones((2, 2))
    for wrong in ("text", 3, None, [[1, 2], [3, 4]], np.float32(1)):
        with pytest.raises(TypeError, match="slice 1 is no array"):
            ab.stack_slices([one, wrong], "numpy")


def test_a_slice_that_cannot_be_converted_is_named() -> None:
    import torch

    sparse = torch.eye(3).to_sparse()
    with pytest.raises(ab.MemoryConversionError, match=r"slice 1: .*to_dense"):
        ab.stack_slices([np.eye(3, dtype=np.float32), sparse], "numpy")
    with pytest.raises(ab.MemoryConversionError, match=r"slice 0: .*mask"):
        ab.stack_slices([np.ma.masked_array(np.eye(3))] * 2, "torch")


def test_leading_axes_must_be_filled() -> None:
    with pytest.raises(ValueError, match="4 slices do not fill"):
        ab.stack_slices(slices_of("float32"), "numpy", leading=(2, 3))
    with pytest.raises(TypeError, match="tuple"):
        ab.stack_slices(slices_of("float32"), "numpy", leading=4)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="already"):
        ab.stack_slices(np.ones((2, 2, 2)), "numpy", leading=(2,))


def test_an_unknown_target_is_named() -> None:
    with pytest.raises(ValueError, match="numpy"):
        ab.stack_slices(slices_of("float32"), "nonesuch")
    with pytest.raises(ValueError, match="numpy"):
        ab.unstack_slices(np.ones((2, 2, 2)), "nonesuch")


def test_what_pyclesperanto_cannot_hold_names_the_call_that_works() -> None:
    with pytest.raises(ab.MemoryConversionError, match=r'pass dtype="float32", casting="same_kind"'):
        ab.stack_slices(slices_of("float64"), "pyclesperanto")
    result = ab.stack_slices(slices_of("float64"), "pyclesperanto", dtype="float32", casting="same_kind")
    with np.errstate(all="ignore"):
        expected = np.stack(slices_of("float64")).astype(np.float32)
    np.testing.assert_array_equal(read(result), expected)
    with pytest.raises(ab.MemoryConversionError, match=r'4 dimensions; .* 3 at most; stack into "numpy"'):
        ab.stack_slices(slices_of("float32"), "pyclesperanto", leading=(2, 2))
    with pytest.raises(ab.MemoryConversionError, match=r'without elements; stack into "numpy"'):
        ab.stack_slices([np.ones((0, 3), np.float32)] * 2, "pyclesperanto")


@pytest.mark.parametrize("target", ["numpy", "torch", "tensorflow", "jax"])
def test_empty_slices_and_empty_stacks(target: str) -> None:
    same(ab.stack_slices([np.ones((0, 3), np.float32)] * 2, target), target, np.ones((2, 0, 3), np.float32))
    same(ab.stack_slices(np.ones((0, 2, 3), np.float32), target), target, np.ones((0, 2, 3), np.float32))
    assert ab.unstack_slices(np.ones((0, 2, 3), np.float32), target) == []
    (empty,) = ab.unstack_slices(np.ones((1, 0, 3), np.float32), target)
    same(empty, target, np.ones((0, 3), np.float32))


# ---------------------------------------------------------------- where to


def test_devices_and_the_older_place() -> None:
    base = slices_of("float32")
    for place in ({"device": "cpu"}, {"gpu_id": 0}, {"gpu_id": "cpu"}, {"gpu_id": None}):
        same(ab.stack_slices(base, "torch", **place), "torch", np.stack(base))
        same(ab.unstack_slices(np.stack(base), "torch", **place)[2], "torch", base[2])
    with pytest.raises(ab.MemoryConversionError):
        ab.stack_slices(base, "torch", device="cuda:7")
    with pytest.raises(ab.MemoryConversionError):
        ab.unstack_slices(np.stack(base), "torch", device="cuda:7")


def test_a_stack_stays_on_the_device_of_its_slices() -> None:
    import jax

    assert len(jax.devices()) > 1  # conftest.py asks for two
    there = [jax.device_put(one, jax.devices()[1]) for one in slices_of("float32")]
    assert ab.stack_slices(there, "jax").devices() == {jax.devices()[1]}
    assert ab.process_slices(ab.stack_slices(there, "jax"), lambda one: one + 1).devices() == {jax.devices()[1]}


# ---------------------------------------------------------------- taking apart


@pytest.mark.parametrize(("source", "target", "dtype"), PAIRS)
def test_slices_have_every_bit_of_the_stack(source: str, target: str, dtype: str) -> None:
    base = frameworks.random_array(dtype, (4, 3, 5))
    pieces = ab.unstack_slices(make(source, base), target, 0, True)
    assert isinstance(pieces, list) and len(pieces) == 4
    for index, piece in enumerate(pieces):
        same(piece, target, base[index])


@pytest.mark.parametrize("target", NAMES)
def test_any_leading_axes_come_apart_in_c_order(target: str) -> None:
    base = frameworks.random_array("float32", (2, 3, 4, 5))[:, ::-1].transpose(1, 0, 3, 2)
    pieces = ab.unstack_slices(base, target)
    assert len(pieces) == 6
    for index, piece in enumerate(pieces):
        same(piece, target, np.ascontiguousarray(base[index // 2, index % 2]))
    volumes = ab.unstack_slices(base, target, slice_ndim=3)
    same(volumes[2], target, np.ascontiguousarray(base[2]))


@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_slices_are_views_that_can_be_written(name: str) -> None:
    base = np.zeros((3, 4, 4), np.float32)
    pieces = ab.unstack_slices(base, name)
    pieces[1][2, 3] = 5
    assert base[1, 2, 3] == 5


@pytest.mark.parametrize("name", ["tensorflow", "jax"])
def test_aligned_slices_are_views(name: str) -> None:
    base = frameworks.aligned((3, 4, 4), "float32")
    whole = ab.convert(base, name)
    for source in (base, whole):
        pieces = ab.unstack_slices(source, name)
        addresses = [ab.convert(piece, "numpy").ctypes.data for piece in pieces]
        assert addresses == [base.ctypes.data + 64 * index for index in range(3)]
    del whole, source
    base[...] = 3  # the memory lives as long as a slice does
    keep = pieces[2]
    del base, pieces
    assert (read(keep) == 3).all()


def test_views_live_longer_than_the_array() -> None:
    import gc

    for target in NAMES:
        pieces = ab.unstack_slices(np.full((3, 16, 16), 9, np.float32), target)[1:]
        gc.collect()
        junk = [np.zeros((3, 16, 16), np.float32) for _ in range(50)]
        assert all((read(piece) == 9).all() for piece in pieces) and junk


def test_what_is_really_read_only_is_never_written() -> None:
    base = frameworks.aligned((3, 4, 4), "float32")
    base.flags.writeable = False
    for target in NAMES:
        pieces = ab.unstack_slices(base, target)
        if target == "numpy":
            assert not pieces[0].flags.writeable
        elif target == "torch":
            pieces[0].fill_(1)
    assert (base == 0).all()


def test_arrays_without_slices_are_refused() -> None:
    for shape in ((), (3,), (3, 4)):
        with pytest.raises(ValueError, match=r"3D.*\(" if shape else "3D"):
            ab.unstack_slices(np.ones(shape), "torch")
    with pytest.raises(ValueError):
        ab.unstack_slices([[1, 2]], "torch")


def test_more_slices_than_a_list_can_hold_are_refused() -> None:
    endless = np.broadcast_to(np.zeros(1, np.uint8), (2**30, 2**30, 1))
    with pytest.raises(ValueError, match="more slices than a list can hold"):
        ab.unstack_slices(endless, "jax", slice_ndim=1)


def test_slices_are_cast_as_casting_allows() -> None:
    base = np.arange(24, dtype=np.float64).reshape(2, 3, 4)
    for target in NAMES:
        piece = ab.unstack_slices(base, target, dtype="float32", casting="same_kind")[1]
        same(piece, target, base[1].astype(np.float32))
    with pytest.raises(ab.MemoryConversionError, match=r'pass dtype="float32", casting="same_kind"'):
        ab.unstack_slices(base, "pyclesperanto")


def test_unstacking_into_pyclesperanto_needs_no_3d_array() -> None:
    base = frameworks.random_array("uint16", (2, 3, 2, 4, 5))
    pieces = ab.unstack_slices(base, "pyclesperanto")
    assert len(pieces) == 12
    same(pieces[7], "pyclesperanto", base.reshape(12, 4, 5)[7])


def test_a_masked_array_keeps_its_mask_or_is_refused() -> None:
    masked = np.ma.masked_array(np.ones((2, 3, 3)), np.zeros((2, 3, 3), bool))
    masked[1, 2, 2] = np.ma.masked
    assert ab.unstack_slices(masked, "numpy")[1].mask[2, 2]
    for target in ("torch", "jax"):
        with pytest.raises(ab.MemoryConversionError, match="mask"):
            ab.unstack_slices(masked, target)


def test_one_record_for_all_slices() -> None:
    base = frameworks.aligned((4, 8, 8), "float32")
    with ab.records() as log:
        ab.unstack_slices(base, "jax")
    assert [(one.source, one.target, one.bytes, one.bytes_copied) for one in log] == [("numpy", "jax", 1024, 0)]


# ---------------------------------------------------------------- threads and memory


@pytest.mark.alone  # another thread must get its turn during one copy
def test_other_threads_run_while_a_stack_is_copied() -> None:
    base = [np.ones((2048, 2048), np.float32) for _ in range(16)]  # 256 MiB
    ticks: list[float] = []
    begun, done = threading.Event(), threading.Event()

    def tick() -> None:
        begun.wait()
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0)  # gives the GIL back

    thread = threading.Thread(target=tick)
    thread.start()
    interval = sys.getswitchinterval()
    try:
        sys.setswitchinterval(1000)  # nobody is asked to let go of the GIL
        begun.set()
        result = ab.stack_slices(base, "numpy")
    finally:
        done.set()
        sys.setswitchinterval(interval)
        thread.join()
    assert ticks and float(result[-1, -1, -1]) == 1


def test_many_threads_stack_at_once() -> None:
    from concurrent.futures import ThreadPoolExecutor

    def work(seed: int) -> None:
        base = [np.full((64, 64), seed + index, np.float32) for index in range(8)]
        for _ in range(3):
            for target in NAMES:
                stacked = ab.stack_slices(base, target)
                np.testing.assert_array_equal(read(stacked), np.stack(base))
                np.testing.assert_array_equal(read(ab.unstack_slices(stacked, "numpy")[3]), base[3])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


@pytest.mark.alone  # memory is measured
def test_nothing_stays_behind() -> None:
    import gc
    import resource

    base = [np.ones((256, 256), np.float32) for _ in range(16)]  # 4 MiB a round

    def work() -> None:
        for target in NAMES:
            stacked = ab.stack_slices(base, target)
            ab.unstack_slices(stacked, "numpy")
            ab.unstack_slices(np.ones((4, 64, 64), np.float32), target)
            with pytest.raises(ValueError):
                ab.stack_slices([*base, np.ones((1, 1), np.float32)], target)

    for _ in range(5):
        work()
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(40):
        work()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # KiB; a leak would be 800 MiB
