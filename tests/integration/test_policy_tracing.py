"""Policies under tracing look at no value, and what takes part in autograd stays in it."""

from __future__ import annotations

import warnings
from typing import Any

import arraybridge
import numpy as np
import pytest
from arraybridge import MemoryConversionError, scale
from arraybridge.policy import SCALINGS, Policy, Reference, apply

IMAGE = np.array([[1.5, 300.0], [-2.0, np.nan]], np.float32)
CLIPPED = [[2, 255], [0, 0]]


@pytest.fixture(autouse=True)
def no_warning() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error", arraybridge.DtypeWarning)
        yield


def of(backend: str, dtype: str = "uint8") -> Reference:
    return Reference(backend, dtype, 2)


# ---------------------------------------------------------------- JAX


def test_jit_preserves_without_looking_at_values() -> None:
    import jax

    made = jax.jit(lambda x: apply(x, of("jax"), Policy()))(IMAGE)
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made, CLIPPED)
    with_nan = jax.jit(lambda x: apply(x, of("jax"), Policy(nan=9)))(IMAGE)
    np.testing.assert_array_equal(with_nan, [[2, 255], [0, 9]])


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("goal", ["uint8", "int16", "uint32", "int32"])
def test_every_scaling_under_jit_is_what_it_is_outside(scaling: str, goal: str) -> None:
    import jax

    values = np.array([[0, 0.25], [0.5, 1]] if scaling != "exact" else [[0, 1], [2, 3]], np.float32)
    made = jax.jit(lambda x: scale(x, goal, scaling=scaling))(values)
    assert made.dtype == np.dtype(goal)
    expected = scale(values, goal, scaling=scaling)
    # Without x64 a trace has no float64: 24 bits.
    near = 512 if goal.endswith("32") else 0
    np.testing.assert_allclose(np.float64(made), np.float64(expected), rtol=0, atol=near)


def test_integers_under_jit_saturate() -> None:
    import jax

    labels = np.array([[70000, -1], [3, 4]], np.int32)
    made = jax.jit(lambda x: apply(x, of("jax", "uint16"), Policy()))(labels)
    np.testing.assert_array_equal(made, [[65535, 0], [3, 4]])
    top = np.array([[2**32 - 1, 5]], np.uint32)
    np.testing.assert_array_equal(jax.jit(lambda x: scale(x, "int32"))(top), [[2**31 - 1, 5]])
    np.testing.assert_array_equal(jax.jit(lambda x: scale(x, "uint32"))(labels), [[70000, 0], [3, 4]])


def test_floats_beyond_int32_under_jit() -> None:
    import jax

    values = np.array([[4e9, 5e9], [-1, 3]], np.float32)
    np.testing.assert_array_equal(jax.jit(lambda x: scale(x, "uint32"))(values), [[4000000000, 2**32 - 1], [0, 3]])
    np.testing.assert_array_equal(jax.jit(lambda x: scale(x, "int32"))(values), [[2**31 - 1] * 2, [-1, 3]])


def test_vmap_and_grad() -> None:
    import jax
    import jax.numpy as jnp

    batch = jnp.stack([jnp.asarray(IMAGE)] * 3)
    np.testing.assert_array_equal(jax.vmap(lambda x: apply(x, of("jax"), Policy()))(batch), [CLIPPED] * 3)
    slope = jax.grad(lambda x: apply(x * x, of("jax", "float16"), Policy()).sum().astype(jnp.float32))
    np.testing.assert_array_equal(slope(jnp.array([[1.0, 2.0]])), [[2, 4]])


@pytest.mark.parametrize(
    ("before", "after"), [("int64", "int32"), ("uint64", "uint32"), ("float64", "float32"), ("int16", "int16")]
)
def test_jit_without_x64_takes_the_dtype_that_there_is(before: str, after: str) -> None:
    import jax
    import jax.numpy as jnp

    values = jnp.asarray([[1.5, 2e10], [-3.0, 0.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = jax.jit(lambda x: apply(x, of("jax", before), Policy()))(values)
    assert made.dtype.name == after

    @arraybridge.jax
    def product(first: Any, second: Any) -> Any:
        return first.astype("float32") * second

    image = np.ones((2, 2), before)
    assert jax.jit(lambda x: product(image, x))(values).dtype.name == after
    assert jax.vmap(lambda x: apply(x, of("jax", before), Policy()))(values[None]).dtype.name == after


def test_what_dtypes_alone_decide_is_refused_under_jit_too() -> None:
    import jax

    with pytest.raises(MemoryConversionError, match='dtype_conversion="native"'):
        jax.jit(lambda x: apply(x * 1j, of("jax"), Policy()))(IMAGE)
    with pytest.raises(ValueError, match="from 0 to 255"):
        jax.jit(lambda x: apply(x, of("jax"), Policy(nan=-1)))(IMAGE)


def test_rows_without_a_change_under_jit() -> None:
    import jax

    def same(x: Any) -> Any:
        assert apply(x, of("jax", "bool"), Policy()) is x
        assert apply(x.sum(), of("jax"), Policy()).dtype == np.float32
        assert apply(x[0], of("jax"), Policy()).dtype == np.float32
        return apply(x > 1, of("jax"), Policy())

    made = jax.jit(same)(IMAGE)
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made, [[1, 1], [0, 0]])


# ---------------------------------------------------------------- torch


def test_torch_keeps_the_graph() -> None:
    import torch

    x = torch.tensor([[1.0, 2.0]], requires_grad=True)
    made = apply(x * x, of("torch", "float64"), Policy())
    assert made.dtype is torch.float64 and made.requires_grad
    made.sum().backward()
    np.testing.assert_array_equal(x.grad, [[2, 4]])
    # Values are not checked: what is beyond becomes infinite without a word.
    assert bool(apply(x * 1e6, of("torch", "float16"), Policy()).isinf().all())
    whole = apply(x * 10.6, of("torch"), Policy())
    assert whole.dtype is torch.uint8 and whole.tolist() == [[11, 21]]


def test_torch_func_and_fake_tensors() -> None:
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    batch = torch.tensor(np.stack([IMAGE] * 2))
    made = torch.vmap(lambda x: apply(x, of("torch"), Policy()))(batch)
    assert made.tolist() == [CLIPPED] * 2
    slope = torch.func.grad(lambda x: apply(x * x, of("torch", "float64"), Policy()).sum())
    assert slope(torch.tensor([[1.0, 2.0]])).tolist() == [[2, 4]]
    with FakeTensorMode():
        assert apply(torch.zeros(2, 2), of("torch"), Policy()).dtype is torch.uint8
    assert apply(torch.zeros(2, 2, device="meta"), of("torch"), Policy()).dtype is torch.uint8


@pytest.mark.parametrize("policy", [Policy(), Policy("int16", "minmax", 0), Policy("float64"), Policy(scaling="wrap")])
def test_torch_compile_in_one_graph(policy: Policy) -> None:
    import torch

    reference = of("torch")

    @torch.compile(fullgraph=True, backend="eager")
    def compiled(x: Any) -> Any:
        return apply(x, reference, policy, "torch")

    x = torch.tensor(np.nan_to_num(IMAGE))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", arraybridge.DtypeWarning)  # values are looked at outside of the graph only
        expected = apply(x, reference, policy)
    assert torch.equal(compiled(x), expected)


def test_torch_compile_follows_the_options_of_the_process() -> None:
    import torch

    @torch.compile(fullgraph=True, backend="eager")
    def compiled(x: Any) -> Any:
        return apply(x, of("torch"), Policy(), "torch")

    x = torch.tensor([[1.5, 300.0]])
    assert compiled(x).dtype is torch.uint8
    arraybridge.options.set(dtype_conversion="int16")
    try:
        assert compiled(x).dtype is torch.int16
    finally:
        arraybridge.options.set(dtype_conversion="preserve")


# ---------------------------------------------------------------- TensorFlow


def test_tf_function_and_tape() -> None:
    import tensorflow as tf

    made = tf.function(lambda x: apply(x, of("tensorflow"), Policy()))(tf.constant(IMAGE))
    assert made.dtype == tf.uint8
    np.testing.assert_array_equal(made, CLIPPED)
    for scaling in SCALINGS:
        values = tf.constant([[0.0, 1.0], [1.0, 0.0]])
        made = tf.function(lambda x, scaling=scaling: scale(x, "uint16", scaling=scaling))(values)
        np.testing.assert_array_equal(made, scale(values, "uint16", scaling=scaling))
    x = tf.constant([[1.0, 2.0]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = apply(x * x, of("tensorflow", "float64"), Policy())
    assert y.dtype == tf.float64
    np.testing.assert_array_equal(tape.gradient(y, x), [[2, 4]])


@pytest.mark.parametrize("shape", [None, [None, 3]])
def test_tf_function_need_not_know_the_shape(shape: Any) -> None:
    import tensorflow as tf

    @arraybridge.tensorflow
    def widened(image: Any) -> Any:
        return tf.cast(image, tf.float64) * 2

    spec = tf.TensorSpec(shape)
    made = tf.function(lambda x: widened(x), input_signature=[spec])(tf.ones((2, 3)))
    assert made.dtype == tf.float32
    mean = tf.function(lambda x: widened(tf.reduce_mean(x)), input_signature=[spec])(tf.ones((2, 3)))
    assert mean.dtype == tf.float64
