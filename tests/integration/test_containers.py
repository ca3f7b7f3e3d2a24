"""Arguments and results in containers of every kind: shared ones, cycles, deep ones, and subclasses with a will."""

from __future__ import annotations

import os
import time
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterator
from typing import Any

import arraybridge
import numpy as np
import pytest
import torch
from children import Children
from decorated import array, values


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    pool = Children(1)
    yield pool
    pool.close()


def small(value: float = 2) -> Any:
    return array("numpy", value)


@arraybridge.torch(output_type="numpy")
def through(held: Any, beside: Any = None) -> Any:
    return held


# ---------------------------------------------------------------- lives


@pytest.mark.parametrize("kind", ["list", "dict"])
def test_an_array_may_leave_its_container_while_we_look(children: Children, kind: str) -> None:
    assert children.run("containers_child", "an_array_taken_out_while_looking", kind).check() == "done"


def test_a_declaration_that_was_cleared_says_so(children: Children) -> None:
    said = children.run("containers_child", "a_call_of_what_the_collector_has_cleared").check()
    assert said == ["this decorated function is being destroyed"] * 4


# ---------------------------------------------------------------- shared, cyclic, deep


@pytest.mark.parametrize("shape", ["shared", "complete graph"])
def test_each_container_is_gone_through_once(children: Children, shape: str) -> None:
    assert children.run("containers_child", "ends_in_time", shape, timeout=30).check() == "float32"


def test_what_is_shared_stays_shared() -> None:
    part = [small()]
    made = through([part, {"again": part}, (part, part)])
    assert isinstance(made[0][0], np.ndarray)
    assert made[0] is made[1]["again"] is made[2][0] is made[2][1]


def test_arguments_share_a_container_still() -> None:
    part = [small()]

    @arraybridge.torch
    def same(one: Any, other: Any) -> bool:
        return one is other and isinstance(one[0], torch.Tensor)

    assert same(part, part)


def test_a_cycle_is_converted_once() -> None:
    held: list[Any] = [small()]
    held.append(held)
    made = through(held)
    assert isinstance(made[0], np.ndarray) and made[1] is not None


def nested(inmost: Any, depth: int, kind: type) -> Any:
    for _ in range(depth):
        inmost = kind([inmost]) if kind is not dict else {"next": inmost}
    return inmost


@pytest.mark.parametrize("kind", [tuple, list, dict])
def test_deep_containers_without_arrays_pass_untouched(kind: type) -> None:
    deep = nested(1, 3000, kind)
    seen: list[Any] = []

    @arraybridge.torch(output_type="numpy")
    def take(image: Any, held: Any) -> Any:
        seen.append(held)
        return held

    assert take(small(), deep) is deep and seen[0] is deep


@pytest.mark.parametrize("kind", [tuple, list, dict])
def test_arrays_deep_in_containers_are_converted(kind: type) -> None:
    made = through(nested(small(3), 3000, kind))
    while not isinstance(made, np.ndarray):
        made = made["next"] if kind is dict else made[0]
    assert (values(made) == 3).all()


def test_a_deep_result_is_settled() -> None:
    deep = nested(1, 3000, list)

    @arraybridge.numpy
    def both(image: Any) -> Any:
        return image.astype(np.float64), deep

    image, held = both(small())
    assert image.dtype == np.float32 and held is deep


# ---------------------------------------------------------------- subclasses


class Frozen(dict[str, Any]):
    def _no(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("frozen")

    __setitem__ = update = setdefault = pop = _no


class Output(OrderedDict[str, Any]):
    """Like transformers.ModelOutput: its items are attributes as well, and update() is forbidden."""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        super().__setattr__(key, value)

    def update(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError("You cannot use update on this")


class Strict(list[Any]):
    def __setitem__(self, *args: Any) -> None:
        raise TypeError("append only")


class Pair(tuple[Any, ...]):
    """Takes two arguments, as no tuple does, and has an attribute."""

    label: str

    def __new__(cls, first: Any, second: Any) -> Pair:
        made = super().__new__(cls, (first, second))
        made.label = "made"
        return made


@pytest.mark.parametrize("goes", ["in", "out"])
def test_numbers_in_a_counter_are_not_added(goes: str) -> None:
    @arraybridge.torch(output_type="numpy")
    def count(held: Any) -> Any:
        return held if goes == "in" else Counter({"a": torch.full((2, 2), 5.0), "n": 3})

    made: Any = count(Counter({"a": np.full((2, 2), 5.0, np.float32), "n": 3}))
    assert type(made) is Counter and (made["a"] == 5).all() and made["n"] == 3


def test_a_frozen_dict_stays_one() -> None:
    made = through(Frozen(a=small(), n=1))
    assert type(made) is Frozen and isinstance(made["a"], np.ndarray) and made["n"] == 1


def test_attributes_follow_their_items() -> None:
    output = Output()
    output["logits"], output["loss"] = torch.ones(2), 1

    @arraybridge.torch(output_type="numpy")
    def model(image: Any) -> Any:
        return output

    made = model(small())
    assert type(made) is Output and list(made) == ["logits", "loss"]
    assert isinstance(made["logits"], np.ndarray) and made.logits is made["logits"]
    assert isinstance(output["logits"], torch.Tensor) and output.logits is output["logits"]


def test_a_defaultdict_keeps_its_factory() -> None:
    made = through(defaultdict(list, a=small()))
    assert type(made) is defaultdict and made["new"] == []


def test_a_list_that_forbids_assignment() -> None:
    made = through(Strict([small(), "x"]))
    assert type(made) is Strict and isinstance(made[0], np.ndarray) and made[1] == "x"


def test_a_tuple_with_arguments_of_its_own() -> None:
    pair = Pair(small(), "x")
    pair.label = "mine"
    made = through(pair)
    assert type(made) is Pair and isinstance(made[0], np.ndarray) and made[1] == "x" and made.label == "mine"


def test_a_tuple_made_in_c() -> None:
    @arraybridge.torch(output_type="numpy")
    def largest(image: Any) -> Any:
        return torch.max(image, 0)

    made = largest(small())
    assert type(made) is torch.return_types.max and isinstance(made.values, np.ndarray)
    now = time.localtime()
    assert through([small(), now])[1] is now


def test_what_no_attribute_is_needed_for_is_not_looked_up() -> None:
    assert through([small(), os.stat("/")])[1].st_mode


# ---------------------------------------------------------------- self


class Registry(dict[str, Any]):
    """A method may call its object what it likes: it is no argument."""

    @arraybridge.torch
    def look_up(this, image: Any) -> Any:
        return id(this), isinstance(image, torch.Tensor)

    @staticmethod
    @arraybridge.torch
    def first(image: Any, other: Any = None) -> Any:
        return isinstance(image, torch.Tensor) or isinstance(image["a"], torch.Tensor)


class Child(Registry):
    def look_up(this, image: Any) -> Any:
        return super().look_up(image)


@pytest.mark.parametrize("kind", [Registry, Child])
def test_the_object_of_a_method_is_not_rebuilt(kind: Any) -> None:
    registry = kind(kept=small())
    this, converted = registry.look_up(small())
    assert this == id(registry) and converted
    assert isinstance(registry["kept"], np.ndarray)


def test_the_first_argument_of_a_static_method_is_converted() -> None:
    assert Registry.first(small())
    assert Registry.first(Registry(a=small()))
