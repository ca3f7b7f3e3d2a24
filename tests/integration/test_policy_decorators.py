"""Policies as decorated functions apply them: per call, per decorator, in either spelling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import arraybridge
import numpy as np
import pytest
from arraybridge import DtypeConversion, dtype_policy
from frameworks import DTYPES, MAKE, NAMES, READ


def doubled(framework: str) -> Callable[..., Any]:
    """x → x · 0.25 in float32, by the framework's own operations."""
    if framework == "pyclesperanto":
        import pyclesperanto as cle

        return lambda x: cle.multiply_image_and_scalar(x, cle.create(x.shape, dtype=np.float32), scalar=0.25)
    if framework == "tensorflow":
        import tensorflow as tf

        return lambda x: tf.cast(x, tf.float32) * 0.25
    if framework == "torch":
        return lambda x: x.float() * 0.25
    return lambda x: x.astype("float32") * 0.25


def read(framework: str, array: Any) -> np.ndarray[Any, Any]:
    dtype, shape, data = READ[framework](array)
    return np.frombuffer(data, DTYPES[dtype]).reshape(shape)


IMAGE = np.array([[0, 100], [102, 255]], np.uint8)
PRESERVED = [[0, 25], [26, 64]]


@pytest.mark.parametrize("source", NAMES)
@pytest.mark.parametrize("framework", NAMES)
def test_quantities_survive_whatever_comes_in(framework: str, source: str) -> None:
    work = getattr(arraybridge, framework)(doubled(framework))
    made = work(MAKE[source](IMAGE, "uint8"))
    assert arraybridge.detect_memory_type(made) == framework
    assert READ[framework](made)[0] == "uint8"
    np.testing.assert_array_equal(read(framework, made), PRESERVED)


@pytest.mark.parametrize("framework", NAMES)
def test_per_decorator_and_per_call(framework: str) -> None:
    decorator = getattr(arraybridge, framework)
    image = MAKE[framework](IMAGE, "uint8")
    native = decorator(dtype_conversion="native")(doubled(framework))
    assert READ[framework](native(image))[0] == "float32"
    assert READ[framework](native(image, dtype_conversion="int16"))[0] == "int16"
    assert READ[framework](native(image, dtype_conversion=DtypeConversion.UINT16))[0] == "uint16"
    assert READ[framework](native(image, dtype_conversion=dtype_policy("preserve")))[0] == "uint8"
    stretched = decorator(scaling="minmax")(doubled(framework))
    assert read(framework, stretched(image)).max() == 255
    np.testing.assert_array_equal(
        read(framework, stretched(image, dtype_conversion=dtype_policy("uint16", "clip"))), PRESERVED
    )


@pytest.mark.parametrize("framework", NAMES)
def test_options_reach_decorated_functions(framework: str) -> None:
    work = getattr(arraybridge, framework)(doubled(framework))
    image = MAKE[framework](IMAGE, "uint8")
    with arraybridge.options(dtype_conversion="native"):
        assert READ[framework](work(image))[0] == "float32"
    with arraybridge.options(dtype_conversion="uint16", scaling="minmax"):
        assert read(framework, work(image)).max() == 65535
    assert READ[framework](work(image))[0] == "uint8"


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"dtype_conversion": "uint7"}, "preserve"),
        ({"scaling": "stretch"}, "minmax"),
        ({"casting": "some"}, "same_kind"),
    ],
)
def test_bad_declarations_fail_at_decoration(keywords: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        arraybridge.numpy(**keywords)(lambda x: x)
