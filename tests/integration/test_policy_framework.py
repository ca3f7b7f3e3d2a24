"""The framework's own operations give what the kernels on the host give, bit for bit.

They run on accelerators; here they are made to run on the host, where there is something to compare them with.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from arraybridge import MemoryConversionError, framework_cast, options, policy, scale
from arraybridge._library import native
from arraybridge.policy import SCALINGS, Policy, Reference, apply
from frameworks import DTYPES, MAKE, READ

FRAMEWORKS = ["torch", "tensorflow", "jax"]
INTEGERS = [f"{sign}int{bits}" for bits in (8, 16, 32, 64) for sign in ("u", "")]
FLOATS = ["float8_e4m3fn", "float8_e5m2", "bfloat16", "float16", "float32", "float64"]


def real_values(dtype: str, scaling: str, seed: int) -> np.ndarray[Any, Any]:
    """Random values of many sizes, ties, the ends of every integer range and what lies beside them."""
    rng = np.random.default_rng(seed)
    if scaling == "unit":
        edges = [0, -0.0, 1, -1, 0.5, -0.5, 1e-30, -1e-30, 2**-24, 1 / 3, 0.1]
        values = np.concatenate([edges, rng.uniform(-1, 1, 400)])
    else:
        ends = [sign * 2.0**n + d for n in range(66) for sign in (1, -1) for d in (-1, -0.5, 0, 0.5, 1)]
        sizes = rng.normal(size=400) * 2.0 ** rng.integers(-4, 70, 400)
        values = np.concatenate([ends, sizes, np.arange(-20, 20) / 2, [0, -0.0, 5e-324, 65504, 448]])
    with np.errstate(over="ignore"):
        made = values.astype(DTYPES[dtype])
    made = made[np.isfinite(made.astype(np.float64))]
    if scaling == "unit":
        made = made[np.abs(made.astype(np.float64)) <= 1]
    if scaling == "exact":
        made = np.arange(0, 8).astype(DTYPES[dtype])
    return made[: made.size // 2 * 2].reshape(2, -1)


def compare(framework: str, values: np.ndarray[Any, Any], goal: str, scaling: str, nan: float | None) -> None:
    have = values.dtype.name
    expected, saturated, overflowed = native.scale(values, "numpy", goal, scaling, nan)
    array = MAKE[framework](values, have)
    made = framework_cast.change(array, framework, have, goal, scaling, nan)
    assert READ[framework](made[0])[:2] == (goal, values.shape)
    got = np.frombuffer(READ[framework](made[0])[2], DTYPES[goal]).reshape(values.shape)
    np.testing.assert_array_equal(got, expected)
    if scaling != "wrap":
        assert made[1:] == (saturated, overflowed)


@pytest.mark.parametrize("goal", INTEGERS)
@pytest.mark.parametrize("have", FLOATS)
@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("scaling", ["clip", "minmax", "wrap", "exact"])
def test_floats_to_integers(framework: str, have: str, goal: str, scaling: str) -> None:
    values = real_values(have, scaling, 1)
    if values.size == 0:
        pytest.fail("no values")
    compare(framework, values, goal, scaling, None)
    if scaling == "minmax":
        compare(framework, np.full((2, 3), 3).astype(DTYPES[have]), goal, scaling, None)
        compare(framework, (np.arange(12) / 4).astype(DTYPES[have]).reshape(3, 4), goal, scaling, None)


@pytest.mark.parametrize("goal", ["uint8", "int8", "uint16", "int16"])
@pytest.mark.parametrize("have", FLOATS[:-1])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_unit_range(framework: str, have: str, goal: str) -> None:
    compare(framework, real_values(have, "unit", 2), goal, "unit", None)


@pytest.mark.parametrize("goal", ["uint32", "int32", "uint64", "int64"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_unit_range_of_wide_integers_is_as_near_as_float64(framework: str, goal: str) -> None:
    values = real_values("float32", "unit", 3)
    expected = native.scale(values, "numpy", goal, "unit")[0]
    made = framework_cast.change(MAKE[framework](values, "float32"), framework, "float32", goal, "unit")[0]
    got = np.frombuffer(READ[framework](made)[2], DTYPES[goal]).reshape(values.shape)
    span = 2.0 ** (DTYPES[goal].itemsize * 8)
    assert np.abs(got.astype(np.longdouble) - expected.astype(np.longdouble)).max() <= max(1, span * 2.0**-52)
    compare(framework, np.array([[0, 1]], np.float32), goal, "unit", None)


@pytest.mark.parametrize("goal", INTEGERS)
@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("scaling", ["clip", "unit", "minmax", "wrap"])
def test_what_stands_in_place_of_nan(framework: str, goal: str, scaling: str) -> None:
    values = np.array([[0.25, np.nan, 1], [-0.5, 0.75, np.nan]], np.float32)
    largest = np.iinfo(goal).max
    if scaling == "unit" and largest >= 2**31 - 1:
        values[values == 0.25] = 1  # what float64 holds exactly
        values[values == 0.75] = values[values == -0.5] = 1 if goal == "int64" else 0.5
    compare(framework, values, goal, scaling, largest if largest < 2**32 else largest // 2 + 1)
    if scaling != "clip":
        compare(framework, np.where(np.isnan(values), np.inf, values).astype(np.float32), goal, scaling, 3)


@pytest.mark.parametrize("goal", INTEGERS)
@pytest.mark.parametrize("have", INTEGERS)
@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("scaling", ["clip", "minmax", "wrap"])
def test_integers_to_integers(framework: str, have: str, goal: str, scaling: str) -> None:
    if have == goal:
        return
    info = np.iinfo(have)
    ends = [end for dtype in INTEGERS for end in (np.iinfo(dtype).min, np.iinfo(dtype).max, np.iinfo(dtype).max + 1)]
    values = [value for value in (*ends, 0, 1, 77) if info.min <= value <= info.max]
    compare(framework, np.array([values], have), goal, scaling, None)


@pytest.mark.parametrize("goal", FLOATS)
@pytest.mark.parametrize("have", ["bool", *INTEGERS, *FLOATS])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_anything_to_floats(framework: str, have: str, goal: str) -> None:
    if have == goal:
        return
    if have in FLOATS:
        values = real_values(have, "clip", 4)
        limit = 448 if goal == "float8_e4m3fn" else np.inf  # frameworks differ on what is beyond: saturated or NaN
        values = np.where(np.abs(values.astype(np.float64)) <= limit, values, values.dtype.type(1))
    else:
        values = np.array([[0, 1, 1, 0]]).astype(have)
    compare(framework, values, goal, "clip", None)


@pytest.mark.parametrize("have", ["float16", "float32", "int8", "uint64"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_to_bool(framework: str, have: str) -> None:
    compare(framework, np.array([[0, 1, 2, 100]]).astype(have), "bool", "clip", None)
    compare(framework, np.array([[0, 1, 1, 0]]).astype(have), "bool", "exact", None)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    ("values", "goal", "scaling"),
    [
        ([[1, np.nan], [np.nan, 2]], "uint8", "clip"),
        ([[1, 0.5], [np.nan, 2]], "uint8", "wrap"),
        ([[1, 0.5], [np.inf, 2]], "uint8", "minmax"),
        ([[1, 0.5], [0, 1.25]], "uint8", "unit"),
        ([[1, 2], [3.5, 4.5]], "uint8", "exact"),
        ([[1, 2], [256, 4.5]], "uint8", "exact"),
        ([[1, 2], [1 / 3, 4.5]], "float16", "exact"),
        ([[1, 0], [1, 2]], "bool", "exact"),
        ([[1, 0], [1, 2]], "bool", "unit"),
    ],
)
def test_refusals_say_the_same(framework: str, values: Any, goal: str, scaling: str) -> None:
    image = np.array(values, np.float32)
    with pytest.raises(MemoryConversionError) as expected:
        native.scale(image, "numpy", goal, scaling)
    with pytest.raises(MemoryConversionError) as found:
        framework_cast.change(MAKE[framework](image, "float32"), framework, "float32", goal, scaling)
    assert found.value.reason == expected.value.reason
    assert found.value.status == expected.value.status == "WOULD_CAST"


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_complex_numbers(framework: str) -> None:
    values = np.array([[1 + 2j, 3]], np.complex128)
    compare(framework, values, "complex64", "clip", None)
    with pytest.raises(MemoryConversionError, match="imaginary"):
        framework_cast.change(MAKE[framework](values, "complex128"), framework, "complex128", "uint8", "clip")


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("values", [[[0, 0.5]], [[0, 1.0]], [[0, 2.5]], [[0.5, np.nan]], [[0.5, -np.inf]], [[-1, 0.5]]])
@pytest.mark.parametrize("ignore_nan", [False, True])
def test_fractions_are_seen_as_on_the_host(framework: str, values: Any, ignore_nan: bool) -> None:
    image = np.array(values, np.float32)
    known = policy.Known("numpy", "float32", 2, False, True, False)
    expected = policy._fractions(known, image, 0 if ignore_nan else None)
    array = MAKE[framework](image, "float32")
    assert framework_cast.fractions_in_unit(array, framework, "float32", ignore_nan) == expected


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_policy_takes_this_way_for_what_the_host_cannot_reach(
    framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_at = policy.look_at
    monkeypatch.setattr(policy, "look_at", lambda x: look_at(x)._replace(on_host=False))
    monkeypatch.setattr(policy.native, "scale", None)
    array = MAKE[framework](np.array([[1.5, 300]], np.float32), "float32")
    reference = Reference(framework, "uint8", 2)
    assert READ[framework](apply(array, reference, Policy()))[0] == "uint8"
    with pytest.raises(MemoryConversionError, match="fractions"):
        apply(MAKE[framework](np.array([[0.5, 1]], np.float32), "float32"), reference, Policy())
    with pytest.warns(policy.DtypeWarning, match="1 of 2"):
        apply(MAKE[framework](np.array([[5, 300]], np.int32), "int32"), reference, Policy())
    from arraybridge import scaling

    monkeypatch.setattr(scaling, "look_at", policy.look_at)
    assert READ[framework](scale(array, "int16"))[0] == "int16"


def test_all_scalings_are_tried_here() -> None:
    assert set(SCALINGS) == {"clip", "minmax", "wrap", "exact", "unit"}


def test_memory_that_runs_out_while_a_result_is_settled_is_made_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = framework_cast._change, []

    def change(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) < 3:
            raise MemoryError
        return real(*arguments)

    monkeypatch.setattr(framework_cast, "_change", change)
    x = MAKE["torch"](np.array([[1.5, 300]], np.float32), "float32")
    assert framework_cast.change(x, "torch", "float32", "uint8", "clip")[1] == 1
    assert len(calls) == 3
    calls.clear()
    with options(max_retries=0), pytest.raises(MemoryError):
        framework_cast.change(x, "torch", "float32", "uint8", "clip")
    assert len(calls) == 1
