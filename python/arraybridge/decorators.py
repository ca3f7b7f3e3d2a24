# SPDX-License-Identifier: MIT
"""Decorators: a function of one framework takes arrays of any, and gives what it was told to give.

>>> from arraybridge import torch
>>> @torch(output_type="input")
... def smooth(image, sigma=1.0): ...

The decorator named after a backend is found here under that name, and in the package.
"""

from __future__ import annotations

from .declaration import Declaration
from .keywords import Said, name_of_type
from .parameters import with_controls
from .wrapping import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

_KEYWORDS = """
Parameters
----------
func : callable
    A function, method, class or static method, generator, coroutine function or callable object. Left out: the
    decorator with its keywords set is given.
input_type, output_type : str or enum member
    Which framework the function works in, and which one its results go to; ``output_type="input"``: the framework of
    the caller's first array. The first array is here, and below, one of no dimensions only if there is no other.
contract : callable or declaration, optional
    ``contract(result)`` is asked about each result as the function gives it; if the answer is false a ValueError says
    so. An enum member or an object of a class of yours is kept as ``__processing_contract__`` for a runtime to read.
convert : bool, str or names, optional
    Which arguments are converted: all (True), none (False), or those named. ``self`` and ``cls`` never are.
device : str or object, optional
gpu_id : int, optional
    Where arrays on the host go. None: to the device of the first array. Arrays on a device of the framework stay.
stream : int or stream object, optional
    Where the arrays are on a CUDA device: the stream that the framework works on while a plain function runs. It waits
    for the caller's streams, and they for it. None: one of a fixed set, the same one for a thread whenever that is
    free. False: the caller's own. Generators and coroutines, whose callers work in between, run on the caller's.
dtype_conversion : optional
    ``"preserve"`` (results get the dtype of the first array), ``"native"``, or the name of a dtype. Of a tuple element
    0 is the result that is meant. Numbers, and vectors from an image, are measurements and stay as they are under
    ``"preserve"``; slice by slice it is the slice that counts. A table with two axes from a whole 3-D image looks like
    an image and is rounded to integers: say ``"native"``.
dtype_config_default : object, optional
    The same, as an object with ``default_dtype_conversion``.
scaling : {"clip", "unit", "exact", "minmax", "wrap"}, optional
    How real numbers become integers. None: ``"clip"``, with a warning that counts the values beyond the range, and an
    error where nothing but 0 and 1 would be left of fractions. Said explicitly, ``"clip"`` is quiet.
nan : float, optional
    What stands in integer results in place of NaN, which is an error otherwise.
labels : bool, optional
    True: integer results are labels and keep their dtype.
casting : {"same_kind", "no", "safe", "unsafe"}, optional
    What may happen to a dtype that the framework lacks, said once as a warning. Whatever is said here, integers that
    the narrower type does not have are an error, and numbers that become infinite are told of each time.
slice_by_slice_default : bool, optional
    Whether the first argument is taken apart along its leading axes where a call does not say so. For plain functions
    and methods only: generators give their results one after the other, and coroutines have to be awaited.
progress : bool or callable, optional
    As of ``process_slices``.
batch : int, optional
    The function takes and gives stacks: where the image is taken apart, it is given up to so many slices at a time;
    after out-of-memory half as many.
oom_recovery : bool, optional
    After out-of-memory caches are cleared and the function is called again, unless it has begun to give results. Such
    an error that leaves the function in the end has a note that says who holds what, here as with False.
max_retries : int, optional
    How often. None: as the options say.
host_fallback : bool, optional
    At last on the host, unless all its arrays are there already. None: as the options say.
idempotent : bool, optional
    False: the function changes what it is given and must not be called again.

Each call takes three more keywords, unless the function has parameters of these names, which then get them:
``slice_by_slice``, ``dtype_conversion`` and ``dtype_config``.

Raises
------
TypeError, ValueError
    A keyword with a value that it cannot have, at decoration, with the values that it can.

Notes
-----
Arrays stand anywhere in the arguments and results: in tuples, lists and dicts, which keep their types; elsewhere they
are not looked for. NumPy scalars, and NumPy arrays of text, objects, dates and records, pass untouched.

Memory is shared where that is possible. Into JAX, TensorFlow and pyclesperanto, whose arrays are not expected to change
or are read late, an array that can be written is copied, in arguments and results alike: what is written to it later
never shows there. Otherwise memory is what it is in plain Python. A view that the function returns (``x[1:]``, or ``x``
itself) is a view of the caller's array, in another framework as well. A body that works in place (``x.add_(1)``,
``x[:] = 0``) writes to the caller's array where that is shared, to a JAX or TensorFlow array given to any framework
that can write (torch, pyclesperanto, CuPy, third parties') as well; NumPy gets them as not writeable.
``arraybridge.options(immutable="copy")`` copies those, ``options(mutable="copy")`` all that can be written; what is at
home already is never copied.

Under jax.jit, grad and vmap, torch.func and tf.function, results that stand for values not yet known stay in their
framework whatever ``output_type`` says. Under torch.compile a function of torch is part of the graph, its conversions
and contract left out: what comes in must be torch's. A function of another framework ends the graph there and runs as
always, so that ``fullgraph=True`` refuses it.
"""


# ---------------------------------------------------------------- decorating


def _decorate(function: Any, said: Said, execution: str | None) -> Any:
    """The wrapper; of a class or static method one of its kind."""
    if isinstance(function, (classmethod, staticmethod)):
        return type(function)(_decorate(function.__func__, said, execution))
    if isinstance(function, type) or not callable(function):
        whole = "a class: decorate its methods" if isinstance(function, type) else repr(function)
        raise TypeError(f"only functions and callable objects can be decorated, not {whole}")
    declaration = Declaration(function, said)
    wrapper: Any = wrap(declaration)
    if said.controls and declaration.shape.signature is not None:
        wrapper.__signature__ = with_controls(
            declaration.shape.signature, said.slice_by_slice_default, said.dtype_config_default, declaration.shape.own
        )
    wrapper.input_memory_type = declaration.input
    wrapper.output_memory_type = declaration.output or "input"
    if execution is not None:
        wrapper.execution_memory_type = execution
    if said.contract is not None and not callable(said.contract):
        wrapper.__processing_contract__ = said.contract
    return wrapper


def _check_said(said: Said) -> None:
    """What is wrong with the keywords alone is said where they stand, not where the function stands."""

    def nothing() -> None: ...

    Declaration(nothing, said._replace(convert=said.convert is True))


def memory_types(
    input_type: object,
    output_type: object,
    contract: object = None,
    *,
    oom_recovery: bool = True,
    convert: bool | str | Iterable[str] = True,
    device: object = None,
    gpu_id: int | None = None,
    casting: Any = "same_kind",
    dtype_conversion: object = None,
    scaling: Any = None,
    nan: float | None = None,
    labels: bool | None = None,
    max_retries: int | None = None,
    host_fallback: bool | None = None,
    idempotent: bool = True,
    stream: object = None,
) -> Callable[[Any], Any]:
    """Declare what a function takes and gives, and convert both. Dtypes stay as the function gives them.

    The keywords are those of the decorators named after backends. Calls get no keywords beside the function's own.
    """
    said = Said(
        input_type, output_type, contract, oom_recovery, convert=convert, device=device, gpu_id=gpu_id,
        dtype_conversion=dtype_conversion, scaling=scaling, nan=nan, labels=labels, casting=casting,
        max_retries=max_retries, host_fallback=host_fallback, idempotent=idempotent, controls=False, preserves=False,
        stream=stream,
    )  # fmt: skip
    _check_said(said)
    return lambda function: _decorate(function, said, None)


def _make_decorator(name: str) -> Callable[..., Any]:
    def decorator(
        func: Any = None,
        *,
        input_type: object = name,
        output_type: object = name,
        oom_recovery: bool = True,
        contract: object = None,
        slice_by_slice_default: bool = False,
        dtype_config_default: object = None,
        convert: bool | str | Iterable[str] = True,
        device: object = None,
        gpu_id: int | None = None,
        dtype_conversion: object = None,
        scaling: Any = None,
        nan: float | None = None,
        labels: bool | None = None,
        casting: Any = "same_kind",
        max_retries: int | None = None,
        host_fallback: bool | None = None,
        idempotent: bool = True,
        progress: Any = None,
        batch: int | None = None,
        stream: object = None,
    ) -> Any:
        said = Said(
            input_type, output_type, contract, oom_recovery, slice_by_slice_default, dtype_config_default, convert,
            device, gpu_id, dtype_conversion, scaling, nan, labels, casting, max_retries, host_fallback, idempotent,
            progress, batch=batch, stream=stream,
        )  # fmt: skip
        if func is not None:
            return _decorate(func, said, name)
        _check_said(said)
        return lambda function: _decorate(function, said, name)

    decorator.__name__ = decorator.__qualname__ = name
    decorator.__doc__ = f"Run a function in {name}, whatever arrays it is given.\n{_KEYWORDS}"
    return decorator


_made: dict[str, Callable[..., Any]] = {}


def backend(name: object) -> Callable[..., Any]:
    """Give the decorator of a backend: of any that is installed, a third party's as well.

    Parameters
    ----------
    name : str or enum member
        The backend's name.

    Returns
    -------
    callable
        As ``arraybridge.torch`` is for torch; the same one each time.

    Raises
    ------
    UnknownBackendError
        A ValueError that names the backends there are.
    """
    wanted = name_of_type(name)
    if wanted not in _made:
        _check_said(Said(wanted, wanted))
        _made[wanted] = _make_decorator(wanted)
    return _made[wanted]


def wrap_dtype_preserving_callable(
    func: Callable[..., Any],
    mem_type: object,
    *,
    slice_by_slice_default: bool = False,
    dtype_config_default: object = None,
) -> Callable[..., Any]:
    """Give a function the slice and dtype keywords of the decorators, and convert nothing on the way in or out.

    A name of the older API. ``func`` may declare its own ``output_memory_type``.
    """
    name = getattr(mem_type, "value", mem_type)
    said = Said(
        getattr(func, "input_memory_type", name), getattr(func, "output_memory_type", name), convert=False,
        slice_by_slice_default=slice_by_slice_default, dtype_config_default=dtype_config_default, oom_recovery=False,
    )  # fmt: skip
    return _decorate(func, said, None)  # type: ignore[no-any-return]


#: The decorators that the package offers by name, installed or not.
NAMES = ("numpy", "cupy", "torch", "tensorflow", "jax", "pyclesperanto")

#: What the module of this name in the older API had beside them, and where it lives now.
_OLDER = {
    "Array": "arrays",
    "ArrayLibrary": "libraries",
    "ArrayPayload": "array_payload",
    "DtypeConversion": "policy",
    "DtypeConversionConfig": "dtype_config",
    "F": "types",
    "MemoryContractAttribute": "types",
    "MemoryType": "types",
    "PRESERVE_INPUT_DTYPE_CONFIG": "dtype_config",
    "PreserveInputDtypeConfig": "dtype_config",
    "SCALING_FUNCTIONS": "scaling",
    "SliceBySliceRuntimeParameter": "dtype_config",
    "ThreadGPUContext": "thread_context",
    "_FRAMEWORK_OPS": "framework_ops",
    "_execute_with_oom_recovery": "oom_recovery",
    "_get_thread_gpu_context": "thread_context",
    "optional_import": "utils",
    "process_slices": "stacks",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _OLDER:
        return getattr(import_module(f"{__package__}.{_OLDER[name]}"), name)
    if name in NAMES:
        return backend(name)
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return backend(name)
    except ValueError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return sorted({*globals(), *NAMES, *_OLDER})
