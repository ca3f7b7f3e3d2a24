"""Decorators: what is converted in, what comes out, and what stays as it is."""

from __future__ import annotations

import collections
import inspect
import pickle
import typing
from enum import Enum
from typing import Any

import arraybridge
import decorated
import numpy as np
import pytest
from arraybridge import MemoryConversionError, UnknownBackendError, memory_types
from decorated import SHAPE, Bag, OwnArray, OwnDict, Pair, Plain, Table, Worker, array, decorator, values
from frameworks import NAMES, module_of

PAIRS = [pytest.param(source, target, id=f"{source}-{target}") for source in NAMES for target in NAMES]
TRIPLES = [
    pytest.param(source, target, output, id=f"{source}-{target}-{output}")
    for source in NAMES for target in NAMES for output in NAMES
]  # fmt: skip
EACH = pytest.mark.parametrize("name", NAMES)

# ---------------------------------------------------------------- in and out


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_positional_and_keyword_arguments_are_converted(source: str, target: str) -> None:
    @decorator(target)
    def check(image: Any, other: Any = None, *, third: Any) -> Any:
        assert module_of(image) == module_of(other) == module_of(third) == target
        return other

    result = check(array(source, 1), other=array(source, 2), third=array(source, 3))
    assert module_of(result) == target
    assert (values(result) == 2).all()


@pytest.mark.parametrize(("source", "target", "output"), TRIPLES)
def test_results_go_to_the_output_type(source: str, target: str, output: str) -> None:
    @decorator(target)(output_type=output)
    def same(image: Any) -> Any:
        assert module_of(image) == target
        return image

    result = same(array(source, 7))
    assert module_of(result) == output
    assert (values(result) == 7).all()
    assert (same.input_memory_type, same.output_memory_type, same.execution_memory_type) == (target, output, target)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_output_type_input_is_the_callers_framework(source: str, target: str) -> None:
    @decorator(target)(output_type="input")
    def same(image: Any) -> Any:
        return image

    assert module_of(same(array(source))) == source


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_memory_types_converts_both_ways(source: str, target: str) -> None:
    @memory_types(target, source)
    def same(image: Any) -> Any:
        assert module_of(image) == target
        return image

    assert module_of(same(array("numpy"))) == source
    assert (same.input_memory_type, same.output_memory_type) == (target, source)
    assert not hasattr(same, "execution_memory_type")


def test_memory_types_leaves_dtypes_and_keywords_alone() -> None:
    @memory_types("numpy", "numpy")
    def cast(image: Any, **rest: Any) -> Any:
        assert rest == {"slice_by_slice": True, "dtype_conversion": 4}
        return image.astype("float64")

    result = cast(array("numpy"), slice_by_slice=True, dtype_conversion=4)
    assert result.dtype == "float64"
    assert str(inspect.signature(cast)) == "(image: 'Any', **rest: 'Any') -> 'Any'"


@EACH
def test_arrays_at_home_are_the_same_objects(name: str) -> None:
    image, other = array(name), array(name)

    @decorator(name)
    def check(one: Any, *, two: Any) -> Any:
        assert one is image and two is other
        return one, two

    first, second = check(image, two=other)
    assert first is image and second is other


# ---------------------------------------------------------------- containers


def _containers(framework: str) -> dict[str, Any]:
    bag, table = Bag([array(framework), 1]), Table(image=array(framework))
    bag.label = table.label = "kept"
    default = collections.defaultdict(list, image=array(framework))
    return {
        "tuple": (array(framework), 1, "text"),
        "list": [array(framework), None],
        "dict": {"image": array(framework), "n": 3},
        "namedtuple": Pair(array(framework), 5),
        "tuple-subclass": Plain([array(framework), 2]),
        "list-subclass": bag,
        "dict-subclass": table,
        "defaultdict": default,
        "ordered": collections.OrderedDict(b=1, a=array(framework)),
        "deep": [{"a": (1, [Pair(array(framework), {"x": array(framework)})])}],
    }


def _arrays(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [one for item in value.values() for one in _arrays(item)]
    if isinstance(value, (tuple, list)):
        return [one for item in value for one in _arrays(item)]
    return [value] if hasattr(value, "shape") else []


def _same_types(one: Any, two: Any) -> bool:
    if isinstance(one, dict):
        return type(one) is type(two) and list(one) == list(two) and all(_same_types(one[k], two[k]) for k in one)
    if isinstance(one, (tuple, list)):
        return type(one) is type(two) and len(one) == len(two) and all(map(_same_types, one, two))
    return hasattr(one, "shape") or one == two


@pytest.mark.parametrize("kind", sorted(_containers("numpy")))
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_containers_keep_their_types_both_ways(source: str, target: str, kind: str) -> None:
    given = _containers(source)[kind]
    before = _arrays(given)

    @decorator(target)(output_type="input")
    def same(*, things: Any) -> Any:
        assert _same_types(given, things)
        found = _arrays(things)
        assert len(found) == len(before) and {module_of(one) for one in found} == {target}
        assert getattr(things, "label", "kept") == "kept"
        return things

    result = same(things=given)
    assert _same_types(given, result)
    assert {module_of(one) for one in _arrays(result)} == {source}
    assert all(one is two for one, two in zip(_arrays(given), before, strict=True)), "the caller's own was changed"
    if kind == "defaultdict":
        assert result.default_factory is list


def test_a_list_that_contains_itself_is_entered_once() -> None:
    loop: list[Any] = [array("numpy")]
    loop.append(loop)

    @arraybridge.torch
    def check(things: Any) -> Any:
        assert module_of(things[0]) == "torch"

    check(loop)


def test_a_list_emptied_by_the_function_is_no_trap() -> None:
    @arraybridge.numpy
    def empties(things: list[Any]) -> Any:
        things.clear()
        return np.ones(3)

    for _ in range(100):
        assert empties([np.ones(3)]).sum() == 3


@EACH
def test_what_is_no_array_passes_untouched(name: str) -> None:
    class Other:
        shape = (3,)
        dtype = "float32"

    things = [1, 2.0, "text", b"bytes", None, True, 1j, np.float32(3), np.int64(4), np.bool_(True), {1, 2}, range(3),
              Other(), Other, len, np.dtype("f4"), np.float32, slice(1), collections.deque([1]), object()]  # fmt: skip

    @decorator(name)
    def check(*given: Any, **named: Any) -> Any:
        assert all(one is two for one, two in zip(given, things, strict=True))
        assert all(named[f"k{place}"] is thing for place, thing in enumerate(things))
        return given[7]

    assert check(*things, **{f"k{place}": thing for place, thing in enumerate(things)}) is things[7]


@pytest.mark.parametrize(
    "beside",
    [np.array(["a", "b"]), np.array([object()]), np.array(["2020-01-01"], "M8[D]"), np.zeros(2, "i4,f4")],
    ids=["text", "objects", "dates", "records"],
)
def test_numpy_arrays_that_are_no_numbers_stay(beside: Any) -> None:
    @arraybridge.torch
    def check(image: Any, names: Any) -> Any:
        assert names is beside
        return image

    assert module_of(check(array("numpy"), beside)) == "torch"


# ---------------------------------------------------------------- methods


@EACH
@pytest.mark.parametrize("method", ["method", "inside_class", "outside_class", "inside_static", "outside_static"])
def test_methods_of_every_kind(name: str, method: str) -> None:
    result = getattr(Worker(), method)(array(name, 2))
    assert module_of(result) == "torch"
    assert (values(result) == 6).all()
    assert (values(getattr(Worker(), method)(image=array(name, 2))) == 6).all()


def test_self_is_never_converted() -> None:
    own = np.ones(3, "float32").view(OwnArray)
    assert (values(own.added(array("numpy", 1))) == 4).all()
    holder = OwnDict(image=array("numpy"))
    assert module_of(holder.added(array("jax"))) == "jax"


# ---------------------------------------------------------------- which arguments


def test_convert_names_what_is_converted() -> None:
    @arraybridge.torch(convert=("image", "more"))
    def check(image: Any, mask: Any, *more: Any, other: Any = None) -> Any:
        return [module_of(one) for one in (image, mask, *more, other)]

    a = array("numpy")
    assert check(a, a, a, a, other=a) == ["torch", "numpy", "torch", "torch", "numpy"]
    assert check(other=a, mask=a, image=a) == ["torch", "numpy", "numpy"]


def test_convert_false_converts_nothing_in() -> None:
    @arraybridge.torch(convert=False, output_type="jax")
    def check(image: Any) -> Any:
        assert module_of(image) == "numpy"
        return image

    assert module_of(check(array("numpy"))) == "jax"


def test_the_first_array_in_signature_order_decides() -> None:
    @arraybridge.numpy(output_type="input")
    def check(image: Any = None, other: Any = None) -> Any:
        return other

    assert module_of(check(other=array("torch"), image=array("jax"))) == "jax"
    assert module_of(check(array("torch"), array("jax"))) == "torch"


@pytest.mark.parametrize("others", [["numpy"], ["torch", "numpy"]], ids=str)
def test_other_arguments_follow_the_first_to_its_device(others: list[str]) -> None:
    import jax

    device = jax.devices("cpu")[1]
    first = jax.device_put(np.ones(SHAPE, "float32"), device)

    @arraybridge.jax
    def add(image: Any, *rest: Any) -> Any:
        return image + sum(rest)

    result = add(first, *[array(one) for one in others])
    assert result.devices() == {device}


def test_host_arrays_go_to_the_device_that_was_said() -> None:
    import jax

    @arraybridge.jax(device="cpu:1")
    def same(image: Any) -> Any:
        return image

    assert same(array("numpy")).devices() == {jax.devices("cpu")[1]}
    stays = array("jax")
    assert same(stays) is stays


# ---------------------------------------------------------------- late readers, dtypes that are lacking


@pytest.mark.parametrize("target", ["jax", "tensorflow", "pyclesperanto"])
@pytest.mark.parametrize("source", ["numpy", "torch"])
def test_writes_to_the_source_never_show(source: str, target: str) -> None:
    keep = []

    @decorator(target)
    def keeps(image: Any) -> Any:
        keep.append(image)
        return image

    import torch
    from frameworks import aligned

    memory = aligned((64, 64), "float32")
    memory[...] = 1
    given = memory if source == "numpy" else torch.from_numpy(memory)
    with arraybridge.records() as log:
        result = keeps(given)
    memory[...] = 9
    assert (values(result) == 1).all() and (values(keep[0]) == 1).all()
    assert log and not any(record.aliases_mutable for record in log)


@pytest.mark.parametrize("target", ["jax", "tensorflow", "pyclesperanto"])
@pytest.mark.parametrize("source", ["numpy", "torch"])
def test_a_buffer_that_is_used_again_never_shows_in_a_result(source: str, target: str) -> None:
    import torch
    from frameworks import aligned

    buffer = aligned((64, 64), "float32")
    given = buffer if source == "numpy" else torch.from_numpy(buffer)

    @arraybridge.backend(source)(output_type=target)
    def filled(image: Any) -> Any:
        given[...] = image
        return given

    first = filled(array(source, 1, (64, 64)))
    second = filled(array(source, 2, (64, 64)))
    assert (values(first) == 1).all() and (values(second) == 2).all()


def test_what_shares_memory_in_plain_python_shares_it_here() -> None:
    """Documented: a view that a function gives is a view, and a body that works in place writes to what is shared."""
    import jax.numpy

    image = np.ones(SHAPE, "float32")
    view = arraybridge.numpy(lambda x: x[1:])(image)
    through_torch = arraybridge.torch(output_type="numpy")(lambda x: x[1:])(image)
    image[...] = 5
    assert (view == 5).all() and (through_torch == 5).all()

    kept = jax.numpy.array(np.ones((64, 64), "float32"))
    with arraybridge.options(immutable="copy"):
        changed = arraybridge.torch(lambda x: x.add_(1))(kept)
    assert (values(changed) == 2).all() and (values(kept) == 1).all()


def test_records_show_the_conversions_of_decorated_functions() -> None:
    @arraybridge.torch(output_type="input")
    def same(image: Any) -> Any:
        return image + 1

    with arraybridge.records() as log:
        same(array("jax"))
    assert [(record.source, record.target) for record in log] == [("jax", "torch"), ("torch", "jax")]


def test_a_dtype_that_the_target_lacks_is_cast_and_told_once() -> None:
    from arraybridge import declaration

    declaration._told.clear()

    @arraybridge.pyclesperanto(dtype_conversion="native")
    def same(image: Any) -> Any:
        return image

    image = np.full((3, 4), 1.5)
    with pytest.warns(UserWarning, match="pyclesperanto has no float64"):
        assert (values(same(image)) == 1.5).all()
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same(image)


def test_casting_no_makes_it_an_error() -> None:
    with pytest.raises(MemoryConversionError, match="float64 does not exist in pyclesperanto"):
        arraybridge.pyclesperanto(casting="no")(decorated.identity)(np.full((3, 4), 1.5))


# ---------------------------------------------------------------- looks


def example(image: np.ndarray[Any, Any], sigma: float = 1.5, *rest: int, mode: str = "a", **more: Any) -> int:
    """What it does."""
    return 0


@EACH
def test_signature_annotations_and_docstring_survive(name: str) -> None:
    made = decorator(name)(example)
    assert made.__doc__ == "What it does." and made.__name__ == "example" and made.__wrapped__ is example
    assert typing.get_type_hints(made) == typing.get_type_hints(example)
    old, new = inspect.signature(example).parameters, inspect.signature(made).parameters
    assert [one for one in new if one in old] == list(old)
    added = [one for one in new if one not in old]
    assert added == ["slice_by_slice", "dtype_conversion", "dtype_config"]
    assert all(new[one].kind is inspect.Parameter.KEYWORD_ONLY for one in added)
    assert list(new)[-1] == "more"
    assert not inspect.iscoroutinefunction(made) and not inspect.isgeneratorfunction(made) and inspect.isfunction(made)


@EACH
def test_functions_pickle_by_name(name: str) -> None:
    function = getattr(decorated, f"same_{name}")
    assert pickle.loads(pickle.dumps(function)) is function
    assert pickle.loads(pickle.dumps(Worker.method)) is Worker.method


def test_what_the_closure_holds_pickles_by_value() -> None:
    made = arraybridge.torch(output_type="input")(decorated.identity)
    (call,) = [cell.cell_contents for cell in made.__closure__ or () if inspect.isbuiltin(cell.cell_contents)]
    again = pickle.loads(pickle.dumps(call))
    image = array("numpy")
    assert module_of(again((image,), {})) == "numpy"


def test_with_and_without_parentheses() -> None:
    one, two = arraybridge.torch(decorated.identity), arraybridge.torch()(decorated.identity)
    assert module_of(one(array("numpy"))) == module_of(two(array("numpy"))) == "torch"


def test_names_of_the_package_and_of_the_module_are_one() -> None:
    import arraybridge.decorators as module

    for name in (*NAMES, "cupy"):
        assert getattr(arraybridge, name) is getattr(module, name) is arraybridge.backend(name)
    with pytest.raises(AttributeError):
        module.fortran  # noqa: B018


def test_no_decorator_comes_by_star() -> None:
    space: dict[str, Any] = {}
    exec("from arraybridge import *", space)
    assert not {*NAMES, "cupy", "backend"} & set(space)


def test_callable_objects_and_partials() -> None:
    from functools import partial

    class Model:
        def __call__(self, image: Any) -> Any:
            return image

    for function in (Model(), partial(decorated.identity)):
        assert module_of(arraybridge.torch(function)(array("numpy"))) == "torch"


# ---------------------------------------------------------------- keywords of a call


@pytest.mark.parametrize("name", ["slice_by_slice", "dtype_conversion", "dtype_config"])
def test_a_parameter_of_the_functions_own_is_forwarded(name: str) -> None:
    space: dict[str, Any] = {}
    exec(f"def own(image, {name}=None): return {name}", space)
    made = arraybridge.numpy(space["own"])
    assert made(np.ones((2, 3, 4)), **{name: "mine"}) == "mine"
    assert inspect.signature(made).parameters[name].default is None


def test_slice_by_slice_calls_once_for_each_slice() -> None:
    seen: list[tuple[int, ...]] = []

    @arraybridge.torch(output_type="input")
    def twice(image: Any, other: Any = None) -> Any:
        assert module_of(image) == "torch" and (other is None or module_of(other) == "torch")
        seen.append(tuple(image.shape))
        return image * 2

    stack = np.arange(24, dtype="float32").reshape(2, 3, 4)
    result = twice(stack, slice_by_slice=True, other=array("jax"))
    assert module_of(result) == "numpy" and (result == stack * 2).all() and seen == [(3, 4), (3, 4)]
    seen.clear()
    assert (twice(image=stack, slice_by_slice=True) == stack * 2).all() and len(seen) == 2
    seen.clear()
    twice(stack)
    twice(stack[0], slice_by_slice=True)
    assert seen == [(2, 3, 4), (3, 4)]


def test_slice_by_slice_by_default_and_in_methods() -> None:
    class Filter:
        calls = 0

        @arraybridge.numpy(slice_by_slice_default=True)
        def run(self, image: Any) -> Any:
            self.calls += 1
            return image + 1

    filtered = Filter()
    assert filtered.run(np.zeros((5, 2, 2), "float32")).shape == (5, 2, 2) and filtered.calls == 5
    filtered.run(np.zeros((5, 2, 2), "float32"), slice_by_slice=False)
    assert filtered.calls == 6


# ---------------------------------------------------------------- contracts


@EACH
@pytest.mark.parametrize("make", [lambda name: decorator(name), lambda name: lambda **k: memory_types(name, name, **k)])
def test_contracts_are_asked_about_each_result(name: str, make: Any) -> None:
    asked = []

    def contract(result: Any) -> bool:
        asked.append(module_of(result))
        return values(result)[0, 0] == 2

    function = make(name)(contract=contract)(decorated.identity)
    function(array("numpy", 2))
    assert asked == [name]
    with pytest.raises(ValueError, match="identity violated its output contract"):
        function(array("numpy", 3))


class Promise(Enum):
    PURE = 1


class Declared:
    pass


@pytest.mark.parametrize("contract", [Promise.PURE, Declared()], ids=["enum", "object"])
def test_declared_contracts_are_kept(contract: Any) -> None:
    for function in (
        arraybridge.torch(contract=contract)(decorated.identity),
        memory_types("numpy", "numpy", contract)(decorated.identity),
    ):
        assert function.__processing_contract__ is contract


# ---------------------------------------------------------------- bad declarations


@pytest.mark.parametrize(
    ("keywords", "error", "words"),
    [
        ({"input_type": "fortran"}, UnknownBackendError, "numpy.*torch"),
        ({"output_type": "fortran"}, UnknownBackendError, "numpy.*torch"),
        ({"input_type": 3}, TypeError, '"torch"'),
        ({"contract": 3}, TypeError, "callable"),
        ({"contract": "x"}, TypeError, "callable"),
        ({"contract": {"a": 1}}, TypeError, "callable"),
        ({"convert": ("missing",)}, ValueError, "there are image"),
        ({"convert": 3}, TypeError, "True, False or names"),
        ({"casting": "maybe"}, ValueError, "same_kind"),
        ({"device": "gpu"}, ValueError, "cuda"),
        ({"device": "cpu", "gpu_id": 0}, TypeError, "give one"),
        ({"gpu_id": -1}, ValueError, "gpu_id must be a whole number from 0, not -1"),
        ({"gpu_id": "0"}, TypeError, "gpu_id must be a whole number from 0, not '0'"),
        ({"max_retries": -1}, ValueError, "max_retries must be a whole number"),
        ({"max_retries": 1.5}, TypeError, "max_retries must be a whole number from 0, not 1.5"),
        ({"max_retries": True}, ValueError, "max_retries"),
        ({"batch": "a"}, TypeError, "batch must be a whole number from 1, not 'a'"),
        ({"batch": 0}, ValueError, "batch must be a whole number from 1"),
        ({"idempotent": "yes"}, TypeError, "True or False"),
        ({"oom_recovery": 1}, TypeError, "True or False"),
        ({"progress": 3}, TypeError, "callable"),
        ({"slice_by_slice_default": None}, TypeError, "True or False"),
        ({"nonsense": 1}, TypeError, "nonsense"),
        ({"dtype_conversion": "float7"}, ValueError, "float32"),
        ({"scaling": "stretch"}, ValueError, "clip"),
    ],
    ids=str,
)
def test_bad_declarations_fail_at_decoration(keywords: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        arraybridge.torch(**keywords)(decorated.identity)


@pytest.mark.parametrize("thing", [int, 3, "f", None], ids=str)
def test_only_functions_can_be_decorated(thing: Any) -> None:
    with pytest.raises(TypeError, match="only functions"):
        arraybridge.torch()(thing)


def test_an_unknown_backend_names_those_there_are() -> None:
    with pytest.raises(UnknownBackendError, match="pyclesperanto"):
        arraybridge.backend("fortran")
    with pytest.raises(UnknownBackendError, match="pyclesperanto"):
        memory_types("fortran", "numpy")


# ---------------------------------------------------------------- errors of the function


def test_exceptions_pass_unchanged() -> None:
    class Mine(Exception):
        pass

    kept = Mine("out of memory")

    @arraybridge.torch
    def fails(image: Any) -> Any:
        raise kept

    for image in (array("torch"), array("numpy")):
        with pytest.raises(Mine) as caught:
            fails(image)
        assert caught.value is kept and kept.__context__ is None and kept.__cause__ is None
        assert [entry.name for entry in caught.traceback][1:] == ["wrapper", "fails"]
        assert not getattr(kept, "__notes__", [])
        kept.__traceback__ = None


def test_a_traced_array_of_jax_is_no_tensor() -> None:
    import jax

    with pytest.raises(MemoryConversionError):
        jax.jit(arraybridge.torch(decorated.identity))(array("jax"))
