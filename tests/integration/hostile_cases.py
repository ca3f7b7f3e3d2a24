"""Arrays that kill frameworks, or that no other framework can hold: each run in a child by test_hostile.py.

A case is a function that calls `use(array, expected)` once, wherever the array lives (inside a trace, a file, a mode).
`expected` holds the values as the framework itself says them; None where there is nothing to convert.
"""

from __future__ import annotations

import contextlib
import gc
import resource
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import arraybridge
import numpy as np
from arraybridge import MemoryConversionError
from frameworks import DTYPES, NAMES, OPERATE, READ, aligned, holds, module_of, random_array, raw

Array = np.ndarray[Any, Any]


class Use:
    """Converts what a case hands it to one target, in three ways, and notes everything that is not as it should be."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.results: dict[str, Any] = {}
        self.errors: dict[str, dict[str, str]] = {}
        self.problems: list[str] = []
        self.record: Any = None
        self.source: Any = None
        self.expected: Array | None = None

    def __call__(self, source: Any, expected: Array | None = None) -> Any:
        self.source, self.expected = source, expected
        for look in (arraybridge.describe, arraybridge.detect_memory_type, lambda x: arraybridge.plan(x, self.target)):
            with self.watched("looking"):
                look(source)
        self.errors.pop("looking", None)
        with arraybridge.records() as log:
            self.convert("copy=None", source)
        self.record = log[0] if log else None
        self.convert("copy=False", source, copy=False)
        self.convert("copy=True", source, copy=True)
        if "copy=True" in self.results and self.results["copy=True"] is source:
            self.problems.append("copy=True gave the source itself")
        self.again("")
        return self.results.get("copy=None")

    @contextlib.contextmanager
    def watched(self, what: str) -> Iterator[None]:
        try:
            yield
        except MemoryConversionError as error:
            self.errors[what] = {
                "text": str(error), "reason": error.reason, "source": error.source_type, "target": error.target_type,
                "status": error.status,
            }  # fmt: skip
        except ValueError as error:
            if what != "looking":
                self.problems.append(f"{what}: ValueError: {error}")
        except Exception:
            self.problems.append(f"{what}: {traceback.format_exc()}")

    def convert(self, what: str, source: Any, **keywords: Any) -> None:
        with self.watched(what):
            self.results[what] = arraybridge.convert(source, self.target, **keywords)

    def again(self, when: str) -> None:
        """Reads every result once more, with an operation of its framework."""
        for what, result in self.results.items():
            if self.expected is not None and result is not self.source:
                self.compare(f"{what}{when}", result)

    def compare(self, what: str, result: Any) -> None:
        try:
            if self.target not in {module_of(kind) for kind in type(result).__mro__ if kind is not object}:
                self.problems.append(f"{what}: a {type(result)}")
            assert self.expected is not None
            if self.expected.size:
                OPERATE[self.target](result)
            dtype, shape, got = READ[self.target](result)
        except Exception:
            self.problems.append(f"{what}: reading: {traceback.format_exc()}")
            return
        wanted = self.expected.dtype.name, self.expected.shape
        if (dtype, shape) != wanted:
            self.problems.append(f"{what}: {dtype} {shape} instead of {wanted[0]} {wanted[1]}")
        elif got != raw(self.expected):
            self.problems.append(f"{what}: wrong values")

    def check(self, holds: bool, problem: str) -> None:
        if not holds:
            self.problems.append(problem)

    def verdict(self) -> dict[str, Any]:
        return {
            "verdict": "right" if "copy=None" in self.results else "MemoryConversionError",
            "errors": self.errors,
            "problems": self.problems,
        }


Case = Callable[[Use], None]
CASES: dict[str, tuple[str, str, Case]] = {}
"""Of each case: the framework that owns the input, "right", "error" or "either", and the function."""


def case(source: str, outcome: str) -> Callable[[Case], Case]:
    def register(function: Case) -> Case:
        assert function.__name__ not in CASES
        CASES[function.__name__] = (source, outcome, function)
        return function

    return register


def outcome_of(name: str, target: str) -> str:
    """What must come out; the framework's own arrays may always be handed back as they are."""
    source, outcome, _ = CASES[name]
    return "either" if outcome == "error" and source == target else outcome


def run_case(name: str, target: str) -> dict[str, Any]:
    """What a child does."""
    use = Use(target)
    CASES[name][2](use)
    verdict = use.verdict()
    if use.expected is not None and not holds(target, use.expected.dtype.name, use.expected.shape):
        verdict["not_held"] = True
    use.results.clear()
    gc.collect()
    arraybridge.drain()
    return verdict


ALONE = {"numpy_huge_broadcast"}
"""Cases that change their process for good: each direction in a child of its own."""


def run_everywhere(name: str) -> dict[str, dict[str, Any]]:
    """One case in all directions; the last name that was written is the one that died."""
    verdicts = {}
    for target in NAMES:
        print(f"{name} -> {target}", flush=True)
        verdicts[target] = run_case(name, target)
    return verdicts


def floats(*shape: int) -> Array:
    return random_array("float32", shape)


# ---------------------------------------------------------------- NumPy: layouts


def layout(name: str, make: Callable[[], Array]) -> None:
    """A case of a NumPy array whose values every framework can hold."""

    def run(use: Use) -> None:
        value = make()
        use(value, value)

    run.__name__ = f"numpy_{name}"
    case("numpy", "right")(run)


def overlapping() -> Array:
    return np.lib.stride_tricks.as_strided(floats(9), (4, 4), (4, 8))


def odd_field() -> Array:
    rows = np.zeros(7, np.dtype([("tag", "u1"), ("a", "f4")]))
    rows["a"] = np.arange(7)
    return rows["a"]


def negative_field() -> Array:
    rows = np.zeros((3, 5), np.dtype([("a", "i2"), ("tag", "u1")]))
    rows["a"] = np.arange(15).reshape(3, 5)
    return rows["a"][:, ::-1]


layout("negative_1d", lambda: floats(7)[::-1])
layout("negative_all_axes", lambda: floats(3, 4, 5)[::-1, ::-1, ::-1])
layout("negative_inner", lambda: floats(3, 4)[:, ::-1])
layout("negative_and_stepped", lambda: floats(9, 8)[::-2, 1::3])
layout("negative_of_one_element", lambda: floats(1, 1)[::-1, ::-1])
layout("negative_and_empty", lambda: floats(0, 4)[::-1, ::-1])
layout("overlapping", overlapping)
layout("odd_field", odd_field)
layout("negative_field", negative_field)
layout("strides_of_axes_of_one", lambda: np.lib.stride_tricks.as_strided(floats(4), (1, 4, 1), (-7, 4, 1 << 60)))
layout("empty", lambda: floats(0))
layout("empty_with_wide_axis", lambda: np.empty((0, 1 << 40), np.float32))
layout("empty_in_the_middle", lambda: np.empty((1 << 30, 0, 1 << 28), np.uint8))
layout("empty_misaligned", lambda: aligned((4,), "float32", offset=4)[2:2])
layout("zero_dim_misaligned", lambda: aligned((), "float32", offset=4))
layout("broadcast_of_one", lambda: np.broadcast_to(np.float32(3), (2, 3)))
layout("nothing_but_strides_of_zero", lambda: np.lib.stride_tricks.as_strided(floats(1), (5, 3, 2), (0, 0, 0)))
layout("from_bytes", lambda: np.frombuffer(bytes(range(64)), np.float32))
layout("matrix", lambda: np.asmatrix(np.arange(6.0, dtype="f4").reshape(2, 3)))
layout("own_subclass", lambda: floats(3, 4).view(type("Mine", (np.ndarray,), {})))
for offset in (1, 2, 4, 8, 16, 32):
    layout(f"misaligned_by_{offset}", lambda offset=offset: aligned((3, 5), "float32", offset=offset))
    layout(f"misaligned_bytes_by_{offset}", lambda offset=offset: aligned((2, 3, 5), "uint8", offset=offset))
for kind in (">f2", ">f4", ">f8", ">i2", ">u4", ">i8", ">c8", ">c16"):
    layout(f"swapped_{kind[1:]}", lambda kind=kind: np.arange(12).reshape(3, 4).astype(kind))
    layout(f"swapped_{kind[1:]}_negative", lambda kind=kind: np.arange(12).reshape(3, 4).astype(kind)[::-1])
for kind in ("bfloat16", "float8_e4m3fn", "float8_e5m2", "bool", "complex64", "float16"):
    layout(f"{kind}_negative", lambda kind=kind: random_array(kind, (3, 4))[::-1])
    layout(f"{kind}_misaligned", lambda kind=kind: aligned((7,), kind, offset=DTYPES[kind].itemsize))


def mapped(mode: str) -> None:
    def run(use: Use) -> None:
        with tempfile.NamedTemporaryFile() as file:
            floats(3, 5).tofile(file)
            file.flush()
            value = np.memmap(file.name, np.float32, mode, shape=(3, 5))
            use(value, np.array(value))
            before = np.fromfile(file.name, np.float32).tobytes()
            use.check(before == np.array(value).tobytes(), "the file has changed")

    run.__name__ = f"numpy_map_{mode.replace('+', '_plus')}"
    case("numpy", "right")(run)


for mode in ("r", "r+", "c"):
    mapped(mode)


def deep(dimensions: int) -> None:
    def run(use: Use) -> None:
        value = np.arange(2.0, dtype="f4").reshape((1,) * (dimensions - 1) + (2,))
        use(value, value)

    run.__name__ = f"numpy_{dimensions}_dimensions"
    case("numpy", "either")(run)


for dimensions in (8, 9, 16, 32, 33, 64):
    deep(dimensions)


@case("numpy", "error")
def numpy_huge_broadcast(use: Use) -> None:
    """4 TiB that do not exist: sharing is possible for some, copying for nobody."""
    with contextlib.suppress(MemoryConversionError):
        arraybridge.convert(floats(2, 2), use.target)  # warm, so that the limit meets the conversion and not an import
    status = Path("/proc/self/status").read_text().splitlines()
    size = next(int(line.split()[1]) for line in status if line.startswith("VmSize"))
    limit = (size << 10) + (400 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    use(np.broadcast_to(np.float32(1), (1 << 40,)))


# ---------------------------------------------------------------- NumPy: what no framework can hold


def foreign(name: str, make: Callable[[], Any], source: str = "numpy", outcome: str = "error") -> None:
    """A case of an array without values that could be compared."""

    def run(use: Use) -> None:
        use(make())

    run.__name__ = f"{source}_{name}"
    case(source, outcome)(run)


foreign("object", lambda: np.array([1, None, "x"], object))
foreign("object_0d", lambda: np.array(None, object))
foreign("object_empty", lambda: np.empty((0,), object))
foreign("structured", lambda: np.zeros(3, [("a", "f4"), ("b", "i8")]))
foreign("record", lambda: np.rec.array([(1, 2.0)], [("a", "i4"), ("b", "f4")]))
foreign("subarray_field", lambda: np.zeros(3, [("a", "f4", (2,))]))
foreign("datetime", lambda: np.array(["2020-01-01"], "M8[D]"))
foreign("timedelta", lambda: np.array([1, 2], "m8[s]"))
foreign("unicode", lambda: np.array(["a", "bc"]))
foreign("bytes", lambda: np.array([b"a", b"bc"]))
foreign("string_dtype", lambda: np.array(["a", "bc"], np.dtypes.StringDType()))
foreign("void", lambda: np.zeros(3, "V8"))
foreign("void_of_no_size", lambda: np.zeros(3, "V0"))
foreign("longdouble", lambda: np.zeros(3, np.longdouble))
foreign("complex_longdouble", lambda: np.zeros(3, np.clongdouble))
foreign("masked", lambda: np.ma.array([1.0, 2.0, 3.0], mask=[0, 1, 0]))
foreign("other_ml_dtype", lambda: np.zeros(3, __import__("ml_dtypes").float8_e4m3b11fnuz), outcome="either")
foreign("int4", lambda: np.zeros(3, __import__("ml_dtypes").int4), outcome="either")

# ---------------------------------------------------------------- torch


def torch_case(name: str, make: Callable[[Any], Any], outcome: str = "right", flag: str = "") -> None:
    """A tensor whose values torch itself can tell; `flag` is what the record must say."""

    def run(use: Use) -> None:
        import torch

        value = make(torch)
        use(value, value.detach().resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format).numpy())
        if flag and use.record is not None and use.target != "torch":
            use.check(getattr(use.record, flag), f"the record does not say {flag}")

    run.__name__ = f"torch_{name}"
    case("torch", outcome)(run)


def complexes(torch: Any) -> Any:
    return torch.arange(12.0).reshape(3, 4).to(torch.complex64) * (1 + 2j)


def mine(torch: Any) -> Any:
    return torch.arange(6.0).as_subclass(type("Mine", (torch.Tensor,), {}))


def of_inference(torch: Any) -> Any:
    with torch.inference_mode():
        return torch.arange(6.0) + 1


def from_torch_offset(elements: int) -> Callable[[Any], Any]:
    return lambda torch: torch.arange(40.0)[elements:]


torch_case("conj", lambda torch: complexes(torch).conj(), flag="conj_resolved")
torch_case("conj_transposed", lambda torch: complexes(torch).mH, flag="conj_resolved")
torch_case("conj_of_nothing", lambda torch: complexes(torch)[:0].conj())
torch_case("neg", lambda torch: complexes(torch).conj().imag, flag="neg_resolved")
torch_case("neg_and_conj", lambda torch: torch._neg_view(complexes(torch).conj()), flag="neg_resolved")
torch_case("real_view", lambda torch: complexes(torch).real)
torch_case("requires_grad", lambda torch: torch.arange(6.0).requires_grad_(), flag="gradient_detached")
torch_case("requires_grad_inside", lambda torch: torch.arange(6.0).requires_grad_() * 2, flag="gradient_detached")
torch_case("parameter", lambda torch: torch.nn.Linear(3, 2).weight, flag="gradient_detached")
torch_case("subclass", mine)
torch_case("inference", of_inference)
torch_case("expanded", lambda torch: torch.arange(3.0)[:, None].expand(3, 4))
torch_case("overlapping", lambda torch: torch.arange(10.0).as_strided((4, 4), (1, 2)))
torch_case("empty_strided", lambda torch: torch.empty((0, 5, 3)).transpose(1, 2))
torch_case("efficient_zero", lambda torch: torch._efficientzerotensor(3), outcome="either")
torch_case("inside_no_grad_view", lambda torch: torch.nn.Linear(4, 4).weight.detach()[1:, 1:])
for elements in (1, 2, 4, 8):
    torch_case(f"misaligned_by_{4 * elements}", from_torch_offset(elements))


def fake_tensor(torch: Any) -> Any:
    from torch._subclasses.fake_tensor import FakeTensorMode

    return FakeTensorMode().from_tensor(torch.arange(6.0))


def wrapper(torch: Any) -> Any:
    kind = type("Wrapper", (torch.Tensor,), {"__torch_dispatch__": classmethod(lambda *rest: 1 / 0)})
    return torch.Tensor._make_wrapper_subclass(kind, (3, 4), dtype=torch.float32)


def without_storage(torch: Any) -> Any:
    value = torch.arange(6.0)
    value.untyped_storage().resize_(0)
    return value


def lying_function(torch: Any) -> Any:
    def lie(*rest: Any, **more: Any) -> Any:
        raise RuntimeError("no function for you")

    return torch.arange(6.0).as_subclass(type("Liar", (torch.Tensor,), {"__torch_function__": classmethod(lie)}))


def torch_foreign(name: str, make: Callable[[Any], Any], outcome: str = "error") -> None:
    foreign(name, lambda: make(__import__("torch")), "torch", outcome)


torch_foreign("fake", fake_tensor)
torch_foreign("meta", lambda torch: torch.empty((3, 4), device="meta"))
torch_foreign("meta_empty", lambda torch: torch.empty((0, 4), device="meta"))
torch_foreign("sparse_coo", lambda torch: torch.eye(3).to_sparse())
torch_foreign("sparse_csr", lambda torch: torch.eye(3).to_sparse_csr())
torch_foreign("sparse_bsr", lambda torch: torch.eye(4).to_sparse_bsr((2, 2)))
torch_foreign("quantised", lambda torch: torch.quantize_per_tensor(torch.arange(6.0), 0.1, 0, torch.qint8))
torch_foreign("nested", lambda torch: torch.nested.nested_tensor([torch.arange(2.0), torch.arange(3.0)]))
torch_foreign("nested_jagged", lambda torch: torch.nested.nested_tensor(
    [torch.arange(2.0), torch.arange(3.0)], layout=torch.jagged))
torch_foreign("mkldnn", lambda torch: torch.arange(6.0).to_mkldnn())
torch_foreign("wrapper", wrapper)
torch_foreign("without_storage", without_storage)
torch_foreign("lying_function", lying_function, "either")
torch_foreign("lazy_parameter", lambda torch: torch.nn.LazyLinear(3).weight)
torch_foreign("half_complex", lambda torch: torch.zeros(3, dtype=torch.complex32))
torch_foreign("other_float8", lambda torch: torch.zeros(3, dtype=torch.float8_e4m3fnuz), "either")


@case("torch", "either")
def torch_inside_vmap(use: Use) -> None:
    import torch

    torch.func.vmap(lambda x: (use(x), x * 2)[1])(torch.arange(12.0).reshape(3, 4))


@case("torch", "either")
def torch_inside_grad(use: Use) -> None:
    import torch

    torch.func.grad(lambda x: (use(x, np.arange(4, dtype=np.float32)), (x * x).sum())[1])(torch.arange(4.0))


@case("torch", "either")
def torch_inside_vmap_of_grad(use: Use) -> None:
    import torch

    torch.func.vmap(torch.func.grad(lambda x: (use(x), (x * x).sum())[1]))(torch.arange(12.0).reshape(3, 4))


@case("torch", "either")
def torch_inside_functionalize(use: Use) -> None:
    import torch

    torch.func.functionalize(lambda x: (use(x), x * 2)[1])(torch.arange(4.0))


@case("torch", "either")
def torch_inside_jvp(use: Use) -> None:
    import torch

    torch.func.jvp(lambda x: (use(x), x * 2)[1], (torch.arange(4.0),), (torch.ones(4),))


@case("torch", "either")
def torch_inside_make_fx(use: Use) -> None:
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx

    make_fx(lambda x: (use(x), x * 2)[1], tracing_mode="fake")(torch.arange(4.0))


@case("torch", "right")
def torch_inside_compile(use: Use) -> None:
    import torch

    def body(x: Any) -> Any:
        y = x * 2
        arraybridge_result.append(arraybridge.convert(y, use.target))
        return y + 1

    arraybridge_result: list[Any] = []
    torch.compile(body, backend="eager")(torch.arange(6.0).reshape(2, 3))
    use.expected = np.arange(6, dtype=np.float32).reshape(2, 3) * 2
    use.results["copy=None"] = arraybridge_result[0]
    use.again("")


# ---------------------------------------------------------------- JAX


def jax_case(name: str, make: Callable[[Any, Any], Any], outcome: str = "right") -> None:
    def run(use: Use) -> None:
        import jax
        import jax.numpy as jnp

        value = make(jax, jnp)
        use(value, np.array(value))

    run.__name__ = f"jax_{name}"
    case("jax", outcome)(run)


def spread(jax: Any, jnp: Any, *, shared: bool = False) -> Any:
    mesh = jax.sharding.Mesh(np.array(jax.devices("cpu")[:2]), ("x",))
    spec = jax.sharding.PartitionSpec() if shared else jax.sharding.PartitionSpec("x")
    assert len(jax.devices("cpu")) >= 2, "this test needs two host devices"
    return jax.device_put(jnp.arange(8.0), jax.sharding.NamedSharding(mesh, spec))


jax_case("plain", lambda jax, jnp: jnp.arange(6.0))
jax_case("zero_dim", lambda jax, jnp: jnp.float32(3) + 0)
jax_case("empty", lambda jax, jnp: jnp.zeros((0, 3)))
jax_case("bfloat16", lambda jax, jnp: jnp.arange(6, dtype=jnp.bfloat16))
jax_case("not_ready", lambda jax, jnp: jax.jit(lambda x: x @ x)(jnp.ones((400, 400))))
jax_case("of_the_second_device", lambda jax, jnp: jax.device_put(jnp.arange(6.0), jax.devices("cpu")[1]), "either")
jax_case("sharded", spread, "either")
jax_case("replicated", lambda jax, jnp: spread(jax, jnp, shared=True), "either")
jax_case("int4", lambda jax, jnp: jnp.arange(4, dtype=jnp.int4), "either")
foreign("key", lambda: __import__("jax").random.key(0), "jax")
foreign("keys", lambda: __import__("jax").random.split(__import__("jax").random.key(0), 3), "jax")


def deleted() -> Any:
    import jax.numpy as jnp

    value = jnp.arange(6.0)
    value.delete()
    return value


def donated() -> Any:
    import jax
    import jax.numpy as jnp

    value = jnp.arange(6.0)
    jax.jit(lambda x: x + 1, donate_argnums=0)(value).block_until_ready()
    if not value.is_deleted():  # the host's XLA may decline the donation; the state is the same then
        value.delete()
    return value


foreign("deleted", deleted, "jax")
foreign("donated", donated, "jax")


@case("jax", "right")
def jax_deleted_after_the_conversion(use: Use) -> None:
    import jax.numpy as jnp

    value = jnp.arange(4096.0)
    result = use(value, np.arange(4096, dtype=np.float32))
    if result is value:
        return
    value.delete()
    others = [jnp.full(4096, 7.0 + n).block_until_ready() for n in range(20)]  # take the memory, if it is free
    use.again(" after delete()")
    del others


@case("jax", "right")
def jax_donated_after_the_conversion(use: Use) -> None:
    import jax
    import jax.numpy as jnp

    value = jnp.arange(4096.0)
    result = use(value, np.arange(4096, dtype=np.float32))
    if result is value:
        return
    kept = jax.jit(lambda x: x + 1, donate_argnums=0)(value).block_until_ready()
    use.again(" after donation")
    del kept


def traced(name: str, run_in: Callable[[Any, Callable[[Any], Any]], Any]) -> None:
    def run(use: Use) -> None:
        import jax

        run_in(jax, lambda x: (use(x), (x * 2).sum())[1])

    run.__name__ = f"jax_inside_{name}"
    case("jax", "error")(run)


traced("jit", lambda jax, f: jax.jit(f)(jax.numpy.arange(4.0)))
traced("vmap", lambda jax, f: jax.vmap(f)(jax.numpy.ones((3, 4))))
traced("eval_shape", lambda jax, f: jax.eval_shape(f, jax.numpy.arange(4.0)))
traced("scan", lambda jax, f: jax.lax.scan(lambda c, x: (c + f(x), x), 0.0, jax.numpy.ones((3, 4))))
traced("jit_of_vmap", lambda jax, f: jax.jit(jax.vmap(f))(jax.numpy.ones((3, 4))))
traced("grad", lambda jax, f: jax.grad(f)(jax.numpy.arange(4.0)))
traced("jvp", lambda jax, f: jax.jvp(f, (jax.numpy.arange(4.0),), (jax.numpy.ones(4),)))


@case("jax", "right")
def jax_inside_a_callback(use: Use) -> None:
    """XLA calls back on a thread of its own, with the program half done."""
    import jax

    def call_back(x: Any) -> Any:
        use(np.asarray(x) if use.target == "jax" else x, np.arange(4, dtype=np.float32))
        return np.asarray(x)

    shape = jax.ShapeDtypeStruct((4,), np.float32)
    jax.jit(lambda x: jax.pure_callback(call_back, shape, x))(jax.numpy.arange(4.0)).block_until_ready()


# ---------------------------------------------------------------- TensorFlow


def tensorflow_foreign(name: str, make: Callable[[Any], Any], outcome: str = "error") -> None:
    foreign(name, lambda: make(__import__("tensorflow")), "tensorflow", outcome)


tensorflow_foreign("string", lambda tf: tf.constant("text"))
tensorflow_foreign("strings", lambda tf: tf.constant(["a", "bc"]))
tensorflow_foreign("string_empty", lambda tf: tf.constant([], tf.string))
tensorflow_foreign("string_variable", lambda tf: tf.Variable("text"))
tensorflow_foreign("resource", lambda tf: tf.Variable([1.0]).handle)
tensorflow_foreign("variant", lambda tf: tf.data.Dataset.range(3)._variant_tensor)
tensorflow_foreign("list_variant", lambda tf: tf.raw_ops.EmptyTensorList(
    element_shape=[2], max_num_elements=3, element_dtype=tf.float32))
tensorflow_foreign("ragged", lambda tf: tf.ragged.constant([[1.0], [2.0, 3.0]]))
tensorflow_foreign("sparse", lambda tf: tf.sparse.from_dense([[0.0, 1.0], [2.0, 0.0]]))
tensorflow_foreign("slices", lambda tf: tf.IndexedSlices(tf.constant([1.0]), tf.constant([0])))
tensorflow_foreign("tensor_array", lambda tf: tf.TensorArray(tf.float32, 2))
tensorflow_foreign("quantised", lambda tf: tf.quantization.quantize([1.0, 2.0], 0.0, 3.0, tf.quint8).output)
tensorflow_foreign("int4", lambda tf: tf.constant(np.zeros(3, __import__("ml_dtypes").int4)), "either")
tensorflow_foreign("keras_input", lambda tf: tf.keras.Input((3,)))
tensorflow_foreign("other_float8", lambda tf: tf.constant(np.zeros(3, __import__("ml_dtypes").float8_e4m3fnuz)),
                   "either")


@case("tensorflow", "right")
def tensorflow_variable(use: Use) -> None:
    import tensorflow as tf

    value = tf.Variable(np.arange(6, dtype=np.float32))
    result = use(value, np.arange(6, dtype=np.float32))
    if result is value or use.target == "tensorflow":
        return  # the same object, or what reading it gives
    value.assign(tf.zeros(6))
    use.again(" after assign()")
    value.assign_add(tf.ones(6))
    value.scatter_nd_update([[0]], [99.0])
    use.again(" after an update in place")


@case("tensorflow", "right")
def tensorflow_zero_dim(use: Use) -> None:
    import tensorflow as tf

    use(tf.constant(3.0), np.array(3, np.float32))


@case("tensorflow", "right")
def tensorflow_slice(use: Use) -> None:
    """A slice of rows shares its memory in TensorFlow, with an address that is aligned to nothing."""
    import tensorflow as tf

    use(tf.reshape(tf.range(20.0), (4, 5))[1:3], np.arange(5, 15, dtype=np.float32).reshape(2, 5))


@case("tensorflow", "error")
def tensorflow_symbolic(use: Use) -> None:
    import tensorflow as tf

    tf.function(lambda x: (use(x), x * 2)[1], autograph=False)(tf.constant([1.0, 2.0]))


@case("tensorflow", "error")
def tensorflow_symbolic_variable(use: Use) -> None:
    import tensorflow as tf

    value = tf.Variable([1.0, 2.0])
    tf.function(lambda: (use(value), value * 2)[1], autograph=False)()


@case("tensorflow", "error")
def tensorflow_in_a_graph(use: Use) -> None:
    import tensorflow as tf

    with tf.Graph().as_default():
        use(tf.constant([1.0, 2.0]))


@case("tensorflow", "right")
def tensorflow_eager_inside_a_graph(use: Use) -> None:
    """An eager tensor stays one while something is being traced."""
    import tensorflow as tf

    outer = tf.constant([1.0, 2.0])
    kept: list[Any] = []

    def body(x: Any) -> Any:
        with use.watched("copy=None"):
            kept.append(arraybridge.convert(outer, use.target))
        return x

    tf.function(body, autograph=False)(tf.constant(0.0))
    if kept:
        use.expected = np.array([1, 2], np.float32)
        use.results["copy=None"] = kept[0]
        use.again("")


# ---------------------------------------------------------------- pyclesperanto


def cle_case(name: str, shape: tuple[int, ...], dtype: str) -> None:
    def run(use: Use) -> None:
        import pyclesperanto as cle

        values = random_array(dtype, shape)
        value = cle.push(values)
        use(value, values)
        del value
        gc.collect()
        use.again(" after the source is gone")

    run.__name__ = f"pyclesperanto_{name}"
    case("pyclesperanto", "right")(run)


cle_case("volume", (3, 4, 5), "float32")
cle_case("plane", (4, 5), "uint16")
cle_case("line", (7,), "int8")
cle_case("one", (1, 1, 1), "uint32")
cle_case("of_one_row", (1, 9), "float32")


@case("pyclesperanto", "right")
def pyclesperanto_with_work_queued(use: Use) -> None:
    import pyclesperanto as cle

    value = cle.push(np.ones((64, 64), np.float32))
    for _ in range(50):
        value = cle.add_image_and_scalar(value, scalar=1)
    use(value, np.full((64, 64), 51, np.float32))


for name, values in {
    "four_dimensions": np.ones((2, 2, 2, 2), np.float32), "nothing": np.ones((0, 3), np.float32),
    "no_dimension": np.float32(1) + np.zeros((), np.float32), "float64": np.ones(3), "bool": np.ones(3, bool),
    "int64": np.ones(3, np.int64), "float16": np.ones(3, np.float16), "complex": np.ones(3, np.complex64),
}.items():  # fmt: skip
    layout(f"of_{name}", lambda values=values: np.ascontiguousarray(values).reshape(values.shape))
