"""What becomes of values on their way into and out of decorated functions: nothing wraps or is lost unsaid."""

from __future__ import annotations

import warnings
from typing import Any

import arraybridge
import numpy as np
import pytest
from arraybridge import DtypeWarning, MemoryConversionError
from decorated import identity, values
from frameworks import MAKE, NAMES, READ

BEYOND = [
    pytest.param(np.array([[5, 2**40 + 5, 2**31]]), "int64", "int32", "2 of 3", "1099511627781 at index (0, 1)"),
    pytest.param(np.array([[-(2**31) - 1, 7]]), "int64", "int32", "1 of 2", "-2147483649 at index (0, 0)"),
    pytest.param(
        np.array([[5, 2**63]], np.uint64), "uint64", "uint32", "1 of 2", "9223372036854775808 at index (0, 1)"
    ),
]


def loud() -> None:
    """Forget what was told once."""
    from arraybridge import declaration

    declaration._told.clear()


def refused(call: Any, *arguments: Any, **keywords: Any) -> MemoryConversionError:
    with pytest.raises(MemoryConversionError) as caught:
        call(*arguments, **keywords)
    assert caught.value.status == "WOULD_CAST"
    return caught.value


# ---------------------------------------------------------------- dtypes that the target lacks


@pytest.mark.parametrize("keywords", [{}, {"labels": True}, {"scaling": "exact"}, {"casting": "unsafe"}], ids=str)
@pytest.mark.parametrize(("image", "have", "narrow", "count", "first"), BEYOND)
def test_integers_that_do_not_fit_are_an_error(
    image: Any, have: str, narrow: str, count: str, first: str, keywords: dict[str, Any]
) -> None:
    error = refused(arraybridge.pyclesperanto(output_type="input", **keywords)(identity), image)
    assert f"pyclesperanto has no {have}" in error.reason and narrow in error.reason
    assert count in error.reason and first in error.reason
    assert f"a framework that has {have}" in error.hint and "saturates" in error.hint


@pytest.mark.parametrize("source", ["numpy", "torch", "tensorflow", "jax"])
def test_integers_that_do_not_fit_are_an_error_on_the_way_out(source: str) -> None:
    give = arraybridge.backend(source)(output_type="pyclesperanto", dtype_conversion="native")(identity)
    error = refused(give, MAKE[source](np.array([[1, 2**31]]), "int64"))
    assert "1 of 2" in error.reason and 'output_type="numpy"' in error.hint
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DtypeWarning)
        fits = give(MAKE[source](np.array([[1, 2**31 - 1]]), "int64"))
    assert values(fits).tolist() == [[1, 2**31 - 1]]


def test_a_harmless_call_does_not_use_up_what_a_later_one_has_to_say() -> None:
    work = arraybridge.pyclesperanto(dtype_conversion="native")(identity)
    loud()
    with pytest.warns(DtypeWarning, match="pyclesperanto has no int64: decorated functions get int32"):
        assert values(work(np.array([[1, 2]]))).dtype == np.int32
    refused(work, np.array([[1, 2**31]]))
    with pytest.warns(DtypeWarning, match="pyclesperanto has no float64") as told:
        work(np.array([[1.5, np.inf]]))
    assert told[0].filename == __file__
    for _ in range(2):
        with pytest.warns(DtypeWarning, match="1 of 3 values are finite but too large for float32") as told:
            assert np.isinf(values(work(np.array([[1e300, np.nan, 2]])))[0, 0])
        assert told[0].filename == __file__


def test_each_array_of_a_container_is_looked_at() -> None:
    work = arraybridge.pyclesperanto(dtype_conversion="native")(lambda pair: pair[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DtypeWarning)
        refused(work, (np.array([[1, 2]]), np.array([[1, 2**31]])))


# ---------------------------------------------------------------- fixed dtypes that the target lacks


def test_bool_where_there_is_none_is_whether_it_is_not_zero() -> None:
    image = np.array([[0, 0.2, 3, -1]], np.float32)
    with pytest.warns(DtypeWarning, match="pyclesperanto has no bool: the result gets uint8"):
        made = arraybridge.pyclesperanto(identity)(image, dtype_conversion="bool")
    assert values(made).dtype == np.uint8 and values(made).tolist() == [[0, 1, 1, 1]]
    with_numpy = arraybridge.pyclesperanto(output_type="numpy")(identity)(image, dtype_conversion="bool")
    assert with_numpy.dtype == bool and with_numpy.tolist() == [[False, True, True, True]]


def test_a_fixed_dtype_is_never_replaced_in_silence() -> None:
    work = arraybridge.pyclesperanto(identity)
    image = np.array([[1.5, 7]], np.float32)
    with pytest.warns(DtypeWarning, match='no float64: the result gets float32 .*output_type="numpy"') as told:
        assert values(work(image, dtype_conversion="float64")).tolist() == [[1.5, 7]]
    assert told[0].filename == __file__
    with pytest.warns(DtypeWarning, match="no int64: the result gets int32"):
        assert values(work(image, dtype_conversion="int64")).tolist() == [[2, 7]]
    error = refused(work, np.array([[1, 3e12]], np.float32), dtype_conversion="int64")
    assert "no int64" in error.reason and "3000000053248 at index (0, 1)" in error.reason
    assert 'output_type="numpy"' in error.hint
    error = refused(
        arraybridge.pyclesperanto(casting="no")(identity), np.ones((2, 2), np.float32), dtype_conversion="int64"
    )
    assert "int64 does not exist" in error.reason


# ---------------------------------------------------------------- saturation


@pytest.mark.parametrize("framework", NAMES)
def test_results_beyond_the_range_are_told_of_unless_clip_was_said(framework: str) -> None:
    image = MAKE[framework](np.array([[10, 100], [200, 250]], np.uint8), "uint8")
    beyond = MAKE[framework](np.array([[-190, -100], [0, 300]], np.float32), "float32")
    decorator = getattr(arraybridge, framework)
    with pytest.warns(DtypeWarning, match="^3 of 4 values of the float32 result lie beyond uint8") as told:
        assert values(decorator(lambda x: beyond)(image)).tolist() == [[0, 0], [0, 255]]
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decorator(scaling="clip")(lambda x: beyond)(image)
        decorator(lambda x: beyond)(image, dtype_conversion=arraybridge.dtype_policy("uint8", "clip"))
        with arraybridge.options(scaling="clip"):
            decorator(lambda x: beyond)(image)


# ---------------------------------------------------------------- slices


def features(image: Any) -> Any:
    return np.array([image.mean(), image.std()])


def mean(image: Any) -> Any:
    return np.asarray(image.mean())


@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 3, 4, 5)])
def test_measurements_of_slices_stay_as_they_are(shape: tuple[int, ...]) -> None:
    stack = np.random.default_rng(1).integers(0, 255, shape).astype(np.uint8)
    flat = stack.reshape(-1, 4, 5)
    for decorated in (arraybridge.numpy(features), arraybridge.numpy(slice_by_slice_default=True)(features)):
        table = decorated(stack, slice_by_slice=True)
        expected = np.stack([features(one) for one in flat]).reshape(*shape[:-2], 2)
        assert table.dtype == np.float64 and (table == expected).all()
    for decorator in (arraybridge.numpy, arraybridge.numpy(dtype_conversion="uint16")):
        means = decorator(mean)(stack, slice_by_slice=True)
        assert means.dtype == np.float64 and means.shape == shape[:-2]
    halves = arraybridge.numpy(lambda image: image * 0.5)(stack, slice_by_slice=True)
    assert halves.dtype == np.uint8 and halves.shape == shape


def test_batches_of_slices_are_judged_as_slices() -> None:
    stack = np.random.default_rng(1).integers(0, 255, (5, 4, 6)).astype(np.uint8)

    @arraybridge.numpy(batch=2)
    def profiles(images: Any) -> Any:
        return images.mean(axis=1)

    assert profiles(stack, slice_by_slice=True).dtype == np.float64
    assert arraybridge.numpy(batch=2)(lambda images: images * 0.5)(stack, slice_by_slice=True).dtype == np.uint8


def test_slices_under_torch_compile_are_judged_alike() -> None:
    import torch

    work = arraybridge.torch(lambda image: image.float().mean(0))
    compiled = torch.compile(lambda x: work(x, slice_by_slice=True), fullgraph=True, backend="eager")
    assert compiled(torch.ones(3, 4, 5, dtype=torch.uint8)).dtype is torch.float32


# ---------------------------------------------------------------- the reference


@pytest.mark.parametrize("framework", ["numpy", "torch", "tensorflow", "jax"])
def test_a_number_in_a_box_is_no_reference_beside_an_image(framework: str) -> None:
    decorator = getattr(arraybridge, framework)
    image = MAKE[framework](np.array([[2, 4]], np.uint8), "uint8")
    sigma = MAKE[framework](np.array(2.0, np.float32), "float32")
    result = MAKE[framework](np.array([[3, 6]], np.float32), "float32")
    mask = MAKE[framework](np.array([[2, 4]], np.int16), "int16")

    def work(sigma: Any, image: Any = None, mask: Any = None) -> Any:
        return result

    for made in (
        decorator(work)(sigma, image),
        decorator(work)(sigma, image=image),
        decorator(work)(sigma, mask=mask, image=image),
        decorator(work)(mask=mask, image=image, sigma=sigma),
        decorator(work)([sigma, sigma], (sigma, {"image": image}), mask),
        decorator(work)(sigma, image, dtype_conversion="preserve"),
    ):
        assert READ[framework](made)[0] == "uint8"
    assert READ[framework](decorator(work)(sigma))[0] == "float32"
    assert READ[framework](decorator(work)(sigma, sigma))[0] == "float32"


def test_a_number_in_a_box_does_not_say_where_results_go() -> None:
    work = arraybridge.numpy(output_type="input")(lambda sigma, image: np.asarray(image * 2))
    assert arraybridge.detect_memory_type(work(np.array(2), MAKE["torch"](np.ones((2, 2)), "float64"))) == "torch"
    assert arraybridge.detect_memory_type(work(MAKE["torch"](np.array(2.0), "float64"), np.array(3))) == "torch"


def test_a_number_in_a_box_is_no_reference_under_torch_compile() -> None:
    import torch

    work = arraybridge.torch(lambda sigma, image: image * sigma)
    compiled = torch.compile(work, fullgraph=True, backend="eager")
    assert compiled(torch.tensor(1.5), torch.ones(3, 4, dtype=torch.uint8)).dtype is torch.uint8
