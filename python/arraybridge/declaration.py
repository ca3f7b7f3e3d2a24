# SPDX-License-Identifier: MIT
"""What a decorator has been told about its function, checked once; and what a call does that is out of the ordinary.

Ordinary calls are made by the native module (``native.declaration``), which comes back here for what is rare: keywords
of the call, results of another dtype or framework, failures, slices.
"""

from __future__ import annotations

import sys
from collections import OrderedDict

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
_METHOD = 1 << 11
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


def _is_payload(value: object) -> bool:
    """Whether it is a container of the older API; there are none before its module was imported."""
    module = sys.modules.get(f"{__package__}.array_payload")
    return module is not None and isinstance(value, module.ArrayPayload)


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
    met: dict[int, Any] = {}  # containers may hold each other
    pending = [value]
    while pending:
        one = pending.pop()
        if not isinstance(one, (tuple, list, dict)):
            if is_traced(one):
                return True
        elif id(one) not in met:
            met[id(one)] = one
            pending.extend(dict.values(one) if isinstance(one, dict) else one)
    return False


def reference_of(array: object) -> Reference | None:
    """What the dtype policy wants to know of the reference array; None if it cannot be told (an array given away)."""
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
    """A container of the same type, with what else it holds, and other items.

    The methods of the type are not asked where that can be avoided: ``update`` adds in a Counter, and raises in
    containers that are not to be changed.
    """
    if isinstance(container, tuple):
        return _rebuilt_tuple(container, items)
    made = _copied(container)
    if isinstance(container, list):
        list.__setitem__(made, slice(None), items)
        return made
    kind = OrderedDict if isinstance(container, OrderedDict) else dict
    attributes = getattr(made, "__dict__", {})
    for key, item in items.items():
        kind.__setitem__(made, key, item)
        if isinstance(key, str) and key in attributes and attributes[key] is dict.get(container, key):
            attributes[key] = item  # transformers.ModelOutput, and whoever else shows its items as attributes
    return made


def _rebuilt_tuple(container: Any, items: Any) -> Any:
    kind = type(container)
    try:
        made = tuple.__new__(kind, items)  # as namedtuples do it
    except TypeError:  # those made in C are not made like that: torch.return_types.max
        return kind(items)
    attributes = getattr(container, "__dict__", None)
    if attributes:
        vars(made).update(attributes)
    return made


def _copied(container: Any) -> Any:
    """A shallow copy, even of what cannot be changed and so not be filled."""
    from copy import copy

    try:
        made = copy(container)
        if made is not container and type(made) is type(container):
            return made
    except Exception:
        pass
    kind = type(container)
    made = list.__new__(kind) if isinstance(container, list) else dict.__new__(kind)
    vars(made).update(getattr(container, "__dict__", {}))
    return made


_told: set[tuple[str, str, str]] = set()


def _tell_cast(array: object, result: object, overflowed: int) -> None:
    """Say once for each pair of dtypes that the target lacks the first one; and each time that numbers are lost."""
    from .policy import size_of, tell_lack, warn_caller

    before, after = native.describe(array), native.describe(result)
    key = (before.dtype, after.dtype, after.backend)
    if overflowed:
        warn_caller(
            f"{key[2]} has no {key[0]}: {overflowed} of {size_of(array)} values are finite but too large for {key[1]}, "
            'and infinite now (casting="no" makes this an error)'
        )
    elif key not in _told:
        _told.add(key)
        tell_lack(*key)


def _unfit(problem: Any, array: object, dtype: str, count: int) -> Exception:
    """The error for integers that the target's nearest dtype does not have. ``problem`` names the first."""
    from .policy import size_of

    target, have = problem.target_type, native.describe(array).dtype
    first = problem.reason.partition(" does not exist ")[0]
    beyond = f"{count} of {size_of(array)} values do not fit {dtype}: the first is {first}"
    hint = (
        f'decorate the function for a framework that has {have}, and let results go to one (output_type="numpy"); or '
        f'bring the values into {dtype} first: arraybridge.scale(x, "{dtype}") saturates them'
    )
    reason = f"{target} has no {have}, and {beyond}"
    return native_errors()(problem.source_type, target, problem.method, reason, hint, problem.status)


def _has_numbers(array: object) -> bool:
    """False for NumPy's arrays of text, objects, dates and records."""
    dtype = getattr(array, "dtype", None)
    kind = getattr(dtype, "kind", "f")
    return kind not in "OSUTMm" and getattr(dtype, "names", None) is None


def _prefers_accelerator() -> bool:
    return _option("prefer_accelerator") is True


def _owns(function: Any, value: object) -> bool:
    """Whether a function, or what it was wrapped in, is a method of the value's class."""
    for kind in type(value).__mro__:
        held = vars(kind).get(getattr(function, "__name__", ""))
        while held is not None and not isinstance(held, staticmethod):
            if held is function:
                return True
            held = getattr(held, "__wrapped__", None) or getattr(held, "fget", None)
    return False


def _leaves(error: Exception) -> None:
    from .recovery import note_out_of_memory

    note_out_of_memory(error)


native.connect({
    "rebuild": _rebuild, "cast": _tell_cast, "numbers": _has_numbers, "prefers": _prefers_accelerator,
    "leaves": _leaves, "owns": _owns, "unfit": _unfit,
})  # fmt: skip


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
        if self.shape.in_class:
            flags |= _METHOD
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
            self.input, self.output, places, flags, said.casting, said.stream,
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
        asked = "slice_by_slice" in kwargs
        kwargs = dict(kwargs)
        sliced, policy = self.take_controls(kwargs)
        if sliced and self._has_slices(args, kwargs, asked):
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

    def note(self, error: Exception, why: str = "") -> None:
        """Have an error after which the function does not run again say who holds what, if it is out-of-memory."""
        from .recovery import RUNS_ONCE, note_out_of_memory

        if not self.said.oom_recovery:
            why = why or "it runs once, without recovery"
        note_out_of_memory(error, why or ("" if self.said.idempotent else RUNS_ONCE))

    def on_host(self) -> Any:
        """The native declaration of a last attempt, on the host."""
        return self._make(_MOVES_ALL | (_RECOVERS if self.recovers else 0), None, "cpu")

    def watch(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Remember what the inputs are, if the options say so and the author has not said that they change."""
        if not self.said.idempotent or _option("check_inputs") is not True:
            return None
        return watch_of(self, args, kwargs)

    # ------------------------------------------------------------ slices

    def _image_name(self) -> str:
        names = self.shape.parameters
        at = 1 if self.shape.bound else 0
        return names[at] if len(names) > at else ""

    def _image(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        at = 1 if self.shape.bound else 0
        return args[at] if len(args) > at else kwargs.get(self._image_name())

    def _has_slices(self, args: tuple[Any, ...], kwargs: dict[str, Any], asked: bool) -> bool:
        image = self._image(args, kwargs)
        ndim = getattr(image, "ndim", None)
        if ndim is None and asked and not hasattr(image, "shape"):
            first = self._image_name()
            raise TypeError(
                f"slice_by_slice takes the first argument apart, and {self.name}() has {type(image).__name__} there"
                f"{f' ({first})' if first else ''}: put the image first"
            )
        return ndim is not None and ndim > 2

    def _with_image(self, args: tuple[Any, ...], kwargs: dict[str, Any], image: Any) -> Arguments:
        """The arguments with another image, in the place or by the name where it was."""
        at = 1 if self.shape.bound else 0
        if len(args) > at:
            return (*args[:at], image, *args[at + 1 :]), kwargs
        return args, {**kwargs, self._image_name(): image}

    def _run_slices(self, args: tuple[Any, ...], kwargs: dict[str, Any], policy: Policy | None) -> Any:
        """The first argument slice by slice; all others are converted once."""
        from .stacks import process_slices

        image = self._image(args, kwargs)
        others = Attempts(self, *self._with_image(args, kwargs, None))
        convert = self.said.convert
        goes = convert is True or self._image_name() in chosen_of(convert, self.shape, self.name)[1]

        def one(piece: Any) -> Any:
            others.begin()
            taken, named = self._with_image(others.taken, others.named, others.take(piece, goes))
            try:
                result = self.function(*taken, **named)
            except Exception:
                others.note_place(taken, named)
                raise
            self.check(result)
            return result

        try:
            result = process_slices(
                image, one, output_type=None, batch=self.said.batch, progress=self.said.progress, recovery=others.engine
            )
        except Exception as error:
            self.note(error)
            raise
        leading = 1 if self.said.batch is not None else len(image.shape) - 2
        return self.settle(result, image, policy, leading)

    # ------------------------------------------------------------ results

    def settle(self, result: Any, reference: Any, policy: Policy | None = None, leading: int = 0) -> Any:
        """Give a result its dtype and its framework. ``leading``: axes along which results of slices were stacked."""
        output = self.output or (None if reference is None else _owner(reference)) or self.input
        image = result[0] if isinstance(result, tuple) and result else result
        if _is_payload(image):
            better = image.map_array_payload(lambda data: self.settle(data, reference, policy, leading))
            result = with_image(result, better) if image is not result else better
        result = self._with_dtype(result, reference, policy or self.policy, output, leading)
        if _any_traced(result):
            return result
        return native.move(result, output, self.said.casting)

    def _with_dtype(self, result: Any, reference: Any, policy: Policy | None, output: str, leading: int) -> Any:
        image = result[0] if isinstance(result, tuple) and result else result
        if isinstance(image, (tuple, list, dict)) or _owner(image) is None:
            return result
        conversion = policy.conversion if policy is not None else None
        if conversion == "native" or (conversion is None and not self.said.preserves):
            return result
        from .policy import Policy, apply

        known = None if reference is None else reference_of(reference)
        better = apply(image, known, policy or Policy(casting=self.said.casting), output, leading)
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
                raise not_in_slices(self)
        return Attempts(self, args, kwargs), policy

    def finish(self, result: Any, reference: Any, policy: Policy | None) -> Any:
        """One result of such a call."""
        try:
            if policy is self.policy and _option("dtype_conversion") in (None, "preserve"):
                return self.native.finish(result, reference)
            self.check(result)
            return self.settle(result, reference, policy)
        except Exception as error:
            self.note(error)
            raise

    # ------------------------------------------------------------ under torch.compile

    def trace(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The whole call, in what torch.compile can follow. The contract is not asked: it may look at values."""
        asked = "slice_by_slice" in kwargs
        kwargs = dict(kwargs)
        sliced, policy = self.take_controls(kwargs)
        reference = _first_tensor(self._in_order(args, kwargs))
        leading = 0
        if sliced and self._has_slices(args, kwargs, asked):
            reference = self._image(args, kwargs)
            leading = 1 if self.said.batch is not None else reference.ndim - 2
            result = self._trace_slices(args, kwargs)
        else:
            result = self.function(*args, **kwargs)
        if not self.said.preserves and policy is None:
            return result
        image = result[0] if isinstance(result, tuple) and result else result
        torch = sys.modules["torch"]
        if not isinstance(image, torch.Tensor):
            return result
        from .policy import Policy, Reference, apply

        known = None
        if reference is not None:
            known = Reference("torch", str(reference.dtype).rpartition(".")[2], reference.ndim, str(reference.device))
        better = apply(image, known, policy or Policy(casting=self.said.casting), "torch", leading)
        if better is image:
            return result
        return with_image(result, better) if image is not result else better

    def _trace_slices(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        from .stacks import process_slices

        def one(piece: Any) -> Any:
            taken, named = self._with_image(args, kwargs, piece)
            return self.function(*taken, **named)

        return process_slices(self._image(args, kwargs), one, batch=self.said.batch)

    def _in_order(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """The arguments in the order of the signature, without ``self``; then what only ``**kwargs`` takes."""
        names = self.shape.parameters
        ordered = [kwargs[name] for name in names if name in kwargs]
        others = [value for name, value in kwargs.items() if name not in names]
        return [*args[1 if self.shape.bound else 0 :], *ordered, *others]


def not_in_slices(declaration: Declaration) -> TypeError:
    """Why a generator or a coroutine cannot be called for each slice."""
    from inspect import iscoroutinefunction

    function = declaration.function
    awaited = iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__)
    why = "has to be awaited" if awaited else "gives its results one after the other"
    return TypeError(
        f"{declaration.name}() {why}: slice_by_slice is for plain functions; call it yourself for each of "
        "arraybridge.unstack_slices(image, ...), or decorate the plain function that works on one slice"
    )


def _native_of(declaration: Declaration) -> Any:
    return declaration.native


def _first_tensor(values: Any) -> Any:
    """The first one, of no dimensions only if there is no other."""
    torch = sys.modules["torch"]
    found = None
    for value in values:
        one = value if isinstance(value, torch.Tensor) else None
        if isinstance(value, (tuple, list)):
            one = _first_tensor(value)
        elif isinstance(value, dict):
            one = _first_tensor(value.values())
        if one is not None and one.ndim > 0:
            return one
        found = one if found is None else found
    return found
