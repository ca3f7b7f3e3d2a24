"""Functions are called slice by slice: every kind of result, progress, cancelling, batches, going on after errors."""

from __future__ import annotations

import collections
import sys
from typing import Any

import arraybridge as ab
import frameworks  # first: it prepares the OpenCL drivers
import numpy as np
import pytest
from arraybridge import stacks
from children import Children

NAMES = frameworks.NAMES
BASE = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
DEEP = np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5)
Found = collections.namedtuple("Found", ["image", "count", "label"])


def make(name: str, array: np.ndarray[Any, Any]) -> Any:
    return frameworks.MAKE[name](array, array.dtype.name)


def read(array: Any) -> np.ndarray[Any, Any]:
    name = frameworks.module_of(array)
    dtype, shape, data = frameworks.READ[name](array)
    return np.frombuffer(data, frameworks.DTYPES[dtype]).reshape(shape)


def double(one: Any) -> Any:
    """Twice the slice, in its own framework."""
    if frameworks.module_of(one) == "pyclesperanto":
        import pyclesperanto as cle

        return cle.multiply_image_and_scalar(one, scalar=2)
    return one + one


# ---------------------------------------------------------------- what the function sees and gives


@pytest.mark.parametrize("name", NAMES)
def test_each_slice_is_processed_in_its_own_framework(name: str) -> None:
    seen = []

    def work(one: Any, factor: int, *, shift: int) -> Any:
        seen.append((frameworks.module_of(one), tuple(one.shape)))
        assert (factor, shift) == (2, 3)
        return double(one)

    result = ab.process_slices(make(name, BASE), work, (2,), {"shift": 3}, 0)
    assert seen == [(name, (3, 4))] * 2
    assert frameworks.module_of(result) == name
    np.testing.assert_array_equal(read(result), BASE * 2)


@pytest.mark.parametrize("name", ["numpy", "torch", "tensorflow", "jax"])
def test_any_leading_axes(name: str) -> None:
    result = ab.process_slices(make(name, DEEP), double)
    np.testing.assert_array_equal(read(result), DEEP * 2)
    smaller = ab.process_slices(make(name, DEEP), lambda one: one[:2, 1:])
    np.testing.assert_array_equal(read(smaller), DEEP[:, :, :2, 1:])
    volumes = ab.process_slices(make(name, DEEP), double, slice_ndim=3)
    np.testing.assert_array_equal(read(volumes), DEEP * 2)
    whole = ab.process_slices(make(name, DEEP), double, slice_ndim=4)
    np.testing.assert_array_equal(read(whole), DEEP * 2)


@pytest.mark.parametrize("name", ["numpy", "torch", "tensorflow", "jax"])
def test_no_slices_give_an_empty_image(name: str) -> None:
    def never(one: Any) -> Any:
        raise AssertionError("called")

    for shape in ((0, 3, 4), (2, 0, 3, 4), (0, 0, 0)):
        result = ab.process_slices(make(name, np.ones(shape, np.float32)), never)
        assert frameworks.module_of(result) == name and tuple(result.shape) == shape
        moved = ab.process_slices(make(name, np.ones(shape, np.float32)), never, output_type="torch")
        assert frameworks.module_of(moved) == "torch" and tuple(moved.shape) == shape


def test_an_image_of_one_slice_is_given_whole() -> None:
    assert ab.process_slices(BASE[0], lambda one: one.shape) == (3, 4)
    with pytest.raises(ValueError, match="2D"):
        ab.process_slices(BASE[0, 0], double)
    with pytest.raises(ValueError):
        ab.process_slices("text", double)


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("source", NAMES)
def test_results_are_stacked_in_the_framework_they_are_in(source: str, target: str) -> None:
    def work(one: Any) -> Any:
        return ab.convert(double(one), target)

    result = ab.process_slices(make(source, BASE), work)
    assert frameworks.module_of(result) == target
    np.testing.assert_array_equal(read(result), BASE * 2)


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("source", NAMES)
def test_output_type_says_where_results_go(source: str, target: str) -> None:
    result = ab.process_slices(make(source, BASE), double, output_type=target)
    assert frameworks.module_of(result) == target
    np.testing.assert_array_equal(read(result), BASE * 2)


@pytest.mark.parametrize("name", NAMES)
def test_of_tuples_the_first_element_is_stacked(name: str) -> None:
    count = iter(range(9))
    image, counts, words = ab.process_slices(make(name, BASE), lambda one: (double(one), next(count), "word"))
    np.testing.assert_array_equal(read(image), BASE * 2)
    assert counts == [0, 1] and words == ["word", "word"]
    (alone,) = ab.process_slices(make(name, BASE), lambda one: (double(one),))
    np.testing.assert_array_equal(read(alone), BASE * 2)


def test_named_tuples_keep_their_type() -> None:
    found = ab.process_slices(DEEP, lambda one: Found(one, int(one[0, 0]), "x"))
    assert type(found) is Found
    np.testing.assert_array_equal(found.image, DEEP)
    assert found.count == [0, 20, 40, 60, 80, 100]


def test_tuples_and_others_do_not_mix() -> None:
    called = []

    def work(one: Any) -> Any:
        called.append(1)
        return (one, 1) if len(called) == 2 else one

    with pytest.raises(TypeError, match="slice 1 gave tuple, slice 0 gave ndarray"):
        ab.process_slices(np.ones((5, 2, 2)), work)
    assert len(called) == 2  # at once, not in the end
    for results in ([(1,), 1], [{}, 1], [1, {}], [None, 1], [1, None]):
        given = iter(results)
        with pytest.raises(TypeError, match="mixed"):
            ab.process_slices(BASE, lambda one, given=given: next(given))


def test_tuples_have_one_length() -> None:
    given = iter([(1, 2), (1, 2), (1, 2, 3)])
    with pytest.raises(ValueError, match="slice 2 gave 3 values, slice 0 gave 2"):
        ab.process_slices(np.ones((3, 2, 2)), lambda one: next(given))
    with pytest.raises(ValueError, match="empty tuple"):
        ab.process_slices(BASE, lambda one: ())


@pytest.mark.parametrize("name", ["numpy", "torch", "tensorflow", "jax"])
def test_other_results(name: str) -> None:
    image = make(name, DEEP)
    assert ab.process_slices(image, lambda one: None) is None
    assert ab.process_slices(image, lambda one: "word") == ["word"] * 6
    assert ab.process_slices(image, lambda one: [1, 2]) == [[1, 2]] * 6
    assert ab.process_slices(image, lambda one: float(one[0, 0])) == [0, 20, 40, 60, 80, 100]
    line = ab.process_slices(image, lambda one: one[0])  # 1-D results are arrays as well
    np.testing.assert_array_equal(read(line), DEEP[:, :, 0])
    point = ab.process_slices(image, lambda one: one[1, 1])
    values = read(point) if name != "numpy" else np.reshape(point, (2, 3))  # NumPy gives a scalar, which is no array
    np.testing.assert_array_equal(values, DEEP[:, :, 1, 1])
    both = ab.process_slices(image, lambda one: {"image": one, "sum": 3})
    np.testing.assert_array_equal(read(both["image"]), DEEP)
    assert both["sum"] == [3] * 6


def test_dicts_have_one_set_of_keys() -> None:
    given = iter([{"a": 1}, {"b": 1}])
    with pytest.raises(ValueError, match="slice 1 gave a dict"):
        ab.process_slices(BASE, lambda one: next(given))


def test_ragged_results_are_named() -> None:
    given = iter([np.ones(2), np.ones(3)])
    with pytest.raises(ValueError, match=r"slice 1 has the shape \(3,\), slice 0 has \(2,\)"):
        ab.process_slices(BASE, lambda one: next(given))


def test_results_that_pyclesperanto_cannot_hold_name_the_call_that_works() -> None:
    with pytest.raises(ab.MemoryConversionError, match=r'4 dimensions; .*stack into "numpy"'):
        ab.process_slices(DEEP, lambda one: ab.convert(one, "pyclesperanto"))
    result = ab.process_slices(DEEP, lambda one: ab.convert(one, "pyclesperanto"), output_type="numpy")
    np.testing.assert_array_equal(result, DEEP)


def test_errors_of_the_function_pass_unchanged() -> None:
    class Odd(Exception):
        pass

    problem = Odd("mine")

    def work(one: Any) -> Any:
        raise problem

    for keywords in ({}, {"recovery": None}, {"batch": 2}, {"progress": lambda done, total: None}):
        with pytest.raises(Odd) as caught:
            ab.process_slices(BASE, work, **keywords)
        assert caught.value is problem
        assert caught.traceback[-1].name == "work"
        assert problem.__cause__ is None and problem.__context__ is None


def test_slices_are_views_of_the_image() -> None:
    image = BASE.copy()

    def work(one: Any) -> Any:
        one[0, 0] = -1
        return one

    for name in ("numpy", "torch"):
        ab.process_slices(ab.convert(image, name), work)
        assert (image[:, 0, 0] == -1).all()
        image[...] = BASE


# ---------------------------------------------------------------- gradients and tracing


def test_torch_keeps_the_graph() -> None:
    import torch

    image = torch.from_numpy(BASE.copy()).requires_grad_()
    result = ab.process_slices(image, lambda one: one * one)
    result.sum().backward()
    np.testing.assert_array_equal(image.grad.numpy(), BASE * 2)
    pieces = ab.unstack_slices(image, "torch")
    assert all(piece.requires_grad for piece in pieces)
    assert ab.stack_slices(pieces, "torch", leading=(2, 1)).requires_grad
    assert not ab.stack_slices(pieces, "torch", leading=(2, 1)).shape[1] - 1


def test_tensorflow_keeps_the_tape() -> None:
    import tensorflow as tf

    image = tf.constant(BASE)
    with tf.GradientTape() as tape:
        tape.watch(image)
        total = tf.reduce_sum(ab.process_slices(image, lambda one: one * one))
    np.testing.assert_array_equal(tape.gradient(total, image).numpy(), BASE * 2)


def test_jax_traces_through() -> None:
    import jax
    import jax.numpy as jnp

    image = jnp.asarray(BASE)

    def work(x: Any) -> Any:
        return ab.process_slices(x, lambda one: one * one)

    np.testing.assert_array_equal(jax.jit(work)(image), BASE * BASE)
    np.testing.assert_array_equal(jax.grad(lambda x: work(x).sum())(image), BASE * 2)
    np.testing.assert_array_equal(jax.vmap(work)(jnp.asarray(DEEP)), DEEP * DEEP)
    np.testing.assert_array_equal(jax.jit(work)(jnp.asarray(DEEP)), DEEP * DEEP)


def test_torch_compiles_it_whole() -> None:
    import torch

    def work(x: Any) -> Any:
        return ab.process_slices(x, lambda one: one * 2 + 1)

    compiled = torch.compile(work, fullgraph=True, backend="eager")
    for base in (BASE, DEEP):
        np.testing.assert_array_equal(compiled(torch.from_numpy(base)).numpy(), base * 2 + 1)

    def tuples(x: Any) -> Any:
        return ab.process_slices(x, lambda part: (part * 1, 3), batch=1)

    image, count = torch.compile(tuples, fullgraph=True, backend="eager")(torch.from_numpy(BASE))
    np.testing.assert_array_equal(image.numpy(), BASE)
    assert count == [3, 3]


# ---------------------------------------------------------------- progress


@pytest.mark.parametrize("name", NAMES)
def test_progress_is_told_after_each_slice(name: str) -> None:
    told: list[tuple[int, int | None]] = []
    ab.process_slices(make(name, BASE), double, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]
    told.clear()
    ab.process_slices(DEEP, double, progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 6) for done in range(1, 7)]
    told.clear()
    ab.process_slices(DEEP, double, batch=2, slice_ndim=3, progress=lambda done, total: told.append((done, total)))
    assert told == [(2, 2)]
    told.clear()
    ab.stack_slices(iter(BASE), name, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, None), (2, None), (2, 2)]
    told.clear()
    ab.stack_slices(list(BASE), name, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]


def test_a_callback_that_returns_true_cancels_between_slices() -> None:
    worked = []
    with pytest.raises(ab.SlicesCancelled, match="after 2 of 5") as caught:
        ab.process_slices(np.ones((5, 2, 2)), worked.append, progress=lambda done, total: done == 2)
    assert (caught.value.done, caught.value.total, len(worked)) == (2, 5, 2)
    read = []
    with pytest.raises(ab.SlicesCancelled, match="unknown"):
        ab.stack_slices((read.append(i) or np.ones((2, 2)) for i in range(9)), "numpy", progress=lambda d, t: d == 3)
    assert read == [0, 1, 2]
    import pickle

    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.done, again.total, str(again)) == (2, 5, str(caught.value))


def test_what_is_merely_true_does_not_cancel_nor_does_the_last_slice() -> None:
    assert ab.process_slices(BASE, double, progress=lambda done, total: 1).shape == BASE.shape
    assert ab.process_slices(BASE, double, progress=lambda done, total: done == total).shape == BASE.shape


def test_an_interrupt_ends_the_work_between_slices(capsys: pytest.CaptureFixture[str]) -> None:
    worked = []

    def work(one: Any) -> Any:
        worked.append(1)
        raise KeyboardInterrupt

    for progress in (None, True, lambda done, total: None):
        worked.clear()
        with pytest.raises(KeyboardInterrupt):
            ab.process_slices(BASE, work, progress=progress, recovery=None)
        assert worked == [1]


def test_a_bar_goes_to_standard_error_and_nothing_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    ab.process_slices(DEEP, double)
    ab.stack_slices(iter(BASE), "numpy")
    nothing = capsys.readouterr()
    assert (nothing.out, nothing.err) == ("", "")
    ab.process_slices(DEEP, double, progress=True)
    shown = capsys.readouterr()
    assert shown.out == "" and "6/6" in shown.err
    ab.stack_slices(iter(BASE), "numpy", progress=True)
    assert "2/2" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError):  # the bar ends with the work
        ab.process_slices(DEEP, lambda one: 1 / 0, progress=True)
    from rich.live import Live

    ab.process_slices(DEEP, double, progress=True)  # two bars at once would be an error of rich's
    assert Live is not None


def test_progress_is_true_or_a_function() -> None:
    for wrong in ("yes", 1, [1]):
        with pytest.raises(TypeError, match="progress"):
            ab.process_slices(BASE, double, progress=wrong)
    assert ab.process_slices(BASE, double, progress=False).shape == BASE.shape


def test_rich_is_not_imported_for_nothing() -> None:
    import subprocess

    code = (
        "import sys, numpy as np, arraybridge as ab; a = np.ones((2, 2, 2)); "
        "ab.process_slices(a, lambda x: x, progress=lambda d, t: None); ab.stack_slices(list(a), 'numpy'); "
        "print('rich' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"], done.stderr


# ---------------------------------------------------------------- batches


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch", [1, 2, 3, 7, 100])
def test_batches_are_stacks(name: str, batch: int) -> None:
    base = np.arange(84, dtype=np.float32).reshape(7, 3, 4)
    sizes = []

    def work(part: Any) -> Any:
        sizes.append(part.shape[0])
        return double(part), part.shape[0]

    result, counts = ab.process_slices(make(name, base), work, batch=batch)
    np.testing.assert_array_equal(read(result), base * 2)
    assert counts == sizes == [min(batch, 7 - first) for first in range(0, 7, batch)]


def test_batches_keep_further_leading_axes() -> None:
    result = ab.process_slices(DEEP, lambda part: part[..., 0], batch=2)
    np.testing.assert_array_equal(result, DEEP[..., 0])


def test_a_batch_gives_back_as_many_slices() -> None:
    with pytest.raises(ValueError, match=r"batch 0 had 2 slices; .*\(1, 3, 4\)"):
        ab.process_slices(BASE, lambda part: part[:1], batch=2)
    with pytest.raises(ValueError, match="batch must be 1"):
        ab.process_slices(BASE, double, batch=0)


# ---------------------------------------------------------------- recovery


class Scripted:
    """Answers as it is told to, and remembers what it was asked."""

    def __init__(self, *answers: str, batch: int = 0) -> None:
        self.answers = list(answers)
        self.batch = batch
        self.on_host = False
        self.asked: list[tuple[BaseException, Any]] = []

    def decide(self, error: BaseException, inputs: Any = ()) -> str:
        self.asked.append((error, inputs))
        answer = self.answers.pop(0)
        if answer == "halve":
            self.batch = max(1, self.batch // 2)
        self.on_host = self.on_host or answer == "host"
        return answer

    def in_slices(self, count: int) -> None:
        self.batch = count


def failing(times: int, work: Any = double) -> tuple[Any, list[Any]]:
    calls: list[Any] = []

    def attempt(one: Any) -> Any:
        calls.append(one)
        if len(calls) <= times:
            raise MemoryError
        return work(one)

    return attempt, calls


def test_a_slice_is_tried_again_and_no_other_twice() -> None:
    work, calls = failing(2)
    recovery = Scripted("retry", "retry")
    result = ab.process_slices(DEEP, work, recovery=recovery)
    np.testing.assert_array_equal(result, DEEP * 2)
    assert len(calls) == 6 + 2 and len(recovery.asked) == 2
    assert all(isinstance(error, MemoryError) for error, _ in recovery.asked)


def test_the_error_itself_is_raised_when_nothing_helps() -> None:
    work, calls = failing(9)
    with pytest.raises(MemoryError):
        ab.process_slices(DEEP, work, recovery=Scripted("retry", "raise"))
    assert len(calls) == 2


def test_halving_makes_batches_smaller_and_keeps_what_is_done() -> None:
    base = np.arange(8 * 6, dtype=np.float32).reshape(8, 2, 3)
    sizes: list[int] = []

    def work(part: Any) -> Any:
        sizes.append(len(part))
        if len(part) > 2 and len(sizes) > 1:
            raise MemoryError
        return part * 2

    recovery = Scripted("halve", "halve", "halve", batch=4)
    result = ab.process_slices(base, work, batch=4, recovery=recovery)
    np.testing.assert_array_equal(result, base * 2)
    assert sizes == [4, 4, 2, 2]


def test_one_slice_cannot_be_halved() -> None:
    work, calls = failing(1)
    np.testing.assert_array_equal(ab.process_slices(BASE, work, recovery=Scripted("halve")), BASE * 2)
    assert len(calls) == 3


@pytest.mark.parametrize("name", NAMES)
def test_the_host_is_the_last_resort(name: str) -> None:
    where: list[str] = []

    def work(one: Any) -> Any:
        where.append(frameworks.module_of(one))
        if len(where) == 1:
            raise MemoryError
        return double(one)

    result = ab.process_slices(make(name, BASE), work, recovery=Scripted("host"))
    np.testing.assert_array_equal(read(result), BASE * 2)
    assert where == [name, *["numpy" if name == "pyclesperanto" else name] * 2]


def test_stacking_the_results_is_tried_again_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    from arraybridge import slice_results

    stack, failures = slice_results.stack_into, [MemoryError(), MemoryError()]

    def failing_stack(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return stack(*arguments)

    monkeypatch.setattr(slice_results, "stack_into", failing_stack)
    calls: list[Any] = []
    recovery = Scripted("retry", "retry")
    result = ab.process_slices(BASE, lambda one: calls.append(one) or one, recovery=recovery)
    np.testing.assert_array_equal(result, BASE)
    assert len(calls) == 2 and not recovery.answers
    failures.append(MemoryError())
    with pytest.raises(MemoryError):
        ab.process_slices(BASE, double, recovery=Scripted("raise"))


@pytest.mark.parametrize("name", ["numpy", "pyclesperanto"])
def test_cutting_the_slices_is_tried_again_as_well(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import arraybridge.stacks

    real, calls = arraybridge.stacks.split, []

    def split(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise MemoryError
        return real(*arguments)

    monkeypatch.setattr(arraybridge.stacks, "split", split)
    result = ab.process_slices(make(name, DEEP[0]), double, recovery=True)
    np.testing.assert_array_equal(read(result), DEEP[0] * 2)
    assert len(calls) == (2 if name == "numpy" else 0)


def test_each_copy_of_a_slice_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    image = make("pyclesperanto", DEEP[0])
    real, calls = type(image).__getitem__, []

    def cut(self: Any, index: Any) -> Any:
        calls.append(index)
        if len(calls) == 2:
            raise MemoryError
        return real(self, index)

    monkeypatch.setattr(type(image), "__getitem__", cut)
    result = ab.process_slices(image, double, recovery=True)
    assert calls == [0, 1, 1, *range(2, len(DEEP[0]))]
    np.testing.assert_array_equal(read(result), DEEP[0] * 2)


@pytest.mark.parametrize("name", ["numpy", "torch", "tensorflow", "jax"])
def test_slices_without_axes_are_arrays(name: str) -> None:
    line = make(name, np.arange(3, dtype=np.float32))
    assert [ab.detect_memory_type(one) for one in ab.unstack_slices(line, name, slice_ndim=0)] == [name] * 3
    result = ab.process_slices(line, lambda one: ab.convert(one, name, copy=True), slice_ndim=0)
    np.testing.assert_array_equal(read(result), [0, 1, 2])


def test_the_failed_call_is_over_before_the_next_one_begins() -> None:
    """Inside an except block the exception would keep alive what is to be freed."""
    alive: list[Any] = []

    def work(one: Any) -> Any:
        alive.append(sys.exc_info()[1])
        if len(alive) == 1:
            raise MemoryError
        return one

    ab.process_slices(BASE, work, recovery=Scripted("retry"))
    assert alive == [None, None, None]


@pytest.mark.parametrize("framework", ["numpy", "torch"])
def test_a_real_limit_halves_what_is_done_at_a_time(children: Children, framework: str) -> None:
    sizes, right = children.run("recovery_child", "slices_under_a_limit", framework, timeout=120).check()
    assert right and sizes == [16, 16, 8, 4, 4, 4, 4]  # one retry, then half of it, and half again


def test_what_is_too_large_for_one_allocation_is_halved_at_once(children: Children) -> None:
    sizes, right = children.run("recovery_child", "slices_too_large", timeout=120).check()
    assert right and sizes == [8, 4, 2, 2, 2, 2]


def test_the_engine_itself_counts_retries_halvings_and_ends_with_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from arraybridge.recovery import Recovery

    monkeypatch.setattr("arraybridge.recovery.are_on_host", lambda inputs: False)
    sizes: list[int] = []

    def work(part: Any) -> Any:
        sizes.append(len(part))
        raise MemoryError("full")

    base = np.ones((8, 2, 3))
    with pytest.raises(MemoryError, match="full") as caught:
        ab.process_slices(base, work, batch=8, recovery=Recovery(max_retries=1, host_fallback=True))
    assert sizes == [8, 8, 4, 2, 1, 1]  # a retry, three halvings, the host
    assert any("at last on the host" in note for note in caught.value.__notes__)
    sizes.clear()
    with pytest.raises(MemoryError):
        ab.process_slices(base, work, recovery=True)
    assert len(sizes) == 3


# ---------------------------------------------------------------- slice_by_slice


def test_slice_by_slice_wraps() -> None:
    @ab.slice_by_slice
    def first(image: Any, factor: float = 2) -> Any:
        """Multiplies."""
        assert image.ndim == 2
        return image * factor

    @ab.slice_by_slice(output_type="torch", slice_ndim=1)
    def second(line: Any) -> Any:
        assert line.ndim == 1
        return line + 1

    np.testing.assert_array_equal(first(DEEP), DEEP * 2)
    np.testing.assert_array_equal(first(DEEP[0, 0]), DEEP[0, 0] * 2)
    np.testing.assert_array_equal(first(image=DEEP, factor=3), DEEP * 3)
    np.testing.assert_array_equal(first(DEEP, 4), DEEP * 4)
    assert (first.__name__, first.__doc__) == ("first", "Multiplies.")
    assert frameworks.module_of(second(DEEP)) == "torch"
    with pytest.raises(TypeError, match="first\\(\\) is missing its first argument"):
        first(factor=2)
    with pytest.raises(TypeError, match="takes a function"):
        ab.slice_by_slice(3)


class Filter:
    """Methods of each kind."""

    factor = 3

    @ab.slice_by_slice
    def method(self, image: Any, by: float = 1) -> Any:
        assert image.ndim == 2
        return image * self.factor * by

    @ab.slice_by_slice
    @classmethod
    def of_class(cls, image: Any) -> Any:
        assert image.ndim == 2
        return image * cls.factor

    @classmethod
    @ab.slice_by_slice(slice_ndim=1)
    def inside(cls, image: Any) -> Any:
        assert image.ndim == 1
        return image * cls.factor

    @ab.slice_by_slice
    @staticmethod
    def static(image: Any) -> Any:
        assert image.ndim == 2
        return image * 3

    @ab.slice_by_slice
    def __call__(self, image: Any) -> Any:
        assert image.ndim == 2
        return image * self.factor


@pytest.mark.parametrize("name", ["method", "of_class", "inside", "static", "__call__"])
def test_slice_by_slice_wraps_methods(name: str) -> None:
    filtered = Filter()
    np.testing.assert_array_equal(getattr(filtered, name)(DEEP), DEEP * 3)
    np.testing.assert_array_equal(getattr(filtered, name)(image=DEEP), DEEP * 3)
    if name != "method" and name != "__call__":
        np.testing.assert_array_equal(getattr(Filter, name)(DEEP), DEEP * 3)


def test_slice_by_slice_of_a_bound_method_and_of_an_object() -> None:
    class Plain:
        def twice(self, image: Any, by: float = 2) -> Any:
            assert image.ndim == 2
            return image * by

        def __call__(self, image: Any) -> Any:
            assert image.ndim == 2
            return image * 2

    np.testing.assert_array_equal(ab.slice_by_slice(Plain().twice)(DEEP), DEEP * 2)
    np.testing.assert_array_equal(ab.slice_by_slice(Plain())(DEEP), DEEP * 2)
    np.testing.assert_array_equal(Filter().method(DEEP, by=2), DEEP * 6)


def test_slice_by_slice_takes_the_first_array_apart() -> None:
    @ab.slice_by_slice
    def scaled(factor: float, image: Any, other: Any = None) -> Any:
        assert image.ndim == 2 and (other is None or other.ndim == 4)
        return image * factor

    expected = DEEP * 2
    np.testing.assert_array_equal(scaled(2, DEEP), expected)
    np.testing.assert_array_equal(scaled(2, image=DEEP), expected)
    np.testing.assert_array_equal(scaled(other=DEEP, image=DEEP, factor=2), expected)
    np.testing.assert_array_equal(scaled(2, DEEP, DEEP), expected)
    with pytest.raises(ValueError, match="scaled\\(\\) is given no array"):
        scaled(2, [[1, 2]])
    with pytest.raises(TypeError, match="missing its first argument"):
        Filter().method()


def test_slice_by_slice_of_methods_under_torch_compile() -> None:
    torch = pytest.importorskip("torch")
    image = torch.ones(3, 4, 5)

    def pipeline(value: Any) -> Any:
        return Filter().method(value, by=2) + Filter.static(value)

    compiled = torch.compile(pipeline, backend="eager", fullgraph=True)
    assert torch.equal(compiled(image), image * 9)


def test_slice_by_slice_says_who_holds_what() -> None:
    @ab.slice_by_slice
    def fails(image: Any) -> Any:
        raise MemoryError

    with pytest.raises(MemoryError) as caught:
        fails(DEEP)
    assert "Who holds what" in caught.value.__notes__[0]


def test_names_do_not_hide_each_other() -> None:
    """The older packages have modules of similar names; ours must stay functions."""
    for name in ("stack_slices", "unstack_slices", "process_slices", "slice_by_slice"):
        assert callable(getattr(ab, name)) and getattr(ab, name) is getattr(stacks, name)
        assert name in ab.__all__


# ---------------------------------------------------------------- masks


MASKED = np.ma.MaskedArray([[1.0, 2.0], [3.0, 4.0]], mask=[[0, 1], [0, 0]])


@pytest.mark.parametrize(
    "slices", [[MASKED], [np.zeros((2, 2)), MASKED], (MASKED, np.zeros((2, 2)))], ids=["alone", "last", "first"]
)
def test_a_mask_is_not_lost_in_a_stack(slices: Any) -> None:
    for target in ("numpy", "torch"):
        with pytest.raises(ab.MemoryConversionError, match=r"slice [01]: a masked array's mask would be lost.*filled"):
            ab.stack_slices(slices, target)


def test_a_mask_is_not_lost_when_slices_are_processed() -> None:
    stack = np.ma.stack([MASKED, MASKED])
    calls = []

    def work(one: Any) -> Any:
        calls.append(type(one))
        return one + 1

    for run in (
        lambda: ab.process_slices(stack, work),
        lambda: ab.process_slices(stack, work, batch=1),
        lambda: ab.slice_by_slice(work)(stack),
        lambda: ab.numpy(work)(stack, slice_by_slice=True),
        lambda: ab.process_slices(stack, lambda one: (work(one), 1)),
        lambda: ab.process_slices(stack, lambda one: {"image": work(one)}),
    ):
        with pytest.raises(ab.MemoryConversionError, match="a masked array's mask would be lost"):
            run()
    filled = ab.process_slices(stack, lambda one: one.filled(0))
    assert type(filled) is np.ndarray and filled[0].tolist() == [[1, 0], [3, 4]]
