"""slice_by_slice= of decorated functions: which argument it takes apart, and what the function is given."""

from __future__ import annotations

from typing import Any

import arraybridge
import numpy as np
import pytest
import torch
from decorated import array

STACK = (3, 4, 5)


def stack() -> Any:
    return array("numpy", 2, STACK)


@pytest.mark.parametrize("given", ["in its place", "by name"])
@pytest.mark.parametrize("convert", [True, "image", ("image", "other"), ("other",), False])
def test_slices_are_converted_as_their_argument_is(given: str, convert: Any) -> None:
    seen: list[tuple[type, type]] = []

    @arraybridge.torch(convert=convert, output_type="numpy")
    def note(image: Any, other: Any) -> Any:
        seen.append((type(image), type(other)))
        return image

    made: Any = note
    if given == "by name":
        made(image=stack(), other=np.ones(2), slice_by_slice=True)
    else:
        made(stack(), np.ones(2), slice_by_slice=True)
    wanted = ("image", "other") if convert is True else convert or ()
    kinds = tuple(torch.Tensor if one in wanted else np.ndarray for one in ("image", "other"))
    assert seen == [kinds] * STACK[0]


def test_an_image_that_is_given_by_name_only() -> None:
    @arraybridge.torch(output_type="numpy")
    def double(*, image: Any, factor: float = 2) -> Any:
        assert image.ndim == 2
        return image * factor

    made: Any = double
    assert (made(image=stack(), factor=3, slice_by_slice=True) == 6).all()


def test_a_method_with_an_image_by_name_only() -> None:
    class Blur:
        @arraybridge.torch(output_type="numpy")
        def run(self, *, image: Any) -> Any:
            assert image.ndim == 2
            return image + 1

    blur: Any = Blur()
    assert (blur.run(image=stack(), slice_by_slice=True) == 3).all()


def test_a_first_argument_that_is_no_image_is_an_error() -> None:
    @arraybridge.numpy
    def gamma(sigma: float, image: Any) -> Any:
        return image

    made: Any = gamma
    with pytest.raises(TypeError, match=r"gamma\(\) has float there \(sigma\): put the image first"):
        made(2.0, stack(), slice_by_slice=True)
    assert made(2.0, stack(), slice_by_slice=False).shape == STACK


def test_one_slice_is_taken_as_it_is() -> None:
    @arraybridge.numpy
    def shape(image: Any) -> Any:
        return image.shape

    made: Any = shape
    assert made(array("numpy"), slice_by_slice=True) == (4, 5)
