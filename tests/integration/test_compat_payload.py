"""An ``ArrayPayload`` that a decorated function returns is treated as the array in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import arraybridge
import numpy as np
import pytest
from arraybridge import ArrayPayload, dtype_policy
from frameworks import NAMES, READ, module_of

IMAGE = np.array([[1, 2], [3, 101]], np.uint16)


class Well(ArrayPayload):
    """A container with a name."""

    def __init__(self, data: Any, name: str) -> None:
        self.data, self.name = data, name

    def array_payload_data(self) -> Any:
        return self.data

    def with_data(self, data: Any) -> Well:
        return Well(data, self.name)


def half_more(image: Any) -> Any:
    return image.astype(np.float32) * 1.5


def test_the_array_in_a_payload_keeps_the_dtype_of_the_image() -> None:
    well = arraybridge.numpy(lambda image: Well(half_more(image), "A1"))(IMAGE)
    assert (type(well), well.name, well.data.dtype) == (Well, "A1", np.uint16)
    assert well.data.tolist() == [[2, 3], [4, 152]]


def test_so_does_the_first_of_a_tuple() -> None:
    well, others, count = arraybridge.numpy(lambda image: (Well(half_more(image), "A1"), half_more(image), 3))(IMAGE)
    assert (well.data.dtype, others.dtype, count) == (np.uint16, np.float32, 3)


@pytest.mark.parametrize("target", NAMES)
def test_the_array_in_a_payload_goes_to_the_output_type(target: str) -> None:
    well = arraybridge.numpy(output_type=target)(lambda image: Well(half_more(image), "A1"))(IMAGE)
    assert module_of(well.data) == target and READ[target](well.data)[0] == "uint16"


def test_a_policy_of_the_call_and_of_the_author_counts() -> None:
    make = arraybridge.numpy(lambda image: Well(half_more(image), "A1"))
    assert make(IMAGE, dtype_conversion="native").data.dtype == np.float32
    stretched = make(IMAGE, dtype_conversion=dtype_policy("uint8", scaling="minmax"))
    assert stretched.data.dtype == np.uint8 and stretched.data.max() == 255
    fixed = arraybridge.numpy(dtype_conversion="int32")(lambda image: Well(half_more(image), "A1"))
    assert fixed(IMAGE).data.dtype == np.int32


def test_a_payload_that_is_right_is_the_same_object() -> None:
    well = Well(IMAGE, "A1")
    assert arraybridge.numpy(lambda image: well)(IMAGE) is well
    assert arraybridge.numpy(lambda image: Well(None, "empty"))(IMAGE).data is None


def test_each_payload_of_a_generator() -> None:
    @arraybridge.numpy
    def wells(image: Any) -> Iterator[Well]:
        for name in ("A1", "A2"):
            yield Well(half_more(image), name)

    assert [(well.name, well.data.dtype.name) for well in wells(IMAGE)] == [("A1", "uint16"), ("A2", "uint16")]


def test_a_refusal_and_an_error_of_the_container_come_out() -> None:
    with pytest.raises(arraybridge.MemoryConversionError, match="complex128") as refused:
        arraybridge.numpy(lambda image: Well(image * 1j, "A1"))(IMAGE)
    assert refused.value.status == "WOULD_CAST"

    class Closed(Well):
        def with_data(self, data: Any) -> Well:
            raise KeyError("closed")

    with pytest.raises(KeyError, match="closed"):
        arraybridge.numpy(lambda image: Closed(half_more(image), "A1"))(IMAGE)


def test_payloads_among_the_arguments_say_nothing_of_the_dtype() -> None:
    result = arraybridge.numpy(lambda well: half_more(well.data))(Well(IMAGE, "A1"))
    assert result.dtype == np.float32
