"""Which dtype a result gets, and what becomes of its values: DESIGN §5's table, row by row, in each framework."""

from __future__ import annotations

import pickle
import warnings
from typing import Any, NamedTuple

import numpy as np
import pytest
from arraybridge import DtypeConversion, DtypeWarning, MemoryConversionError, dtype_policy
from arraybridge.policy import SCALINGS, Policy, Reference, apply, read_policy
from frameworks import DTYPES, MAKE, NAMES, READ, holds


def make(framework: str, values: Any, dtype: str) -> Any:
    return MAKE[framework](np.asarray(values).astype(DTYPES[dtype]), dtype)


def read(framework: str, array: Any) -> np.ndarray[Any, Any]:
    dtype, shape, data = READ[framework](array)
    return np.frombuffer(data, DTYPES[dtype]).reshape(shape)


def quiet(*arguments: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return apply(*arguments)


class Row(NamedTuple):
    """One line of the table: an input's dtype, a result, and what is to become of it."""

    title: str
    before: str
    result: str
    values: Any
    after: str
    expected: Any
    policy: Policy = Policy()
    told: int = 0  # how many values saturate, and a warning counts them


LABELS = [[0, 1], [2, 3]]
ROWS = [
    Row("float image of an integer input", "uint16", "float32", [[100.4, 200.5], [-3, 7e9]], "uint16",
        [[100, 200], [0, 65535]], told=2),
    Row("float image of a signed input", "int16", "float32", [[2.5, -2.5], [-4e4, 4e4]], "int16",
        [[2, -2], [-32768, 32767]], told=2),
    Row("infinities saturate", "uint8", "float32", [[np.inf, -np.inf], [5, 6]], "uint8", [[255, 0], [5, 6]], told=2),
    Row("what is rounded into the range is not beyond it", "uint8", "float32", [[255.4, -0.5], [254.5, 0.5]], "uint8",
        [[255, 0], [254, 0]]),
    Row("clip said explicitly takes what saturates", "uint8", "float32", [[300, -7], [5, 6]], "uint8",
        [[255, 0], [5, 6]], Policy(scaling="clip")),
    Row("wider integer in range", "uint8", "int32", [[0, 7], [200, 255]], "uint8", [[0, 7], [200, 255]]),
    Row("labels are never stretched", "uint16", "uint8", LABELS, "uint16", LABELS),
    Row("labels are never stretched, minmax", "uint16", "int32", LABELS, "uint16", LABELS, Policy(scaling="minmax")),
    Row("labels are never stretched, unit", "uint16", "int32", LABELS, "uint16", LABELS, Policy(scaling="unit")),
    Row("values 100 to 200 stay", "uint16", "float32", [[100, 150], [200, 120]], "uint16", [[100, 150], [200, 120]]),
    Row("1-D result of a 2-D input", "uint16", "float32", [1.5, 2.5], "float32", [1.5, 2.5]),
    Row("float to float", "float16", "float32", [[1.5, 2], [3, 1 / 3]], "float16", [[1.5, 2], [3, 1 / 3]]),
    Row("float to larger float", "float64", "float32", [[1.5, 2], [3, 4]], "float64", [[1.5, 2], [3, 4]]),
    Row("NaN and infinity in floats", "float16", "float32", [[np.nan, np.inf], [1, 2]], "float16",
        [[np.nan, np.inf], [1, 2]]),
    Row("mask of an integer image", "uint8", "bool", [[0, 1], [1, 0]], "uint8", [[0, 1], [1, 0]]),
    Row("mask of a float image", "float32", "bool", [[0, 1], [1, 0]], "float32", [[0, 1], [1, 0]]),
    Row("mask of a mask", "bool", "bool", [[0, 1], [1, 0]], "bool", [[0, 1], [1, 0]]),
    Row("float of a bool input", "bool", "float32", [[0.5, 1], [3, 4]], "float32", [[0.5, 1], [3, 4]]),
    Row("labels of a bool input", "bool", "int32", LABELS, "int32", LABELS),
    Row("labels of a float input", "float32", "int32", LABELS, "int32", LABELS),
    Row("labels beyond the range, said to be labels", "uint8", "int32", [[0, 70000], [1, 2]], "int32",
        [[0, 70000], [1, 2]], Policy(labels=True)),
    Row("complex to complex", "complex64", "complex128", [[1 + 2j, 0], [1, 2]], "complex64", [[1 + 2j, 0], [1, 2]]),
    Row("magnitude of a complex input", "complex64", "float32", [[1.5, 0], [1, 2]], "float32", [[1.5, 0], [1, 2]]),
    Row("native", "uint8", "float32", [[0.5, 1], [3, 4]], "float32", [[0.5, 1], [3, 4]], Policy("native")),
    Row("fixed", "float32", "float32", [[2.5, 1], [3, 400]], "uint8", [[2, 1], [3, 255]], Policy("uint8"),
        told=1),
    Row("fixed, unit", "float32", "float32", [[0, 0.5], [1, 0.25]], "uint8", [[0, 128], [255, 64]],
        Policy("uint8", "unit")),
    Row("fixed float of integers", "uint8", "int32", LABELS, "float32", LABELS, Policy("float32")),
    Row("fixed, 1-D of 2-D", "uint16", "float32", [1.5, 2.5], "uint8", [2, 2], Policy("uint8")),
    Row("unit", "uint16", "float32", [[0, 0.5], [1, 0.25]], "uint16", [[0, 32768], [65535, 16384]],
        Policy(scaling="unit")),
    Row("unit, negative", "uint8", "float32", [[-0.25, 0.5], [1, -0.001]], "uint8", [[0, 128], [255, 0]],
        Policy(scaling="unit"), told=1),
    Row("unit, signed", "int16", "float32", [[-1, 0], [1, 1]], "int16", [[-32768, 0], [32767, 32767]],
        Policy(scaling="unit")),
    Row("minmax", "uint8", "float32", [[0, 0.5], [1, 0.75]], "uint8", [[0, 127], [255, 191]],
        Policy(scaling="minmax")),
    Row("minmax of one value", "uint8", "float32", [[300, 300], [300, 300]], "uint8", [[255, 255], [255, 255]],
        Policy(scaling="minmax")),
    Row("wrap", "uint8", "float32", [[256, -1], [300.7, 255]], "uint8", [[0, 255], [44, 255]], Policy(scaling="wrap")),
    Row("wrap of integers", "uint8", "int32", [[256, -1], [300, 255]], "uint8", [[0, 255], [44, 255]],
        Policy(scaling="wrap")),
    Row("exact", "uint8", "float32", [[0, 1], [255, 3]], "uint8", [[0, 1], [255, 3]], Policy(scaling="exact")),
    Row("fractions, clip said explicitly", "uint8", "float32", [[0, 0.5], [1, 0.75]], "uint8", [[0, 0], [1, 1]],
        Policy(scaling="clip")),
    Row("whole numbers within the unit range", "uint8", "float32", [[0, 1], [1, -1]], "uint8", [[0, 1], [1, 0]],
        told=1),
    Row("fractions in an integer image of labels", "uint8", "float32", [[0.5, 1.25]], "uint8", [[0, 1]]),
    Row("nan=", "uint8", "float32", [[np.nan, 300], [2, 3]], "uint8", [[7, 255], [2, 3]], Policy(nan=7),
        told=1),
]  # fmt: skip


def _held(framework: str, row: Row) -> bool:
    return all(holds(framework, dtype, np.shape(row.values)) for dtype in (row.before, row.result, row.after))


CASES = [
    pytest.param(name, row, id=f"{name}-{row.title}") for name in NAMES for row in ROWS if _held(name, row)
]


@pytest.mark.parametrize(("framework", "row"), CASES)
def test_the_table(framework: str, row: Row) -> None:
    array = make(framework, row.values, row.result)
    reference = Reference(framework, row.before, 2)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        result = apply(array, reference, row.policy)
    assert [str(one.message).split(" ")[0] for one in told] == ([str(row.told)] if row.told else [])
    assert READ[framework](result)[0] == row.after
    np.testing.assert_array_equal(read(framework, result), np.asarray(row.expected).astype(DTYPES[row.after]))
    np.testing.assert_array_equal(read(framework, array), np.asarray(row.values).astype(DTYPES[row.result]))
    if row.result == row.after:
        assert result is array


@pytest.mark.parametrize("framework", NAMES)
@pytest.mark.parametrize("target", NAMES)
def test_the_dtype_changes_on_the_way_to_another_framework(framework: str, target: str) -> None:
    result = quiet(make(framework, [[1.5, 200]], "float32"), Reference(target, "uint8", 2), Policy(), target)
    assert READ[target](result)[0] == "uint8"
    np.testing.assert_array_equal(read(target, result), [[2, 200]])


@pytest.mark.parametrize("framework", [name for name in NAMES if name != "pyclesperanto"])
@pytest.mark.parametrize("policy", [Policy(), Policy("uint8"), Policy(scaling="minmax")])
def test_results_without_dimensions_are_left(framework: str, policy: Policy) -> None:
    mean = make(framework, 123.4, "float32")
    assert quiet(mean, Reference(framework, "uint8", 2), policy) is mean


@pytest.mark.parametrize("result", [123.4, np.float32(1.5), None, "text", (1, 2), np.array(["a"]), object()])
def test_what_is_no_array_is_left(result: Any) -> None:
    assert quiet(result, Reference("numpy", "uint8", 2), Policy("uint16")) is result


@pytest.mark.parametrize("framework", NAMES)
def test_without_a_reference_nothing_is_preserved(framework: str) -> None:
    array = make(framework, [[1.5]], "float32")
    assert quiet(array, None, Policy()) is array
    assert READ[framework](quiet(array, None, Policy("uint8")))[0] == "uint8"


@pytest.mark.parametrize("framework", ["numpy", "torch", "tensorflow", "jax"])
@pytest.mark.parametrize("scaling", [None, *SCALINGS])
@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0)])
def test_empty_images(framework: str, scaling: str | None, shape: tuple[int, ...]) -> None:
    image = make(framework, np.zeros(shape), "float32")
    result = quiet(image, Reference(framework, "uint8", 2), Policy("uint8", scaling))
    assert READ[framework](result)[:2] == ("uint8", shape)


def test_read_only_strided_and_byte_swapped_images() -> None:
    image = np.array([[1.5, 255.4], [2.5, -0.5]], np.float32)
    image.setflags(write=False)
    for one in (image, image[::-1, ::-1][::-1, ::-1], image.astype(">f4"), np.asfortranarray(image)):
        np.testing.assert_array_equal(quiet(one, Reference("numpy", "uint8", 2), Policy()), [[2, 255], [2, 0]])


# ---------------------------------------------------------------- refusals


def refusal(*arguments: Any) -> MemoryConversionError:
    with pytest.raises(MemoryConversionError) as caught:
        quiet(*arguments)
    assert caught.value.status == "WOULD_CAST"
    assert type(pickle.loads(pickle.dumps(caught.value))) is MemoryConversionError
    return caught.value


@pytest.mark.parametrize("framework", NAMES)
@pytest.mark.parametrize("policy", [Policy(), Policy("uint8"), Policy("int32", nan=0)])
def test_probabilities_are_refused_with_all_ways_out(framework: str, policy: Policy) -> None:
    error = refusal(make(framework, [[0, 0.25], [0.5, 1]], "float32"), Reference(framework, "uint16", 2), policy)
    for spelling in ('scaling="unit"', 'dtype_conversion="native"', 'scaling="minmax"', 'scaling="clip"'):
        assert spelling in error.hint
    assert "[0, 1]" in error.reason


@pytest.mark.parametrize("framework", NAMES)
def test_signed_fractions_and_nan_beside_them(framework: str) -> None:
    reference = Reference(framework, "int16", 2)
    refusal(make(framework, [[-1, 0.25]], "float32"), reference, Policy())
    refusal(make(framework, [[np.nan, 0.25]], "float32"), reference, Policy(nan=0))
    assert "NaN at index (0, 0)" in refusal(make(framework, [[np.nan, 0.25]], "float32"), reference, Policy()).reason
    quiet(make(framework, [[np.nan, 1.25]], "float32"), reference, Policy(nan=0))


@pytest.mark.parametrize("framework", NAMES)
@pytest.mark.parametrize("scaling", [None, *SCALINGS])
def test_nan_is_named_with_its_place(framework: str, scaling: str | None) -> None:
    values = np.ones((3, 4, 5), np.float32)
    values[2, 1, 3] = values[2, 3, 0] = np.nan
    error = refusal(make(framework, values, "float32"), Reference(framework, "uint8", 3), Policy(scaling=scaling))
    assert "NaN" in error.reason and "(2, 1, 3)" in error.reason
    if scaling != "exact":
        assert "nan=0" in error.hint
    assert 'dtype_conversion="native"' in error.hint


@pytest.mark.parametrize("framework", NAMES)
@pytest.mark.parametrize("scaling", ["unit", "minmax"])
def test_infinity_is_named_with_its_place(framework: str, scaling: str) -> None:
    image = make(framework, [[0, 1], [0.5, -np.inf]], "float32")
    error = refusal(image, Reference(framework, "uint8", 2), Policy(scaling=scaling))
    assert "inf" in error.reason and "(1, 1)" in error.reason


@pytest.mark.parametrize("framework", NAMES)
def test_unit_and_exact_name_the_value(framework: str) -> None:
    image = make(framework, [[0, 1], [0.5, 1.5]], "float32")
    reference = Reference(framework, "uint8", 2)
    error = refusal(image, reference, Policy(scaling="unit"))
    assert "1.5 at index (1, 1)" in error.reason and 'scaling="clip"' in error.hint
    error = refusal(image, reference, Policy(scaling="exact"))
    assert "0.5 at index (1, 0)" in error.reason and 'scaling="clip"' in error.hint
    refusal(image, reference, Policy("uint8", labels=True))  # a label is never rounded


@pytest.mark.parametrize("framework", ["numpy", "torch", "tensorflow", "jax"])
@pytest.mark.parametrize("before", ["uint8", "float32", "bool"])
def test_complex_results_of_real_inputs(framework: str, before: str) -> None:
    image = make(framework, [[1 + 1j]], "complex64")
    error = refusal(image, Reference(framework, before, 2), Policy())
    assert 'dtype_conversion="native"' in error.hint
    assert quiet(image, Reference(framework, before, 2), Policy("native")) is image
    assert "float32" in refusal(image, Reference(framework, before, 2), Policy("float32")).reason


# ---------------------------------------------------------------- warnings


@pytest.mark.parametrize("framework", NAMES)
@pytest.mark.parametrize("policy", [Policy(), Policy(scaling="minmax"), Policy("uint16")])
def test_labels_beyond_the_range_saturate_and_the_warning_counts(framework: str, policy: Policy) -> None:
    image = make(framework, [[0, 70000, 65535], [-1, 3, 100000]], "int32")
    with pytest.warns(DtypeWarning) as told:
        result = apply(image, Reference(framework, "uint16", 2), policy)
    np.testing.assert_array_equal(read(framework, result), [[0, 65535, 65535], [0, 3, 65535]])
    assert len(told) == 1
    text = str(told[0].message)
    assert text.startswith("3 of 6 values") and "labels=True" in text and 'dtype_conversion="native"' in text
    assert told[0].filename == __file__


@pytest.mark.parametrize("framework", NAMES)
def test_numbers_beyond_the_range_are_counted_with_ways_out(framework: str) -> None:
    image = make(framework, [[-100, -0.5, 20], [255.4, 300, 3]], "float32")
    with pytest.warns(DtypeWarning) as told:
        result = apply(image, Reference(framework, "uint8", 2), Policy())
    np.testing.assert_array_equal(read(framework, result), [[0, 0, 20], [255, 255, 3]])
    assert len(told) == 1 and told[0].filename == __file__
    text = str(told[0].message)
    assert text.startswith("2 of 6 values of the float32 result lie beyond uint8")
    assert 'dtype_conversion="native"' in text and 'scaling="clip"' in text


@pytest.mark.parametrize("framework", ["numpy", "torch", "tensorflow", "jax"])
def test_finite_to_infinite_warns_with_the_count(framework: str) -> None:
    image = make(framework, [[1e5, np.inf, np.nan, 1, -1e6]], "float32")
    with pytest.warns(DtypeWarning, match="2 of 5 values .*float16") as told:
        result = apply(image, Reference(framework, "float16", 2), Policy())
    np.testing.assert_array_equal(read(framework, result), np.float16([[np.inf, np.inf, np.nan, 1, -np.inf]]))
    assert told[0].filename == __file__


# ---------------------------------------------------------------- dtypes that the framework lacks


def test_a_dtype_that_the_framework_lacks() -> None:
    image = make("pyclesperanto", [[1.5, 300]], "float32")
    assert quiet(image, Reference("numpy", "float64", 2), Policy()) is image
    assert quiet(image, Reference("numpy", "int64", 2), Policy()).dtype == np.int32
    beyond = make("pyclesperanto", [[1.5, 3e12]], "float32")
    error = refusal(beyond, Reference("numpy", "int64", 2), Policy())
    assert "int64" in error.reason and "(0, 1)" in error.reason and 'output_type="numpy"' in error.hint
    assert quiet(image, Reference("numpy", "float64", 2), Policy(), "numpy").dtype == np.float64
    with pytest.raises(MemoryConversionError, match="float64"):
        quiet(image, Reference("numpy", "float64", 2), Policy(casting="no"))


# ---------------------------------------------------------------- what is said


GOOD = [
    ("preserve", "preserve"), ("native", "native"), ("uint8", "uint8"), (np.uint8, "uint8"),
    (np.dtype("int16"), "int16"),
    (DtypeConversion.FLOAT64, "float64"), (DtypeConversion.PRESERVE_INPUT, "preserve"), ("bfloat16", "bfloat16"),
    (float, "float64"), (bool, "bool"), (np.bool_, "bool"), (None, None),
]  # fmt: skip


@pytest.mark.parametrize(("said", "read_as"), GOOD)
def test_conversions_that_are_understood(said: object, read_as: str | None) -> None:
    assert read_policy(said).conversion == read_as


def test_dtypes_of_other_libraries() -> None:
    import tensorflow as tf
    import torch

    assert read_policy(torch.uint8).conversion == read_policy(tf.uint8).conversion == "uint8"


@pytest.mark.parametrize("said", ["unit8", "", 3, b"uint8", "object", np.dtype("U5"), object(), "PRESERVE", ["uint8"]])
def test_a_conversion_that_cannot_be_names_those_that_can(said: object) -> None:
    with pytest.raises(ValueError, match=r'"preserve", "native".*uint8.*complex128'):
        read_policy(said)


@pytest.mark.parametrize(
    ("keywords", "error", "text"),
    [
        ({"scaling": "unti"}, ValueError, "'clip', 'unit', 'exact', 'minmax', 'wrap'"),
        ({"scaling": ["clip"]}, ValueError, "'clip', 'unit'"),
        ({"nan": "0"}, TypeError, "nan=0"),
        ({"nan": True}, TypeError, "nan=0"),
        ({"nan": float("nan")}, ValueError, "nan=0"),
        ({"nan": float("inf")}, ValueError, "nan=0"),
        ({"labels": 1}, TypeError, "labels must be True"),
        ({"casting": "same"}, ValueError, "'same_kind'"),
        ({"dtype_conversion": "uint8", "nan": 300}, ValueError, "from 0 to 255"),
        ({"dtype_conversion": "uint8", "nan": 0.5}, ValueError, "from 0 to 255"),
        ({"dtype_conversion": "bool", "scaling": "unit"}, ValueError, 'scaling="clip"'),
        ({"dtype_config": object()}, TypeError, "default_dtype_conversion"),
    ],
)
def test_what_cannot_be_fails_at_once(keywords: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text.replace("(", r"\(")):
        read_policy(**keywords)


def test_a_config_of_the_older_form() -> None:
    class Config:
        default_dtype_conversion = DtypeConversion.UINT16

    assert read_policy(dtype_config=Config()).conversion == "uint16"
    assert read_policy("native", Config()).conversion == "native"
    assert read_policy(dtype_config="uint8").conversion == "uint8"


def test_policy_objects() -> None:
    policy = dtype_policy("uint8", "unit", nan=0, labels=False)
    assert policy == Policy("uint8", "unit", 0, False)
    assert read_policy(policy) == policy
    assert read_policy(policy, scaling="clip").scaling == "clip"
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert Policy("uint8").over(Policy("native", "wrap")) == Policy("uint8", "wrap")
    assert Policy(labels=False, nan=0).over(Policy(labels=True, nan=1)) == Policy(labels=False, nan=0)
    with pytest.raises(ValueError, match="from 0 to 255"):
        dtype_policy("uint8", nan=-1)


def test_the_members_of_the_older_enum() -> None:
    values = [member.value for member in DtypeConversion]
    assert values == ["preserve", "native", "uint8", "uint16", "int16", "int32", "float32", "float64"]
    assert [one.numpy_dtype for one in DtypeConversion] == [
        None, None, np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64,
    ]  # fmt: skip
