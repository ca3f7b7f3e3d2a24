"""Decorated functions under the tracing of their frameworks."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import arraybridge
import numpy as np
import pytest
from decorated import array
from frameworks import module_of

LATE = """
import sys
import arraybridge
{early}

@arraybridge.torch
def double(image, factor=2):
    return image * factor

@arraybridge.memory_types("torch", "torch")
def plus(image):
    return image + 1

import torch
compiled = torch.compile(lambda x: plus(double(x)), fullgraph=True, backend="eager")
assert (compiled(torch.ones(3)) == 3).all()
assert (double(torch.ones(3)) == 2).all()
assert (compiled(torch.ones(4)) == 3).all()
"""


@pytest.mark.parametrize("early", ["", "import torch"], ids=["torch imported later", "torch imported first"])
def test_torch_compile_takes_the_whole_function(early: str) -> None:
    ended = subprocess.run([sys.executable, "-c", LATE.format(early=early)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("call", ["double(x)", "double(image=x)", "double(x, factor=2)", "pair(x)[0]", "both([x, x])"])
def test_torch_compile_in_one_graph(call: str) -> None:
    import torch

    @arraybridge.torch
    def double(image: Any, factor: float = 2) -> Any:
        return image * factor

    @arraybridge.torch(output_type="input")
    def pair(image: Any) -> Any:
        return image * 2, {"a": image}

    @arraybridge.torch
    def both(images: Any) -> Any:
        return images[0] + images[1]

    space = {"double": double, "pair": pair, "both": both}
    function = eval(f"lambda x: {call}", space)
    compiled = torch.compile(function, fullgraph=True, backend="eager")
    assert (compiled(torch.ones(3)) == 2).all()


def test_torch_compile_of_the_decorated_function_itself() -> None:
    import torch

    @arraybridge.torch
    def double(image: Any) -> Any:
        return image * 2

    assert (torch.compile(double, fullgraph=True, backend="eager")(torch.ones(3)) == 2).all()


def test_torch_compile_calls_functions_of_other_frameworks_outside_the_graph() -> None:
    import torch

    @arraybridge.jax(output_type="input")
    def measure(image: Any) -> Any:
        assert module_of(image) == "jax"
        return image * 3

    assert (torch.compile(lambda x: measure(x + 1) + 1, backend="eager")(torch.ones(3)) == 7).all()
    whole = torch.compile(lambda x: measure(x + 1) + 1, backend="eager", fullgraph=True)
    with pytest.raises(torch._dynamo.exc.Unsupported):
        whole(torch.ones(3))


def test_autograd_keeps_its_graph() -> None:
    import torch

    @arraybridge.torch
    def square(image: Any, other: Any) -> Any:
        return (image * image * other,)

    weight = torch.full((3,), 2.0, requires_grad=True)
    (result,) = square(weight, np.ones(3, np.float32))
    result.sum().backward()
    assert (weight.grad == 4).all()
    with torch.no_grad():
        assert not square(weight, weight)[0].requires_grad
    assert torch.no_grad()(square)(weight, weight)[0].grad_fn is None


def test_torch_func() -> None:
    import torch

    @arraybridge.torch(output_type="numpy")
    def total(image: Any) -> Any:
        return (image * image).sum()

    assert torch.func.grad(total)(torch.tensor([1.0, 2.0])).tolist() == [2, 4]
    assert torch.vmap(total)(torch.ones(3, 2)).tolist() == [2, 2, 2]


@pytest.mark.parametrize("output", ["jax", "input", "numpy"])
def test_jax_transformations(output: str) -> None:
    import jax
    import jax.numpy as jnp

    @arraybridge.jax(output_type=output)
    def total(image: Any, other: Any = None) -> Any:
        return (image * image).sum() if other is None else (image * other).sum()

    x = jnp.array([1.0, 2.0])
    assert float(jax.jit(total)(x)) == 5
    assert jax.grad(total)(x).tolist() == [2, 4]
    assert jax.vmap(total)(jnp.ones((3, 2))).tolist() == [2, 2, 2]
    assert jax.jit(jax.vmap(jax.grad(total)))(jnp.ones((3, 2))).tolist() == [[2, 2]] * 3
    assert jax.eval_shape(total, x).shape == ()
    assert float(jax.jit(lambda a: total(a, np.array([3, 4], np.float32)))(x)) == 11
    assert float(jax.jit(lambda a: total([a][0], other=a))(x)) == 5


def test_jax_jit_with_static_arguments_and_donation() -> None:
    import jax
    import jax.numpy as jnp

    @arraybridge.jax
    def power(image: Any, exponent: int = 2) -> Any:
        return image**exponent

    assert jax.jit(power, static_argnames="exponent")(jnp.array([3.0]), exponent=3).tolist() == [27]
    inner = arraybridge.jax(jax.jit(lambda image: image + 1, donate_argnums=0))
    assert inner(jnp.array([3.0])).tolist() == [4]


def test_tf_function_and_gradient_tape() -> None:
    import tensorflow as tf

    @arraybridge.tensorflow(output_type="numpy")
    def square(image: Any) -> Any:
        return image * image

    graph = tf.function(lambda x: square(x) + 1)
    assert graph(tf.constant([3.0])).numpy().tolist() == [10]

    @arraybridge.tensorflow
    def cube(image: Any) -> Any:
        return image * image * image

    x = tf.Variable([2.0])
    with tf.GradientTape() as tape:
        y = cube(tf.convert_to_tensor(x))
    assert tape.gradient(y, x).numpy().tolist() == [12]


def test_chains_under_jit() -> None:
    import jax

    @arraybridge.jax(output_type="torch")
    def first(image: Any) -> Any:
        return image + 1

    @arraybridge.jax
    def second(image: Any) -> Any:
        return first(image) * 2

    assert module_of(jax.jit(second)(array("jax"))) == "jax"
    assert module_of(first(array("jax"))) == "torch"


def test_the_inputs_dtype_is_preserved_under_jax_tracing() -> None:
    import jax
    import jax.numpy as jnp

    @arraybridge.jax
    def scaled(image: Any) -> Any:
        return image.astype(jnp.float32) * 1.5

    image = jnp.full((2, 2), 3, jnp.uint16)
    for traced in (scaled, jax.jit(scaled), jax.vmap(scaled)):
        result = traced(image)
        assert (result.dtype, int(result[0, 0])) == (jnp.uint16, 4)  # 4.5, to even


def test_the_inputs_dtype_is_preserved_in_a_tensorflow_graph() -> None:
    import tensorflow as tf

    @arraybridge.tensorflow
    def scaled(image: Any) -> Any:
        return tf.cast(image, tf.float32) * 1.5

    image = tf.fill((2, 2), tf.constant(3, tf.uint16))
    for traced in (scaled, tf.function(scaled)):
        result = traced(image)
        assert (result.dtype, int(result[0, 0])) == (tf.uint16, 4)
