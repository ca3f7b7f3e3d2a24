"""``scale`` and ``SCALING_FUNCTIONS``."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import arraybridge
import numpy as np
import pytest
from arraybridge import SCALING_FUNCTIONS, DtypeWarning, MemoryConversionError, scale
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


@pytest.mark.parametrize("framework", NAMES)
def test_negative_numbers_in_the_unit_range_are_counted(framework: str) -> None:
    with pytest.warns(DtypeWarning, match=r"^1 of 4 float32 values are negative .*uint8 stands for \[0, 1\]") as told:
        result = scale(made(framework, [[-0.2, -0.001], [1, 0.5]]), "uint8", scaling="unit")
    np.testing.assert_array_equal(read(framework, result), [[0, 0], [255, 128]])
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scale(made(framework, [[-1, 1]]), "int8", scaling="unit")


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


# ---------------------------------------------------------------- integers are never stretched


@pytest.mark.parametrize("framework", NAMES)
def test_a_stretch_of_integers_says_that_there_is_none(framework: str) -> None:
    x = arraybridge.convert(np.array([[10, 300], [20, 40]], np.int16), framework)
    with pytest.warns(DtypeWarning, match='int16.*scale.*"float32"') as seen:
        kept = arraybridge.scale(x, "uint8", scaling="minmax")
    assert [one.filename for one in seen] == [__file__], "it points at who has asked for it"
    assert READ[framework](kept)[2] == bytes([10, 255, 20, 40])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stretched = arraybridge.scale(arraybridge.scale(x, "float32"), "uint8", scaling="minmax")
    assert READ[framework](stretched)[2] == bytes([0, 255, 8, 26])


def test_a_stretch_of_bool_says_that_there_is_none() -> None:
    with pytest.warns(DtypeWarning, match="bool"):
        assert arraybridge.scale(np.array([True, False]), "uint8", scaling="minmax").tolist() == [1, 0]


def test_nobody_else_is_told_of_integers_that_are_not_stretched() -> None:
    image = np.array([[10, 300], [20, 40]], np.uint16)
    labels = arraybridge.numpy(lambda image: image.astype(np.int32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        arraybridge.scale(image, "float32", scaling="minmax")
        arraybridge.scale(image.astype(np.float32), "uint8", scaling="minmax")
        SCALING_FUNCTIONS["numpy"](image, np.uint8)
        with arraybridge.options(scaling="minmax"):
            assert labels(image).tolist() == image.tolist()
        assert arraybridge.numpy(scaling="minmax")(lambda image: image.astype(np.int32))(image).dtype == np.uint16


@pytest.mark.parametrize("nan", [2**53 + 1, 2**64 - 1, np.int64(2**53 + 1), -(2**53) - 1, 10**400])
@pytest.mark.parametrize("goal", ["int64", "uint64"])
def test_a_stand_in_that_would_be_another_number_is_refused(nan: Any, goal: str) -> None:
    image = np.array([np.nan, 1])
    with pytest.raises(ValueError, match="float64 has"):
        scale(image, goal, nan=nan)
    with pytest.raises(ValueError, match="float64 has"):
        arraybridge.convert(image, "torch", dtype=goal, scaling="clip", nan=nan)


def test_a_stand_in_with_many_digits_is_exact() -> None:
    image = np.array([np.nan, 1])
    for nan in (2**53, 2**63 - 2**10, np.array(7), 3.0):
        assert scale(image, "int64", nan=nan)[0] == int(nan)


def test_a_complex_number_counts_once() -> None:
    numbers = np.array([1e300 + 1e300j, 1e300, 2, complex(np.inf, 1e300), complex(0, np.nan)])
    with pytest.warns(DtypeWarning, match="2 of 5 values"):
        assert scale(numbers, "complex64").dtype == np.complex64
