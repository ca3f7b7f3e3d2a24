# SPDX-License-Identifier: MIT
"""Stacks of slices: making them, taking them apart, and working on them slice by slice.

A stack is an array whose last two axes are a slice, and whose axes before those, one or more, say which slice it is:
``[Z, Y, X]``, ``[T, Z, Y, X]``. Slices are counted in C order: the last of the leading axes runs fastest.
"""

from __future__ import annotations

import sys

from ._library import native
from .calls import convert, detect_memory_type
from .framework_slices import HAVE_VIEWS, ROWS, cutter, flat, is_array, rows_any, shape_of, split, stack_into
from .slice_progress import Listener, SlicesCancelled, collected
from .slice_results import Joiner, check_kind, joined, joined_traced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from .calls import Casting
    from .framework_slices import Leading
    from .recovery import Recovery
    from .slice_progress import Progress

__all__ = ["SlicesCancelled", "process_slices", "slice_by_slice", "stack_slices", "unstack_slices"]


# ---------------------------------------------------------------- small questions


def _name(memory_type: object) -> str:
    """The name of a backend, given as that or as an enum member."""
    value = getattr(memory_type, "value", memory_type)
    return value if isinstance(value, str) else ""


def _place(gpu_id: object, device: object) -> dict[str, Any]:
    """The keywords of a conversion. Older code has one place for both: a number is a ``gpu_id``, all else a device."""
    if gpu_id is not None and device is None and not hasattr(gpu_id, "__index__"):
        return {"device": gpu_id}
    place: dict[str, Any] = {}
    if gpu_id is not None:
        place["gpu_id"] = gpu_id
    if device is not None:
        place["device"] = device
    return place


def _cast(dtype: object, casting: str) -> dict[str, Any]:
    cast: dict[str, Any] = {} if dtype is None else {"dtype": dtype}
    return cast if casting == "no" else {**cast, "casting": casting}


def _compiling() -> bool:
    """Whether torch.compile is tracing us: no built-in of ours can be traced."""
    torch = sys.modules.get("torch")
    compiler = getattr(torch, "compiler", None)
    return compiler is not None and bool(compiler.is_compiling())


# ---------------------------------------------------------------- stack, unstack


def stack_slices(
    slices: Iterable[object],
    memory_type: object,
    gpu_id: object = None,
    *,
    device: object = None,
    leading: tuple[int, ...] | None = None,
    slice_ndim: int | None = 2,
    dtype: object = None,
    casting: Casting = "no",
    progress: Progress = None,
) -> Any:
    """Copy slices into one new array.

    Parameters
    ----------
    slices : iterable of arrays, or one array
        All of one shape, ``[Y, X]``, and of any frameworks, also mixed; a list, a tuple, an iterator or generator. One
        array of three or more axes stands for its slices.
    memory_type : str or enum member
        Backend of the result.
    gpu_id, device : optional
        Where to, as in ``convert``. None: where the first slice is, if that is an array of ``memory_type``.
    leading : tuple of int, optional
        Extents of the axes before those of a slice: ``(T, Z)`` makes ``T * Z`` slices a ``[T, Z, Y, X]``. None: one
        axis.
    slice_ndim : int or None
        Axes that each slice must have; None: any number.
    dtype, casting : optional
        As in ``convert``. Slices of several dtypes become the smallest that holds the values of all.
    progress : bool or callable, optional
        True shows a bar on standard error while the slices are read. A callable is called with ``(done, total)``,
        slices, after each; ``total`` is None while it is unknown, and one more call then says it in the end:
        ``(3, None)``, ``(3, 3)``. If it returns True the reading is cancelled.

    Returns
    -------
    array of ``memory_type``, shape ``(*leading, Y, X)``
        A copy in one allocation, aligned to 64 bytes on the host.

    Raises
    ------
    ValueError
        No slices; one that has not ``slice_ndim`` axes; shapes that differ, with the first that does.
    TypeError
        Something that is no array, with its place.
    MemoryConversionError
        The target cannot hold the stack, or a slice cannot be converted.
    SlicesCancelled
        The callback said so.
    """
    keywords = {**_place(gpu_id, device), **_cast(dtype, casting)}
    if not isinstance(slices, (list, tuple)) and is_array(slices):
        return _stack_of_array(slices, memory_type, leading, slice_ndim, keywords)
    read = collected(slices, progress)
    return stack_into(read, _name(memory_type) or memory_type, leading, slice_ndim, keywords)  # type: ignore[arg-type]


def _stack_of_array(
    array: object, memory_type: object, leading: Leading, slice_ndim: int | None, keywords: dict[str, Any]
) -> Any:
    ndim = len(shape_of(array))
    if leading is not None:
        raise ValueError("leading is for a list of slices; an array has its leading axes already")
    if ndim <= (slice_ndim or 0):
        raise ValueError(f"an array of {ndim} axes is no stack of {slice_ndim or 0}D slices")
    return convert(array, memory_type, copy=True, **keywords)


def unstack_slices(
    array: object,
    memory_type: object,
    gpu_id: object = None,
    validate_slices: bool = True,
    *,
    device: object = None,
    slice_ndim: int = 2,
    dtype: object = None,
    casting: Casting = "no",
) -> list[Any]:
    """Take a stack apart into slices of any framework.

    NumPy, CuPy and torch slices are views of one array, TensorFlow's and JAX's as well where each slice begins at a
    multiple of 64 bytes; the array is ``array`` itself if its memory can be shared. pyclesperanto has no views.

    Parameters
    ----------
    array : array of any backend, shape ``(…, Y, X)``
        Any number of leading axes.
    memory_type : str or enum member
        Backend of the slices.
    gpu_id, device, dtype, casting : optional
        As in ``convert``.
    validate_slices : bool
        Without effect: slices have ``slice_ndim`` axes, always. Older code passes it.
    slice_ndim : int
        Axes of a slice.

    Returns
    -------
    list of arrays, shape ``(Y, X)``
        In C order of the leading axes; empty if one of these is.

    Raises
    ------
    ValueError
        ``array`` is no array, or has too few axes.
    MemoryConversionError
        As ``convert``.
    """
    source = detect_memory_type(array)
    shape = shape_of(array)
    leading = len(shape) - slice_ndim
    if leading < 1 or slice_ndim < 0:
        raise ValueError(f"Array must be {slice_ndim + 1}D or more to have {slice_ndim}D slices, got shape {shape}")
    name = _name(memory_type)
    keywords = {**_place(gpu_id, device), **_cast(dtype, casting)}
    if name in HAVE_VIEWS or (name == source and not keywords):
        return list(split(convert(array, memory_type, **keywords), name, leading, slice_ndim))
    pieces: list[Any] | None = native.unstack(array, memory_type, slice_ndim, **keywords)
    if pieces is not None:
        return pieces
    return flat(convert(array, memory_type, **keywords), ROWS.get(name, rows_any), leading)


# ---------------------------------------------------------------- working slice by slice


_HALVE = object()  # what a call gives when its piece must be made smaller


def _on_host(piece: object) -> Any:
    """A piece where the accelerator's memory no longer matters: on the host in its framework, else in NumPy."""
    from .errors import MemoryConversionError

    try:
        return convert(piece, detect_memory_type(piece), device="cpu")
    except MemoryConversionError:
        return convert(piece, "numpy")


def _last_on_host(call: Callable[[Any], Any], piece: Any, recovery: Recovery, before: Exception) -> Any:
    """The last attempt. Where a framework has no arrays on the host, the failure ``before`` is what matters."""
    from .errors import MemoryConversionError
    from .recovery import is_out_of_memory, note_no_host

    try:
        return call(_on_host(piece))
    except Exception as error:
        recovery.decide(error, (piece,))
        if not isinstance(error, MemoryConversionError) or is_out_of_memory(error):
            raise
        note_no_host(before, error)
    recovery.decide(before)
    raise before


def _split_recovering(image: Any, name: str, leading: int, slice_ndim: int, engine: Recovery | None) -> Iterable[Any]:
    """The slices; most frameworks make them all at once, and some of them by copying."""
    while True:
        try:
            return split(image, name, leading, slice_ndim)
        except Exception as error:
            if engine is None or engine.decide(error, (image,)) == "raise":
                raise
        if engine.on_host:
            image = _on_host(image)
            name = detect_memory_type(image)


def _recovering(
    call: Callable[[Any], Any],
    recovery: Recovery,
    cut: Callable[[Any], Any] | None,
    image: Any = None,
    batched: bool = False,
) -> Any:
    """``call`` with recovery; ``cut`` makes a piece of ``image`` where it is told, and is tried again with it.

    ``batched``: a piece that can be made smaller.
    """

    def attempt(given: Any) -> Any:
        while True:
            try:
                piece = given if cut is None else cut(given)
                return call(_on_host(piece) if recovery.on_host else piece)
            except Exception as error:
                piece = None  # what was cut is given up, too
                action = recovery.decide(error, (given if cut is None else image,))
                if action == "raise":
                    raise
                if action == "host":
                    return _last_on_host(call, given if cut is None else cut(given), recovery, error)
            # Here and not above: inside the except block the exception holds what was to be freed.
            if action == "halve" and batched:
                return _HALVE

    return attempt


def _joined_recovering(results: list[Any], join: Joiner, engine: Recovery | None) -> Any:
    """The results are there: what runs out of memory now is their stack, which can always be tried again."""
    while True:
        try:
            return joined(results, join)
        except Exception as error:
            if engine is None or engine.decide(error) == "raise":
                raise
            join.on_host = engine.on_host


def _recovery(recovery: Recovery | bool | None, slices: int | None) -> Recovery | None:
    if recovery is None or recovery is False:
        return None
    if recovery is True:
        from .recovery import Recovery

        return Recovery(slices=slices)
    return recovery


def _bound(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> Callable[[Any], Any]:
    if not args and not kwargs:
        return func
    named = dict(kwargs or {})
    return lambda piece: func(piece, *args, **named)


def _each(pieces: Iterable[Any], call: Callable[[Any], Any], listener: Listener) -> list[Any]:
    results: list[Any] = []
    kind: Any = None
    arity = -1
    for piece in pieces:
        result = call(piece)
        if type(result) is not kind or (arity >= 0 and len(result) != arity):
            check_kind(result, results[0] if results else result, len(results))
            kind, arity = type(result), len(result) if isinstance(result, tuple) else -1
        results.append(result)
        if listener.listens:
            listener(len(results))
    return results


def _batches(
    total: int, call: Callable[[slice], Any], batch: int, recovery: Recovery | None, listener: Listener
) -> tuple[list[Any], list[int]]:
    """Results of ``call`` for parts of the first axis, and how many slices each part had."""
    results: list[Any] = []
    sizes: list[int] = []
    done = 0
    while done < total:
        size = min(batch, total - done, (recovery.batch if recovery else 0) or batch)
        result = call(slice(done, done + size))
        if result is _HALVE:
            continue
        check_kind(result, results[0] if results else result, len(results))
        results.append(result)
        sizes.append(size)
        done += size
        if listener.listens:
            listener(done)
    return results, sizes


def _empty_result(image: Any, name: str, output: str) -> Any:
    """No slices: nothing says what the function would have made of them, so the empty image itself."""
    return convert(image, output) if output and output != name else image


def process_slices(
    image: Any,
    func: Callable[..., Any],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    gpu_id: object = None,
    *,
    device: object = None,
    slice_ndim: int = 2,
    output_type: object = None,
    batch: int | None = None,
    progress: Progress = None,
    recovery: Recovery | bool | None = None,
) -> Any:
    """Call ``func(slice, *args, **kwargs)`` for each slice of an image and stack what it gives.

    Parameters
    ----------
    image : array of any backend, shape ``(…, Y, X)``
        Any number of leading axes; without one ``func`` is called once, with the image.
    func : callable
        Given slices of the image's framework, views where that has views. It gives, always of one kind:

        ===================== =========================================================================
        array, any shape      stacked: shape ``(…, *shape)``, in the framework of the first one
        tuple, namedtuple     element 0 as it would be alone, of each other element a list; type kept
        dict                  each value as it would be alone
        None                  None
        anything else         a list (NumPy scalars, numbers, strings, lists)
        ===================== =========================================================================

        Lists are in C order of the leading axes. Each array must be a new one, as for ``numpy.stack``.
    args, kwargs : optional
        Further arguments, the same for each slice.
    gpu_id, device : optional
        Where to bring the image first, in its own framework. None: it stays.
    slice_ndim : int
        Axes of a slice.
    output_type : str or enum member, optional
        Framework of stacked results. None: that of the first one.
    batch : int, optional
        ``func`` takes and gives stacks: it is called with up to ``batch`` slices at a time, along the first axis. They
        are cut with ``image[first:last]``; of a framework whose arrays have none each batch is a copy.
    progress : bool or callable, optional
        True shows a bar on standard error. A callable is called with ``(done, total)``, slices, after each. If it
        returns True (exactly: beware of returning what a bar's ``update()`` gives) the work is cancelled there.
    recovery : Recovery or bool, optional
        After out-of-memory ``func`` is called again as the Recovery says: with ``batch`` for fewer slices at a time, at
        last on the host if that is allowed. True: one with its defaults.

    Returns
    -------
    array, tuple, dict, list or None
        See ``func``. Of an image without slices: the empty image, since ``func`` was never asked.

    Raises
    ------
    TypeError
        Results of several kinds.
    MemoryConversionError
        ``image`` cannot be taken apart, or a result cannot be stacked: a masked array, whose mask would be lost.
    ValueError
        ``image`` is no array or has too few axes; tuples of different lengths; results of different shapes.
    SlicesCancelled
        The callback said so.
    Whatever ``func`` raises, as it is.
    """
    if _compiling():
        return _process_traced(image, func, args, kwargs, slice_ndim, batch)
    name = detect_memory_type(image)
    place = _place(gpu_id, device)
    if place:
        image = convert(image, name, **place)
    shape = shape_of(image)
    if len(shape) < slice_ndim or slice_ndim < 0:
        raise ValueError(f"Array must be {slice_ndim}D or more, got shape {shape}")
    leading = shape[: len(shape) - slice_ndim]
    if not leading:
        return func(image, *args, **(kwargs or {}))
    output = _name(output_type)
    if 0 in leading:
        return _empty_result(image, name, output)
    if batch is not None and batch < 1:
        raise ValueError(f"batch must be 1 or more, not {batch}")
    return _process(image, name, _bound(func, args, kwargs), leading, slice_ndim, output, batch, progress, recovery)


def _process(
    image: Any,
    name: str,
    call: Callable[[Any], Any],
    leading: tuple[int, ...],
    slice_ndim: int,
    output: str,
    batch: int | None,
    progress: Progress,
    recovery: Recovery | bool | None,
) -> Any:
    join = Joiner(output, leading)
    engine = _recovery(recovery, batch and min(batch, leading[0]))
    if engine is not None and batch is not None:
        engine.in_slices(min(batch, leading[0]))
    total = leading[0]
    for extent in leading[1:] if batch is None else ():
        total *= extent
    with Listener(progress, total) as listener:
        if batch is None:
            # Copies are made one at a time: memory may run out at each of them.
            copies = engine is not None and name == "pyclesperanto"
            each = call if engine is None else _recovering(call, engine, image.__getitem__ if copies else None, image)
            pieces = range(total) if copies else _split_recovering(image, name, len(leading), slice_ndim, engine)
            results = _each(pieces, each, listener)
        else:
            cut = cutter(image, name)
            part = _recovering(call, engine, cut, image, True) if engine is not None else lambda at: call(cut(at))
            results, join.sizes = _batches(leading[0], part, batch, engine, listener)
    return _joined_recovering(results, join, engine)


def _process_traced(
    image: Any, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any] | None, slice_ndim: int,
    batch: int | None,
) -> Any:  # fmt: skip
    """What torch.compile can follow: torch alone, and results as joined() has them."""
    torch = sys.modules["torch"]
    shape = tuple(image.shape)
    leading = shape[: len(shape) - slice_ndim]
    if not leading:
        return func(image, *args, **(kwargs or {}))
    if 0 in leading:
        return image
    if batch is not None:
        return joined_traced([func(part, *args, **(kwargs or {})) for part in image.split(batch)], torch.cat)
    pieces = image.reshape(-1, *shape[len(leading) :]).unbind(0)
    results = [func(piece, *args, **(kwargs or {})) for piece in pieces]
    return joined_traced(results, lambda values: torch.stack(values).reshape(*leading, *values[0].shape))


def slice_by_slice(
    func: Callable[..., Any] | None = None,
    *,
    slice_ndim: int = 2,
    output_type: object = None,
    batch: int | None = None,
    progress: Progress = None,
    recovery: bool = False,
) -> Callable[..., Any]:
    """Make a function of one slice a function of stacks: its first array may have any leading axes.

    Use it as a decorator, with or without keywords, or on a function of somebody else's: a function, a method, a class
    or static method. The array is the first argument that is one, in the order of the parameters; ``self`` and ``cls``
    never are. What stands beside it is given to each call as it is. The keywords are those of ``process_slices``, which
    does the work.

    Examples
    --------
    >>> blur = arraybridge.slice_by_slice(skimage.filters.gaussian)
    >>> blurred = blur(stack, sigma=2)                    # [Z, Y, X], or [T, Z, Y, X]
    """
    keywords: dict[str, Any] = {
        "slice_ndim": slice_ndim, "output_type": output_type, "batch": batch, "progress": progress,
        "recovery": recovery,
    }  # fmt: skip
    if func is None:
        return lambda wrapped: slice_by_slice(wrapped, **keywords)
    if isinstance(func, (classmethod, staticmethod)):
        return type(func)(slice_by_slice(func.__func__, **keywords))
    if not callable(func):
        raise TypeError(f"slice_by_slice takes a function, not {func!r}")
    from functools import wraps

    from .parameters import shape_of as parameters_of

    known, shape = func, parameters_of(func)
    names, first = shape.parameters, int(shape.bound)  # not the shape: torch.compile cannot follow a signature

    @wraps(known)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        image, call = _image_and_call(known, names, first, args, kwargs)
        try:
            return process_slices(image, call, **keywords)
        except Exception as error:
            from .recovery import note_out_of_memory

            note_out_of_memory(error)
            raise

    return wrapper


def _is_tensor(value: object) -> bool:
    return isinstance(value, sys.modules["torch"].Tensor)


def _but_for_place(
    func: Callable[..., Any], place: int, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Callable[[Any], Any]:
    before, after = args[:place], args[place + 1 :]
    return lambda piece: func(*before, piece, *after, **kwargs)


def _but_for_name(
    func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Callable[[Any], Any]:
    others = {key: value for key, value in kwargs.items() if key != name}
    return lambda piece: func(*args, **others, **{name: piece})


def _image_and_call(
    func: Callable[..., Any], names: tuple[str, ...], first: int, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, Callable[[Any], Any]]:
    """The first array of a call from place ``first`` on, and the function with all but that."""
    wanted = _is_tensor if _compiling() else is_array
    if len(args) == 1 and not kwargs and not first and wanted(args[0]):
        return args[0], func
    for place in range(first, len(args)):
        if wanted(args[place]):
            return args[place], _but_for_place(func, place, args, kwargs)
    for name in (*names, *kwargs):  # in the order of the parameters, then what only **kwargs takes
        if name in kwargs and wanted(kwargs[name]):
            return kwargs[name], _but_for_name(func, name, args, kwargs)
    whose = f"{getattr(func, '__name__', 'the function')}()"
    if len(args) <= first and not any(name in kwargs for name in names[first : first + 1]):
        raise TypeError(f"{whose} is missing its first argument, the image")
    raise ValueError(f"{whose} is given no array, so there is nothing to take apart into slices")
