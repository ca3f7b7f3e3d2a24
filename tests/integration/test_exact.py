"""Every pair, dtype and layout: the same bits arrive, or an error that names what is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import arraybridge
import numpy as np
import pytest
from arraybridge import MemoryConversionError
from frameworks import DTYPES, MAKE, NAMES, READ, aligned, holds, module_of, random_array, raw

Array = np.ndarray[Any, Any]


def offset_by_one(a: Array) -> Array:
    memory = aligned((a.size + 1,), a.dtype.name)
    memory[1:] = a.reshape(-1)
    return memory[1:].reshape(a.shape)


def odd_address(a: Array) -> Array:
    memory = np.zeros(a.nbytes + 65, np.uint8)
    start = -memory.ctypes.data % 64 + 1
    view = memory[start : start + a.nbytes]
    view[:] = np.frombuffer(raw(a), np.uint8)
    return view.view(a.dtype).reshape(a.shape)


def read_only(a: Array) -> Array:
    a = a.copy()
    a.flags.writeable = False
    return a


def spread(a: Array) -> Array:
    """`a` at every second index of a larger array."""
    wide = np.zeros(tuple(2 * n for n in a.shape), a.dtype)
    view = wide[tuple(slice(None, None, 2) for _ in a.shape)]
    view[...] = a
    return view


LAYOUTS: dict[str, tuple[tuple[int, ...], Callable[[Array], Array]]] = {
    "c": ((3, 4, 5), lambda a: a.copy()),
    "fortran": ((3, 4, 5), np.asfortranarray),
    "transposed": ((3, 4, 5), lambda a: a.transpose(1, 0, 2)),
    "negative_stride": ((3, 4, 5), lambda a: a[::-1, :, ::-1]),
    "stepped": ((3, 4, 5), spread),
    "offset_by_one": ((3, 4, 5), offset_by_one),
    "odd_address": ((3, 4, 5), odd_address),
    "zero_dim": ((), lambda a: a),
    "empty": ((3, 0, 5), lambda a: a),
    "broadcast": ((1, 4, 5), lambda a: np.broadcast_to(a, (3, 4, 5))),
    "byte_swapped": ((3, 4, 5), lambda a: a.astype(a.dtype.newbyteorder(">"))),
    "read_only": ((3, 4, 5), read_only),
    "seven_dim": ((2, 1, 3, 1, 2, 1, 2), lambda a: a.copy()),
}

ONE_ORDER = {"bool", "uint8", "int8", "bfloat16", "float8_e4m3fn", "float8_e5m2"}
"""One byte has no order, and ml_dtypes has no byte-swapped dtypes."""

CASES = [
    pytest.param(source, target, dtype, layout, id=f"{source}-{target}-{dtype}-{layout}")
    for source in NAMES
    for target in NAMES
    for dtype in DTYPES
    for layout, (shape, _) in LAYOUTS.items()
    if holds(source, dtype, shape) and not (layout == "byte_swapped" and dtype in ONE_ORDER)
]

NUMPY_ONLY = {"negative_stride", "odd_address", "byte_swapped", "read_only"}
"""Layouts that no other framework has; there the array is made from the values."""


def make(source: str, dtype: str, layout: str) -> tuple[Any, tuple[int, ...], bytes]:
    shape, arrange = LAYOUTS[layout]
    base = random_array(dtype, shape)
    array = arrange(base)
    expected = raw(array)
    if source == "torch" and layout not in NUMPY_ONLY:
        return torch_with_layout(base, dtype, layout), array.shape, expected
    native = array if source == "numpy" else np.ascontiguousarray(array).astype(array.dtype.newbyteorder("="))
    return MAKE[source](native.reshape(array.shape) if source != "numpy" else native, dtype), array.shape, expected


def torch_with_layout(base: Array, dtype: str, layout: str) -> Any:
    """The same layout, made with torch's own views."""
    tensor = MAKE["torch"](base, dtype)
    if layout == "fortran":
        return tensor.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    if layout == "transposed":
        return tensor.permute(1, 0, 2)
    if layout == "stepped":
        wide = (
            tensor.new_zeros([2 * n for n in base.shape])
            if dtype[:6] != "float8"
            else MAKE["torch"](np.zeros([2 * n for n in base.shape], base.dtype), dtype)
        )
        view = wide[::2, ::2, ::2]
        view.copy_(tensor)
        return view
    if layout == "offset_by_one":
        flat = MAKE["torch"](np.zeros(base.size + 1, base.dtype), dtype)
        flat[1:].copy_(tensor.reshape(-1))
        return flat[1:].reshape(base.shape)
    if layout == "broadcast":
        return tensor.expand(3, 4, 5)
    return tensor


@pytest.mark.parametrize(("source", "target", "dtype", "layout"), CASES)
def test_same_bits_arrive(source: str, target: str, dtype: str, layout: str) -> None:
    array, shape, expected = make(source, dtype, layout)
    if not holds(target, dtype, shape):
        with pytest.raises(MemoryConversionError) as caught:
            arraybridge.convert(array, target)
        assert (
            dtype in str(caught.value)
            or "dimension" in str(caught.value)
            or "0-d" in str(caught.value)
            or "without elements" in str(caught.value)
        )
        return
    result = arraybridge.convert(array, target)
    assert module_of(result) == target
    got_dtype, got_shape, got = READ[target](result)
    if source != target or layout != "byte_swapped":
        assert got_dtype == dtype
    assert got_shape == shape
    assert got == expected


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("source", NAMES)
def test_a_copy_is_exact_too(source: str, target: str) -> None:
    array = MAKE[source](random_array("float32", (5, 6, 7)), "float32")
    before = READ[source](array)
    assert READ[target](arraybridge.convert(array, target, copy=True)) == before


def test_64_bit_into_jax_stays_64_bit_and_settings_stay() -> None:
    import jax

    before = jax.config.jax_enable_x64
    result = arraybridge.convert(np.array([2**40 + 5], np.int64), "jax")
    assert result.dtype == np.int64
    assert int(np.asarray(result)[0]) == 2**40 + 5
    assert jax.config.jax_enable_x64 == before


def test_a_missing_dtype_names_the_call_that_works() -> None:
    array = np.arange(6.0).reshape(2, 3)
    with pytest.raises(MemoryConversionError, match="float64") as caught:
        arraybridge.convert(array, "pyclesperanto")
    assert 'dtype="float32"' in str(caught.value)
    result = arraybridge.convert(array, "pyclesperanto", dtype="float32", casting="same_kind")
    assert READ["pyclesperanto"](result)[2] == raw(array.astype(np.float32))
