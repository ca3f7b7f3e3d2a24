"""Scaling: every rule against an independent reference in exact fractions, for every pair, in every framework."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import arraybridge
import numpy as np
import pytest
from arraybridge._library import native
from frameworks import DTYPES, MAKE, NAMES, READ, holds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)

INTEGERS = ["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"]
REALS = ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float32", "float64"]
RULES = ["clip", "unit", "exact", "minmax", "wrap"]


def ends(target: str) -> tuple[int, int]:
    """The range of an integer dtype."""
    info = np.iinfo(target)
    return int(info.min), int(info.max)


# ---------------------------------------------------------------- the reference


def clipped(x: float, target: str) -> int:
    """Rounded half to even (what Python's round() does to a fraction), then saturated."""
    low, high = ends(target)
    if math.isinf(x):
        return high if x > 0 else low
    return min(max(round(Fraction(x)), low), high)


def united(x: float, target: str) -> int | None:
    """None: outside [-1, 1]."""
    low, high = ends(target)
    if not -1 <= x <= 1:
        return None
    full = high - low
    scaled = Fraction(x) * full if low == 0 else (Fraction(x) * full - 1) / 2
    return max(round(scaled), low)


def exactly(x: float, target: str) -> int | None:
    """None: it does not exist there."""
    low, high = ends(target)
    if math.isinf(x) or Fraction(x).denominator != 1 or not low <= int(x) <= high:
        return None
    return int(x)


def wrapped(x: float, target: str) -> int | None:
    """None: infinities are nowhere on the circle."""
    if math.isinf(x):
        return None
    low, high = ends(target)
    return (math.trunc(Fraction(x)) - low) % (high - low + 1) + low


REFERENCES = {"clip": clipped, "unit": united, "exact": exactly, "wrap": wrapped}


def expect(rule: str, values: np.ndarray[Any, Any], target: str) -> list[int | None]:
    """The reference for each value; None for those that are to be errors, NaN among them."""
    wide = [float(value) for value in values.reshape(-1)]
    return [None if math.isnan(x) else REFERENCES[rule](x, target) for x in wide]


# ---------------------------------------------------------------- values


def edges(dtype: str) -> np.ndarray[Any, Any]:
    """Where rules change their mind: ties, ends of every range, neighbours of both, tiny and huge ones."""
    kind = DTYPES[dtype]
    near = [0.0, 0.5, 1.0, 1.5, 2.5, 3.5, 0.25, 0.75, 1 / 3, 127.5, 255.5, 32767.5, 65535.5, 5e-324, 1e-45, 1e300, 3e38]
    powers = (7, 8, 15, 16, 31, 32, 53, 63, 64)
    near += [float(2**power + step) for power in powers for step in (-1.5, -1, -0.5, 0, 0.5)]
    near += [math.inf, math.nan, (2 * 77 + 1) / (2 * 255), 0.5 - 2**-25, 0.49999999999999994]
    with np.errstate(all="ignore"):
        values = np.array([*near, *(-x for x in near)]).astype(kind)
        if dtype in ("float32", "float64", "float16"):
            zero = kind.type(0)
            values = np.concatenate([values, np.nextafter(values, values + kind.type(1)), np.nextafter(values, zero)])
    return values.astype(kind)


def random_bits(dtype: str, count: int, seed: int) -> np.ndarray[Any, Any]:
    """Any bits at all: every magnitude alike."""
    kind = DTYPES[dtype]
    return np.frombuffer(np.random.default_rng(seed).bytes(count * kind.itemsize), kind).copy()


def small(dtype: str, count: int, seed: int) -> np.ndarray[Any, Any]:
    """Values within most ranges, halves among them."""
    rng = np.random.default_rng(seed)
    halves, unit = rng.integers(-300, 300, count) / 2, rng.uniform(-1.2, 1.2, count)
    spread = np.concatenate([halves, unit, rng.normal(0, 3e4, count)])
    with np.errstate(all="ignore"):
        return spread.astype(DTYPES[dtype])


def scale(x: Any, target: str, rule: str, *, to: str = "numpy", nan: float | None = None) -> tuple[Any, int, int]:
    """The built-in."""
    return native.scale(x, to, target, rule, nan)  # type: ignore[no-any-return]


# ---------------------------------------------------------------- every pair, every value


@pytest.mark.parametrize("rule", ["clip", "unit", "exact", "wrap"])
@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("target", INTEGERS)
def test_every_value_is_what_fractions_say(dtype: str, target: str, rule: str) -> None:
    values = np.concatenate([edges(dtype), random_bits(dtype, 1500, 1), small(dtype, 1000, 2)])
    expected = expect(rule, values, target)
    known = np.array([value is not None for value in expected])
    fitting = [value for value in expected if value is not None]
    result, saturated, overflowed = scale(values[known], target, rule)
    assert result.dtype == target
    assert [int(value) for value in result] == fitting
    assert overflowed == 0
    if rule == "clip":
        beyond = [x for x in values[known] if math.isinf(x) or round(Fraction(float(x))) not in range_of(target)]
        assert saturated == len(beyond)
    for value, known_value in itertools.islice(zip(values, expected, strict=True), 400):
        if known_value is None:  # each on its own is an error, and so is an image with it
            with pytest.raises(arraybridge.MemoryConversionError) as caught:
                scale(np.array([value]), target, rule)
            assert caught.value.status == "WOULD_CAST"
            assert "(0,)" in caught.value.reason


def range_of(target: str) -> range:
    """All values of an integer dtype."""
    low, high = ends(target)
    return range(low, high + 1)


@pytest.mark.parametrize("target", INTEGERS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@QUICK
@given(data=st.data())
def test_clip_is_exact_on_any_floats(dtype: str, target: str, data: st.DataObject) -> None:
    width = DTYPES[dtype].itemsize * 8
    values = data.draw(st.lists(st.floats(width=width, allow_nan=False), min_size=1, max_size=40))
    array = np.array(values, dtype)
    result, _, _ = scale(array, target, "clip")
    assert [int(value) for value in result] == expect("clip", array, target)


@pytest.mark.parametrize("source", ["bool", *INTEGERS])
@pytest.mark.parametrize("target", INTEGERS)
@pytest.mark.parametrize("rule", RULES)
def test_integers_saturate_or_wrap_and_are_never_stretched(source: str, target: str, rule: str) -> None:
    low, high = (0, 1) if source == "bool" else ends(source)
    rng = np.random.default_rng(3)
    values = [low, high, 0, 1, *(v for t in INTEGERS for e in ends(t) for v in (e - 1, e, e + 1) if low <= v <= high)]
    values += [int(v) for v in rng.integers(low, high, 200, dtype=DTYPES[source] if source != "bool" else int)]
    array = np.array(values, DTYPES[source])
    least, most = ends(target)
    outside = sum(not least <= value <= most for value in values)
    if source == target:
        result, saturated, _ = scale(array, target, rule)
        assert saturated == 0 and result.tolist() == array.tolist()
        return
    if rule == "exact" and outside:
        with pytest.raises(arraybridge.MemoryConversionError, match="exact"):
            scale(array, target, rule)
        array = np.array([value for value in values if least <= value <= most], DTYPES[source])
        outside = 0
    result, saturated, _ = scale(array, target, rule)
    kept = [int(value) for value in array]
    wrap = [(value - least) % (most - least + 1) + least for value in kept]
    assert [int(v) for v in result] == (wrap if rule == "wrap" else [min(max(v, least), most) for v in kept])
    assert saturated == (0 if rule == "wrap" else outside)


# ---------------------------------------------------------------- minmax


@pytest.mark.parametrize("target", INTEGERS)
@pytest.mark.parametrize("dtype", REALS)
def test_minmax_reaches_both_ends_exactly(dtype: str, target: str) -> None:
    rng = np.random.default_rng(4)
    low, high = ends(target)
    for seed in range(300):
        spread = 10.0 ** rng.integers(-3, 2)
        values = np.sort(rng.normal(rng.normal(0, 5), spread, 50).astype(DTYPES[dtype]))
        if values[0] == values[-1]:
            continue
        result, saturated, _ = scale(values, target, "minmax")
        assert int(result[0]) == low, seed
        assert int(result[-1]) == high, seed
        assert saturated == 0
        wide = [int(v) for v in result]
        assert wide == sorted(wide)


@pytest.mark.parametrize("target", INTEGERS)
def test_minmax_truncates_a_real_division(target: str) -> None:
    low, high = ends(target)
    result, _, _ = scale(np.array([0.0, 0.5, 1.0]), target, "minmax")
    middle = math.trunc(Fraction(high - low, 2) + low)
    assert abs(int(result[1]) - middle) <= max(1, (high - low) >> 53)
    assert (int(result[0]), int(result[2])) == (low, high)
    ramp = np.linspace(-3, 7, 1001)
    result, _, _ = scale(ramp, target, "minmax")
    for x, y in zip(ramp, result, strict=True):
        real = (Fraction(float(x)) + 3) / 10 * (high - low) + low
        assert abs(math.trunc(real) - int(y)) <= max(1, (high - low) >> 50)


def test_minmax_into_narrow_integers_is_what_float32_arithmetic_gives() -> None:
    x = np.random.default_rng(5).normal(100, 40, 5000).astype(np.float32)
    for target in ("uint8", "uint16", "int16"):
        low, high = ends(target)
        stretched = (x - x.min()) / (x.max() - x.min()) * np.float32(high - low) + np.float32(low)
        assert (scale(x, target, "minmax")[0] == stretched.astype(target)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_minmax_survives_a_range_larger_than_its_dtype(dtype: str) -> None:
    largest = np.finfo(dtype).max
    result, _, _ = scale(np.array([-largest, 0, largest], dtype), "uint8", "minmax")
    assert result.tolist() == [0, 127, 255]


def test_a_constant_image_is_truncated_and_saturates() -> None:
    result, saturated, _ = scale(np.full((3, 3), 300.7), "uint8", "minmax")
    assert (result == 255).all() and saturated == 9
    result, saturated, _ = scale(np.full((2, 2), 44.7, np.float32), "uint8", "minmax")
    assert (result == 44).all() and saturated == 0


# ---------------------------------------------------------------- NaN and infinities


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", REALS)
def test_nan_is_an_error_that_says_where_or_what_the_caller_says(dtype: str, rule: str) -> None:
    image = np.ones((70, 90), DTYPES[dtype])
    image[0, 0] = 0
    image[41, 17] = image[60, 2] = np.nan
    with pytest.raises(arraybridge.MemoryConversionError, match=r"NaN at index \(41, 17\).*nan=0"):
        scale(image, "uint8", rule)
    with pytest.raises(arraybridge.MemoryConversionError, match=r"NaN at index \(2, 60\)"):
        scale(image.T, "uint8", rule)
    result, _, _ = scale(image, "uint8", rule, nan=7)
    assert result[41, 17] == 7 and result[60, 2] == 7 and (result == 7).sum() == 2


@pytest.mark.parametrize("rule", RULES)
def test_infinities(rule: str) -> None:
    image = np.array([[0.0, 1.0], [math.inf, -math.inf]], np.float32)
    if rule == "clip":
        result, saturated, _ = scale(image, "int16", rule)
        assert result.tolist() == [[0, 1], [32767, -32768]] and saturated == 2
        return
    with pytest.raises(arraybridge.MemoryConversionError, match=r"inf at index \(1, 0\)"):
        scale(image, "int16", rule)
    if rule == "exact":  # an infinity is a value, and it would become another one
        with pytest.raises(arraybridge.MemoryConversionError):
            scale(image, "int16", rule, nan=3)
        return
    result, _, _ = scale(image, "int16", rule, nan=3)
    assert result[1].tolist() == [3, 3]


@pytest.mark.parametrize("nan", [300, -1, 0.5, math.nan, math.inf])
def test_what_stands_for_nan_must_be_a_value_of_the_target(nan: float) -> None:
    with pytest.raises(arraybridge.MemoryConversionError, match="no value of uint8") as caught:
        scale(np.ones(3), "uint8", "clip", nan=nan)
    assert caught.value.status == "INVALID_ARGUMENT"


def test_floats_keep_nan_and_infinities_and_overflow_is_counted() -> None:
    values = np.array([1e300, -1e300, math.nan, math.inf, 1.0])
    result, saturated, overflowed = scale(values, "float32", "clip")
    assert overflowed == 2 and saturated == 0
    assert result.tolist()[0] == math.inf and math.isnan(result[2])
    assert scale(np.array([65519, 65520, 70000], np.uint32), "float16", "clip")[2] == 2
    with pytest.raises(arraybridge.MemoryConversionError, match=r"70000 at index \(1,\)"):
        scale(np.array([1, 70000], np.uint32), "float16", "exact")


# ---------------------------------------------------------------- the other kinds


@pytest.mark.parametrize("source", INTEGERS)
@pytest.mark.parametrize("target", REALS)
def test_exact_integers_to_floats(source: str, target: str) -> None:
    low, high = ends(source)
    candidates = {0, 1, low, high, *(s * (2**p + d) for p in range(64) for d in (-1, 0, 1) for s in (1, -1))}
    for value in sorted(v for v in candidates if low <= v <= high):
        with np.errstate(all="ignore"):
            cast = float(np.array([value], source).astype(DTYPES[target])[0])
        survives = math.isfinite(cast) and Fraction(cast) == value
        array = np.array([value], source)
        if survives:
            assert Fraction(float(scale(array, "float64", "clip")[0][0])) == Fraction(float(value))
            assert float(native.scale(array, "numpy", target, "exact")[0][0]) == value
        else:
            with pytest.raises(arraybridge.MemoryConversionError):
                native.scale(array, "numpy", target, "exact")


def test_exact_between_floats() -> None:
    assert scale(np.array([0.5, math.nan, math.inf, -0.0]), "float16", "exact")[0].tolist()[0] == 0.5
    with pytest.raises(arraybridge.MemoryConversionError, match=r"0\.1 at index \(0,\)"):
        scale(np.array([0.1]), "float32", "exact")


def test_bool() -> None:
    mask = np.array([True, False])
    for rule in RULES:
        assert scale(mask, "uint16", rule)[0].tolist() == [1, 0]
        assert scale(mask, "float32", rule)[0].tolist() == [1.0, 0.0]
    assert scale(np.array([0, 0.2, -3]), "bool", "clip")[0].tolist() == [False, True, True]
    assert scale(np.array([0.0, 1.0]), "bool", "exact")[0].tolist() == [False, True]
    assert scale(np.array([0.0, math.nan]), "bool", "exact", nan=1)[0].tolist() == [False, True]
    for rule, value in (("exact", 0.2), ("clip", math.nan), ("unit", 1.0), ("minmax", 1.0)):
        with pytest.raises(arraybridge.MemoryConversionError):
            scale(np.array([value]), "bool", rule)


def test_complex() -> None:
    whole = np.array([3 + 0j, 5 + 0j])
    assert scale(whole, "uint8", "exact")[0].tolist() == [3, 5]
    assert scale(whole, "float64", "exact")[0].tolist() == [3.0, 5.0]
    with pytest.raises(arraybridge.MemoryConversionError, match=r"index \(1,\)"):
        scale(np.array([3 + 0j, 5 + 1j]), "uint8", "exact")
    for rule in ("clip", "unit", "minmax", "wrap"):
        with pytest.raises(arraybridge.MemoryConversionError, match="imaginary"):
            scale(whole, "float32", rule)
    assert scale(np.array([1e300 + 1j]), "complex64", "clip")[2] == 1


# ---------------------------------------------------------------- layouts and frameworks


@pytest.mark.parametrize("rule", ["clip", "minmax", "unit"])
def test_any_layout_and_byte_order(rule: str) -> None:
    image = np.random.default_rng(6).uniform(-0.9, 0.9, (37, 53, 5)).astype(np.float32)
    image[3, 4, 1] = -1
    plain, count, _ = scale(image, "int16", rule)
    for view in (
        np.asfortranarray(image),
        image.astype(">f4"),
        np.ascontiguousarray(image[::-1])[::-1],
        np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0),
        np.repeat(image, 2, axis=1)[:, ::2],
    ):
        result, saturated, _ = scale(view, "int16", rule)
        assert (result == plain).all() and saturated == count
    assert scale(np.array(0.5, np.float32), "uint8", "clip")[0].tolist() == 0
    assert scale(np.empty((0, 3), np.float32), "uint8", rule)[0].shape == (0, 3)


HELD = [(name, dtype, target) for name in NAMES for dtype in REALS for target in INTEGERS if holds(name, dtype, (1,))]


@pytest.mark.parametrize(("framework", "dtype", "target"), HELD)
def test_clip_in_every_framework(framework: str, dtype: str, target: str) -> None:
    values = edges(dtype)
    values = values[~np.isnan(values.astype(np.float64))]
    x = MAKE[framework](values, dtype)
    result, _, _ = scale(x, target, "clip")
    assert [int(value) for value in result] == expect("clip", values, target)
    if not holds(framework, target, values.shape):
        return
    back, _, _ = scale(x, target, "clip", to=framework)
    name, shape, raw_bytes = READ[framework](back)
    assert (name, shape) == (target, values.shape)
    assert raw_bytes == result.tobytes()


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if not holds("pyclesperanto", dtype, (1,))])
def test_a_dtype_that_a_framework_lacks_is_refused_by_name(dtype: str) -> None:
    values = np.ones(4, np.float32).astype(DTYPES[dtype])
    with pytest.raises(arraybridge.MemoryConversionError, match=f"{dtype}.*pyclesperanto") as refused:
        arraybridge.convert(values, "pyclesperanto")
    assert refused.value.hint
    with pytest.raises(arraybridge.MemoryConversionError, match=f"{dtype}.*pyclesperanto"):
        scale(np.ones(4, np.float32), dtype, "clip", to="pyclesperanto")


def test_a_large_image_on_both_cores_is_the_same_image() -> None:
    image = np.random.default_rng(7).uniform(-50, 400, (2100, 2000)).astype(np.float32)
    image[2000, 3] = 1e9
    for rule in ("clip", "minmax", "wrap"):
        with arraybridge.options(threads=1):
            alone = scale(image, "uint8", rule)
        with arraybridge.options(threads=2):
            both = scale(image, "uint8", rule)
            transposed = scale(image.T, "uint8", rule)
        assert (alone[0] == both[0]).all() and (transposed[0] == alone[0].T).all()
        assert alone[1] == both[1] == transposed[1]
    image[1999, 5] = image[3, 1999] = np.nan
    with arraybridge.options(threads=2), pytest.raises(arraybridge.MemoryConversionError, match=r"\(3, 1999\)"):
        scale(image, "uint8", "clip")


def test_keywords_of_convert() -> None:
    x = np.array([1.5, 300.0], np.float32)
    assert arraybridge.convert(x, "torch", dtype="uint8", scaling="clip").tolist() == [2, 255]
    assert arraybridge.convert_memory(x, "numpy", "numpy", dtype="uint8", scaling="wrap").tolist() == [1, 44]
    assert not arraybridge.plan(x + 1j, "numpy", dtype="uint8", scaling="clip").possible
    assert arraybridge.plan(x, "numpy", dtype="uint8", scaling="clip").possible
    with pytest.raises(ValueError, match="scaling needs a dtype"):
        arraybridge.convert(x, "numpy", scaling="clip")
    with pytest.raises(ValueError, match="nan needs a scaling"):
        arraybridge.convert(x, "numpy", dtype="uint8", casting="unsafe", nan=0)
    with pytest.raises(ValueError, match='"clip", "unit"'):
        arraybridge.convert(x, "numpy", dtype="uint8", scaling="stretch")  # type: ignore[arg-type]
    same = arraybridge.convert(x, "numpy", dtype="float32", scaling="clip")
    assert same is x


# ---------------------------------------------------------------- survey


@pytest.mark.parametrize("dtype", [name for name in DTYPES if not name.startswith("complex")])
def test_survey_finds_what_numpy_finds(dtype: str) -> None:
    values = edges(dtype) if dtype in REALS else random_bits(dtype, 500, 8)
    if dtype == "bool":
        values = np.array([True, False, True])
    for array in (values, values[::-1], np.asfortranarray(values[: len(values) // 2 * 2].reshape(2, -1))):
        wide = array.astype(np.float64) if dtype in REALS else array
        finite = wide[np.isfinite(wide)]
        found = native.survey(array)
        assert (found["minimum"], found["maximum"]) == (finite.min(), finite.max())
        nans = np.argwhere(np.isnan(wide))
        assert found["nan_count"] == len(nans)
        assert found["first_nan"] == (tuple(int(i) for i in nans[0]) if len(nans) else None)
        assert found["infinite_count"] == int(np.isinf(wide).sum())
        assert found["fractional"] == bool((finite != np.trunc(finite)).any())
        assert found["count"] == array.size and not found["stopped"]


@pytest.mark.parametrize("framework", NAMES)
def test_survey_of_any_framework(framework: str) -> None:
    values = np.array([[1.5, -2.0], [4.0, 0.0]], np.float32)
    found = native.survey(MAKE[framework](values, "float32"))
    assert (found["minimum"], found["maximum"], found["fractional"]) == (-2.0, 4.0, True)


def test_survey_stops_at_the_first_value_outside_the_unit_range() -> None:
    image = np.full(1 << 20, 0.5, np.float32)
    assert not native.survey(image, unit_only=True)["stopped"]
    image[10] = 1.5
    with arraybridge.options(threads=1):
        found = native.survey(image, unit_only=True)
    assert found["stopped"] and found["count"] < 1 << 16
    image[10] = np.nan
    assert native.survey(image, unit_only=True)["stopped"]


def test_survey_of_nothing() -> None:
    found = native.survey(np.empty((0, 2), np.float32))
    assert found["minimum"] is None and found["maximum"] is None and found["count"] == 0
    assert native.survey(np.array([np.nan]))["minimum"] is None
    with pytest.raises(arraybridge.MemoryConversionError, match="complex64"):
        native.survey(np.ones(2, np.complex64))
    with pytest.raises(arraybridge.MemoryConversionError):
        native.survey(3)
