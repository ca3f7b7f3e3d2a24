"""``scale`` and ``SCALING_FUNCTIONS``."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import arraybridge
import numpy as np
import pytest
from arraybridge import SCALING_FUNCTIONS, MemoryConversionError, scale
from frameworks import DTYPES, MAKE, NAMES, READ


def made(framework: str, values: Any, dtype: str = "float32") -> Any:
    return MAKE[framework](np.asarray(values).astype(DTYPES[dtype]), dtype)


def read(framework: str, array: Any) -> np.ndarray[Any, Any]:
    dtype, shape, data = READ[framework](array)
    return np.frombuffer(data, DTYPES[dtype]).reshape(shape)


@pytest.mark.parametrize("framework", NAMES)
@pytest.mark.parametrize(
    ("scaling", "values", "expected"),
    [
        ("clip", [[0.5, 1.5], [2.5, 300]], [[0, 2], [2, 255]]),
        ("unit", [[0, 0.5], [1, 0.25]], [[0, 128], [255, 64]]),
        ("exact", [[0, 1], [2, 255]], [[0, 1], [2, 255]]),
        ("minmax", [[0, 0.5], [1, 0.5]], [[0, 127], [255, 127]]),
        ("wrap", [[0, 256.9], [-1, 300]], [[0, 0], [255, 44]]),
    ],
)
def test_each_rule(framework: str, scaling: str, values: Any, expected: Any) -> None:
    array = made(framework, values)
    result = scale(array, np.uint8, scaling=scaling)
    assert arraybridge.detect_memory_type(result) == framework
    assert READ[framework](result)[0] == "uint8"
    np.testing.assert_array_equal(read(framework, result), expected)


def test_an_explicit_clip_says_nothing_of_what_saturates() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(scale(np.array([300, -1]), "uint8"), [255, 0])
        np.testing.assert_array_equal(scale(np.array([0.25, np.nan]), "uint8", nan=3), [0, 3])
        assert scale(np.array(2.5), "uint8")[()] == 2
    with pytest.warns(arraybridge.DtypeWarning, match="1 of 2") as told:
        scale(np.array([1e9, 1]), "float16")
    assert told[0].filename == __file__


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((np.zeros(2), "uint7"), ValueError, "uint8"),
        ((np.zeros(2), "uint8", "stretch"), ValueError, "minmax"),
        ((np.zeros(2), "uint8", "clip", 256), ValueError, "from 0 to 255"),
        ((np.zeros(2), "bool", "unit"), ValueError, "clip"),
        ((3.0, "uint8"), ValueError, "no array"),
        ((np.array(["a"]), "uint8"), TypeError, "numbers"),
        ((np.array([np.nan]), "uint8"), MemoryConversionError, r"NaN at index \(0,\).*nan=0"),
        ((np.array([1j]), "uint8"), MemoryConversionError, "imaginary"),
    ],
)
def test_what_cannot_be(arguments: tuple[Any, ...], error: type[Exception], text: str) -> None:
    x, dtype, *rest = arguments
    with pytest.raises(error, match=text):
        scale(x, dtype, **dict(zip(("scaling", "nan"), rest, strict=False)))


def test_the_six_functions() -> None:
    assert list(SCALING_FUNCTIONS) == ["numpy", "cupy", "torch", "tensorflow", "jax", "pyclesperanto"]
    assert pickle.loads(pickle.dumps(SCALING_FUNCTIONS["torch"])).args == ("torch",)


@pytest.mark.parametrize("framework", NAMES)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int16", "int32", "uint64", "int64"])
def test_minmax_reaches_both_ends(framework: str, dtype: str) -> None:
    if framework == "pyclesperanto" and dtype.endswith("64"):
        with pytest.raises(MemoryConversionError, match=dtype):
            SCALING_FUNCTIONS[framework](made(framework, [[100, 150, 200]]), np.dtype(dtype).type)
        return
    result = read(framework, SCALING_FUNCTIONS[framework](made(framework, [[100, 150, 200]]), np.dtype(dtype).type))
    info = np.iinfo(dtype)
    assert (result[0, 0], result[0, 2]) == (info.min, info.max)


@pytest.mark.parametrize("framework", NAMES)
def test_the_other_pairs_saturate(framework: str) -> None:
    function = SCALING_FUNCTIONS[framework]
    np.testing.assert_array_equal(read(framework, function(made(framework, [[0, 0.5, 1]]), "uint8")), [[0, 127, 255]])
    np.testing.assert_array_equal(read(framework, function(made(framework, [[300, 300]]), "uint8")), [[255, 255]])
    np.testing.assert_array_equal(read(framework, function(made(framework, [[300, -1]], "int32"), "uint8")), [[255, 0]])
    np.testing.assert_array_equal(read(framework, function(made(framework, [[3, 1]], "uint8"), "float32")), [[3, 1]])
    with pytest.raises(MemoryConversionError, match=r"\(0, 1\)"):
        function(made(framework, [[0, np.nan]]), "uint8")


def test_an_array_of_another_framework_becomes_one_of_the_named() -> None:
    assert arraybridge.detect_memory_type(SCALING_FUNCTIONS["torch"](np.float32([[0, 1]]), "uint8")) == "torch"
