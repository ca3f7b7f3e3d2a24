"""Hypothesis: random views of random arrays arrive bit for bit in every framework that can hold them."""

from __future__ import annotations

from typing import Any

import arraybridge
import numpy as np
import pytest
from frameworks import DTYPES, NAMES, READ, holds, random_array, raw
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@st.composite
def views(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    """An array seen through slices of any step, swapped axes, new axes, broadcasting, another byte order."""
    dtype = draw(st.sampled_from(sorted(DTYPES)))
    shape = tuple(draw(st.lists(st.integers(0, 5), min_size=0, max_size=4)))
    array = random_array(dtype, shape, seed=draw(st.integers(0, 1 << 16)))
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["slice", "transpose", "newaxis", "broadcast", "flip", "index", "swap"]))
        if kind == "slice" and array.ndim:
            axis = draw(st.integers(0, array.ndim - 1))
            step = draw(st.sampled_from([-3, -2, -1, 1, 2, 3]))
            start = draw(st.integers(-6, 6) | st.none())
            array = array[tuple(slice(start, None, step) if i == axis else slice(None) for i in range(array.ndim))]
        elif kind == "transpose" and array.ndim:
            array = array.transpose(draw(st.permutations(range(array.ndim))))
        elif kind == "newaxis" and array.ndim < 6:
            array = np.expand_dims(array, draw(st.integers(0, array.ndim)))
        elif kind == "broadcast" and array.ndim < 6:
            array = np.broadcast_to(array, (draw(st.integers(0, 3)), *array.shape))
        elif kind == "flip" and array.ndim:
            array = np.flip(array, draw(st.integers(0, array.ndim - 1)))
        elif kind == "index" and array.ndim and array.shape[0]:
            array = array[draw(st.integers(0, array.shape[0] - 1))]
            if not isinstance(array, np.ndarray):  # a scalar is no array
                array = np.asarray(array)
        elif kind == "swap" and array.dtype.itemsize > 1 and array.dtype.isbuiltin == 1:
            array = array.astype(array.dtype.newbyteorder())
    return array


@pytest.mark.parametrize("target", NAMES)
@QUICK
@given(array=views())
def test_a_random_view_arrives(target: str, array: np.ndarray[Any, Any]) -> None:
    dtype = array.dtype.newbyteorder("=").name
    if not holds(target, dtype, array.shape):
        with pytest.raises(arraybridge.MemoryConversionError):
            arraybridge.convert(array, target)
        return
    expected = raw(array)
    plan = arraybridge.plan(array, target)
    with arraybridge.records() as log:
        result = arraybridge.convert(array, target)
    assert READ[target](result)[1] == array.shape
    assert READ[target](result)[2] == expected
    assert raw(array) == expected
    assert log[0].mechanism == plan.mechanism
    assert log[0].shared != log[0].copied


@QUICK
@given(array=views(), names=st.lists(st.sampled_from(NAMES), min_size=2, max_size=4))
def test_a_random_chain_keeps_the_bits(array: np.ndarray[Any, Any], names: list[str]) -> None:
    dtype = array.dtype.newbyteorder("=").name
    names = [name for name in names if holds(name, dtype, array.shape)]
    expected = raw(array)
    step: Any = array
    for name in names:
        step = arraybridge.convert(step, name)
    if names:
        assert READ[names[-1]](step)[2] == expected
    assert raw(array) == expected
