"""torch.compile gives what the same call gives without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import arraybridge
import pytest
import torch

pytestmark = pytest.mark.filterwarnings("ignore::arraybridge.DtypeWarning")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


IMAGE = torch.tensor([[1.5, 300.0], [2.5, -1.0]])
STACK = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)


def compiled(call: Callable[..., Any]) -> Callable[..., Any]:
    made: Callable[..., Any] = torch.compile(call, backend="eager", fullgraph=True)
    return made


def check_same(call: Callable[..., Any], *args: Any) -> Any:
    plain, traced = call(*args), compiled(call)(*args)
    assert type(traced) is type(plain)
    for one, other in zip(plain, traced, strict=True) if isinstance(plain, tuple) else [(plain, traced)]:
        assert one.dtype is other.dtype
        assert torch.equal(one, other)
    return traced[0] if isinstance(plain, tuple) else traced


@arraybridge.torch
def same(image: Any) -> Any:
    return image * 1


@arraybridge.torch(dtype_conversion="uint8")
def to_bytes(image: Any) -> Any:
    return image * 1


# ---------------------------------------------------------------- a dtype that is asked for


def test_a_dtype_of_the_decorator() -> None:
    assert check_same(lambda image: to_bytes(image), IMAGE).dtype is torch.uint8


def test_a_dtype_of_the_call() -> None:
    call: Any = same
    assert check_same(lambda image: call(image, dtype_conversion="uint8"), IMAGE).dtype is torch.uint8
    assert check_same(lambda image: call(image, dtype_conversion="native"), IMAGE).dtype is torch.float32


def test_a_dtype_of_the_options() -> None:
    arraybridge.options.set(dtype_conversion="float64")
    try:
        assert check_same(lambda image: same(image), IMAGE).dtype is torch.float64
    finally:
        arraybridge.options.set(dtype_conversion="preserve")


# ---------------------------------------------------------------- which argument is what


@arraybridge.torch
def centred(image: Any, offset: Any = 0) -> Any:
    return (image - image.mean() + offset).double()


class Model:
    @arraybridge.torch
    def centred(self, image: Any, offset: Any = 0) -> Any:
        return (image - image.mean() + offset).double()


def test_slices_of_a_function() -> None:
    call: Any = centred
    check_same(lambda image: call(image, slice_by_slice=True), STACK)
    check_same(lambda image: call(image, 2, slice_by_slice=True), STACK)
    check_same(lambda image: call(image=image, offset=2, slice_by_slice=True), STACK)
    check_same(lambda image: call(image, slice_by_slice=True), IMAGE)


def test_slices_of_a_method() -> None:
    model: Any = Model()
    check_same(lambda image: model.centred(image, slice_by_slice=True), STACK)
    check_same(lambda image: model.centred(image, offset=1, slice_by_slice=True), STACK)
    check_same(lambda image: model.centred(offset=1, image=image, slice_by_slice=True), STACK)
    assert check_same(lambda image: model.centred(image), STACK).dtype is torch.float32


@arraybridge.torch
def of_two(first: Any, second: Any) -> Any:
    return first.double() + second.double()


def test_the_reference_is_the_first_in_the_signature() -> None:
    half = IMAGE.half()
    assert check_same(lambda one, other: of_two(second=one, first=other), half, IMAGE).dtype is torch.float32
    assert check_same(lambda one, other: of_two(second=one, first=other), IMAGE, half).dtype is torch.float16


@arraybridge.torch
def of_a_dict(held: Any, other: Any) -> Any:
    return held["image"].double() + other.double()


def test_the_reference_may_stand_in_a_dict() -> None:
    made = check_same(lambda one, other: of_a_dict({"name": "x", "image": one}, other), IMAGE.half(), IMAGE)
    assert made.dtype is torch.float16


# ---------------------------------------------------------------- results


class Both(NamedTuple):
    image: Any
    mask: Any


@arraybridge.torch
def both(image: Any) -> Any:
    return Both(image.double(), image > 2)


def test_a_namedtuple_stays_one() -> None:
    assert check_same(lambda image: both(image), IMAGE).dtype is torch.float32
