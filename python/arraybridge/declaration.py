# SPDX-License-Identifier: MIT
"""What a decorator has been told about its function, checked once; and what a call does that is out of the ordinary.

Ordinary calls are made by the native module (``native.declaration``), which comes back here for what is rare: keywords
of the call, results of another dtype or framework, failures, slices.
"""

from __future__ import annotations

import sys

from ._library import native
from .attempts import Attempts, watch_of
from .keywords import Said, check_said, name_of_type, policy_of
from .parameters import chosen_of, shape_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .policy import Policy, Reference
    from .recovery import Recovery

    Arguments = tuple[tuple[Any, ...], dict[str, Any]]

# NATIVE_DECLARE_* of python/native/declaration.h.
_BOUND = 1 << 0
_PRESERVES = 1 << 1
_SETTLES = 1 << 2
_RARE = 1 << 3
_RECOVERS = 1 << 4
_NARROWED = 1 << 5
_MOVES_ALL = 1 << 6
_FOLLOWS = 1 << 7
_CONTROLS = {"slice_by_slice": 1 << 8, "dtype_conversion": 1 << 9, "dtype_config": 1 << 10}


def _option(name: str) -> Any:
    from .settings import options

    return options.get(name)


# ---------------------------------------------------------------- arrays


def _owner(value: object) -> str | None:
    try:
        owner: str = native.detect_memory_type(value)
    except ValueError:
        return None
    return owner


def is_traced(array: object) -> bool:
    """Whether an array stands for values not yet known: jax.jit, grad and vmap, torch.func, tf.function."""
    owner = _owner(array)
    if owner == "jax":
        return isinstance(array, sys.modules["jax"].core.Tracer)
    if owner == "tensorflow":
        return not hasattr(array, "numpy")
    if owner == "torch":
        from_functorch = getattr(sys.modules["torch"]._C, "_functorch", None)
        return from_functorch is not None and bool(from_functorch.is_functorch_wrapped_tensor(array))
    return False


def _any_traced(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(_any_traced(one) for one in value)
    if isinstance(value, dict):
        return any(_any_traced(one) for one in value.values())
    return is_traced(value)


def reference_of(array: object) -> Reference | None:
    """What the dtype policy wants to know of the first array; None if it cannot be told (an array given away)."""
    from .policy import Reference, look_at

    try:
        known = native.describe(array)
    except (ValueError, native_errors()):
        return None
    if known.dtype:
        return Reference(known.backend, known.dtype, len(known.shape), known.device)
    traced = look_at(array)  # the core knows no dtype of a tracer, its framework does
    return None if traced is None else Reference(traced.backend, traced.dtype, traced.ndim)


def native_errors() -> type[Exception]:
    """MemoryConversionError, imported late."""
    from .errors import MemoryConversionError

    return MemoryConversionError


def with_image(result: tuple[Any, ...], image: Any) -> tuple[Any, ...]:
    """The same kind of tuple with another first element."""
    items = [image, *result[1:]]
    return tuple(items) if type(result) is tuple else _rebuild(result, items)


# ---------------------------------------------------------------- what the native module asks


def _rebuild(container: Any, items: Any) -> Any:
    """A container of the same type, with what else it holds, and other items."""
    if isinstance(container, tuple):
        make = getattr(type(container), "_make", None)  # a namedtuple takes its fields one by one
        return make(items) if make is not None else type(container)(items)
    from copy import copy

    made = copy(container)
    if isinstance(container, dict):
        made.update(items)
    else:
        made[:] = items
    return made


_told: set[tuple[str, str, str]] = set()


def _tell_cast(array: object, result: object) -> None:
    """Say once for each pair of dtypes that the target lacks the first one."""
    before, after = native.describe(array), native.describe(result)
    key = (before.dtype, after.dtype, after.backend)
    if key in _told:
        return
    _told.add(key)
    from warnings import warn

    from .policy import DtypeWarning

    text = f'{key[2]} has no {key[0]}: decorated functions get {key[1]} (casting="no" makes this an error)'
    warn(text, DtypeWarning, stacklevel=3)


def _has_numbers(array: object) -> bool:
    """False for NumPy's arrays of text, objects, dates and records."""
    dtype = getattr(array, "dtype", None)
    kind = getattr(dtype, "kind", "f")
    return kind not in "OSUTMm" and getattr(dtype, "names", None) is None


def _prefers_accelerator() -> bool:
    return _option("prefer_accelerator") is True


native.connect({"rebuild": _rebuild, "cast": _tell_cast, "numbers": _has_numbers, "prefers": _prefers_accelerator})


# ---------------------------------------------------------------- the declaration


class Declaration:
    """One decorated function: what was said of it, and its rare calls.

    Parameters
    ----------
    function : callable
        The user's.
    said : Said
        The keywords of the decorator; checked here.
    """

    def __init__(self, function: Callable[..., Any], said: Said) -> None:
        self.function = function
        self.said = said
        self.name = getattr(function, "__name__", type(function).__name__)
        self.shape = shape_of(function)
        self.input = name_of_type(said.input_type)
        self.output = None if said.output_type == "input" else name_of_type(said.output_type)
        check_said(said)
        self.policy = policy_of(said)
        self.contract = said.contract if callable(said.contract) else None
        self.sliced_default = said.slice_by_slice_default
        self.recovers = said.oom_recovery and said.idempotent
        self.native = self._make(self._flags(), said.gpu_id, said.device)

    def _flags(self) -> int:
        said = self.said
        conversion = self.policy.conversion if self.policy is not None else None
        preserves = said.preserves and conversion in (None, "preserve")
        flags = _FOLLOWS | (_PRESERVES if preserves else 0) | (_RECOVERS if self.recovers else 0)
        if conversion not in (None, "preserve", "native"):
            flags |= _SETTLES
        if self.sliced_default:
            flags |= _RARE
        if said.controls:
            flags |= sum(bit for name, bit in _CONTROLS.items() if name not in self.shape.own)
        return flags

    def _make(self, flags: int, gpu_id: int | None, device: object) -> Any:
        shape, said = self.shape, self.said
        places, names = 0, frozenset[str]()
        if said.convert is not True:
            flags |= _NARROWED
            places, names = chosen_of(said.convert, shape, self.name)
        if shape.bound:
            flags |= _BOUND
        return native.declaration(
            self.function, self.run, self.settle, self.recover, self.contract, shape.parameters, names, gpu_id, device,
            self.input, self.output, places, flags, said.casting,
        )  # fmt: skip

    def __reduce__(self) -> tuple[Any, ...]:
        """By what it was made of: libraries that pickle functions by value meet it in a closure."""
        return Declaration, (self.function, self.said)

    def reduce_native(self) -> tuple[Any, ...]:
        """How the native declaration is pickled."""
        return _native_of, (self,)

    # ------------------------------------------------------------ keywords of a call

    def take_controls(self, kwargs: dict[str, Any]) -> tuple[bool, Policy | None]:
        """Take this call's own keywords out of ``kwargs``: whether slice by slice, and the dtype policy."""
        if not self.said.controls:
            return False, self.policy
        own = self.shape.own
        sliced = self.sliced_default if "slice_by_slice" in own else kwargs.pop("slice_by_slice", self.sliced_default)
        conversion = None if "dtype_conversion" in own else kwargs.pop("dtype_conversion", None)
        config = None if "dtype_config" in own else kwargs.pop("dtype_config", None)
        if conversion is None and config is None:
            return bool(sliced), self.policy
        from .policy import read_policy

        asked = read_policy(conversion, config, casting=self.said.casting)
        return bool(sliced), asked.over(self.policy) if self.policy is not None else asked

    # ------------------------------------------------------------ out of the ordinary

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A whole call with anything rare about it."""
        kwargs = dict(kwargs)
        sliced, policy = self.take_controls(kwargs)
        if sliced:
            at = self._image(args, kwargs)
            if getattr(at, "ndim", 0) > 2:
                return self._run_slices(args, kwargs, policy)
        attempts = Attempts(self, args, kwargs)
        result = attempts.run()
        self.check(result)
        attempts.tell_changes()
        return self.settle(result, attempts.reference, policy)

    def check(self, result: object) -> None:
        """Hold a result against the contract."""
        if self.contract is not None and not self.contract(result):
            raise ValueError(f"Function {self.name} violated its output contract")

    def recover(
        self,
        error: Exception,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        taken: tuple[Any, ...] | None,
        named: dict[str, Any] | None,
    ) -> tuple[Any] | Exception | None:
        """After a failure of an ordinary call: None, it goes on; a result in a tuple; or another failure to go on with.

        ``taken`` is None if the arguments could not be converted. Nothing is raised here, so that the traceback of the
        user's exception stays as it is.
        """
        attempts = Attempts(self, args, kwargs)
        if taken is not None:
            attempts.took(taken, named or {})
        if not attempts.goes_on(error):
            return None
        while True:
            try:
                attempts.begin()
                return (self.function(*attempts.taken, **attempts.named),)
            except Exception as failure:
                if not attempts.goes_on(failure):
                    return failure

    def recovery(self) -> Recovery:
        """The engine for one call."""
        from .recovery import Recovery

        said = self.said
        retries = _option("max_retries") if said.max_retries is None else said.max_retries
        host = _option("host_fallback") if said.host_fallback is None else said.host_fallback
        return Recovery(max_retries=retries, host_fallback=host is True, idempotent=said.idempotent)

    def on_host(self) -> Any:
        """The native declaration of a last attempt, on the host."""
        return self._make(_MOVES_ALL | (_RECOVERS if self.recovers else 0), None, "cpu")

    def watch(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Remember what the inputs are, if the options say so and the author has not said that they change."""
        if not self.said.idempotent or _option("check_inputs") is not True:
            return None
        return watch_of(self, args, kwargs)

    # ------------------------------------------------------------ slices

    def _image_name(self) -> str | None:
        names = self.shape.parameters
        at = 1 if self.shape.bound else 0
        return names[at] if len(names) > at else None

    def _image(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        at = 1 if self.shape.bound else 0
        return args[at] if len(args) > at else kwargs.get(self._image_name() or "")

    def _run_slices(self, args: tuple[Any, ...], kwargs: dict[str, Any], policy: Policy | None) -> Any:
        """The first argument slice by slice; all others are converted once."""
        from .stacks import process_slices

        at = 1 if self.shape.bound else 0
        image = self._image(args, kwargs)
        if len(args) > at:
            args = (*args[:at], None, *args[at + 1 :])
        else:
            kwargs = {name: value for name, value in kwargs.items() if name != self._image_name()}
            args = (*args, None)
        others = Attempts(self, args, kwargs)

        def one(piece: Any) -> Any:
            others.begin()
            taken = others.taken
            result = self.function(*taken[:at], others.take(piece), *taken[at + 1 :], **others.named)
            self.check(result)
            return result

        result = process_slices(
            image, one, output_type=None, batch=self.said.batch, progress=self.said.progress, recovery=others.engine
        )
        return self.settle(result, image, policy)

    # ------------------------------------------------------------ results

    def settle(self, result: Any, reference: Any, policy: Policy | None = None) -> Any:
        """Give a result its dtype and its framework."""
        output = self.output or (None if reference is None else _owner(reference)) or self.input
        result = self._with_dtype(result, reference, policy or self.policy, output)
        if _any_traced(result):
            return result
        return native.move(result, output, self.said.casting)

    def _with_dtype(self, result: Any, reference: Any, policy: Policy | None, output: str) -> Any:
        image = result[0] if isinstance(result, tuple) and result else result
        if isinstance(image, (tuple, list, dict)) or _owner(image) is None:
            return result
        conversion = policy.conversion if policy is not None else None
        if conversion == "native" or (conversion is None and not self.said.preserves):
            return result
        from .policy import Policy, apply

        known = None if reference is None else reference_of(reference)
        better = apply(image, known, policy or Policy(casting=self.said.casting), output)
        if better is image:
            return result
        return with_image(result, better) if image is not result else better

    # ------------------------------------------------------------ generators and coroutines

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Attempts, Policy | None]:
        """The start of a call that ends later: its attempts, and its dtype policy."""
        policy = self.policy
        if kwargs or self.sliced_default:
            kwargs = dict(kwargs)
            sliced, policy = self.take_controls(kwargs)
            if sliced:
                raise TypeError(f"{self.name}() gives its results one after the other: slice_by_slice is for functions")
        return Attempts(self, args, kwargs), policy

    def finish(self, result: Any, reference: Any, policy: Policy | None) -> Any:
        """One result of such a call."""
        if policy is self.policy and _option("dtype_conversion") in (None, "preserve"):
            return self.native.finish(result, reference)
        self.check(result)
        return self.settle(result, reference, policy)

    # ------------------------------------------------------------ under torch.compile

    def trace(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The whole call, in what torch.compile can follow. The contract is not asked: it may look at values."""
        kwargs = dict(kwargs)
        sliced, policy = self.take_controls(kwargs)
        reference = _first_tensor((*args, *kwargs.values()))
        if sliced:
            from .stacks import process_slices

            result = process_slices(args[0], self.function, args[1:], kwargs)
        else:
            result = self.function(*args, **kwargs)
        if not self.said.preserves and policy is None:
            return result
        image = result[0] if isinstance(result, tuple) and result else result
        torch = sys.modules["torch"]
        if not isinstance(image, torch.Tensor) or (reference is not None and image.dtype is reference.dtype):
            return result
        from .policy import Policy, Reference, apply

        known = None
        if reference is not None:
            known = Reference("torch", str(reference.dtype).rpartition(".")[2], reference.ndim, str(reference.device))
        better = apply(image, known, policy or Policy(casting=self.said.casting), "torch")
        return (better, *result[1:]) if image is not result else better


def _native_of(declaration: Declaration) -> Any:
    return declaration.native


def _first_tensor(values: Any) -> Any:
    torch = sys.modules["torch"]
    for value in values:
        if isinstance(value, torch.Tensor):
            return value
        if isinstance(value, (tuple, list)):
            found = _first_tensor(value)
            if found is not None:
                return found
    return None
