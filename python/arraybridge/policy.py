# SPDX-License-Identifier: MIT
"""Which dtype a result gets: what the call, the author and the options ask for, and what the result and the input are.

Values are changed elsewhere: on the host in C, on devices, under tracing and with a gradient by ``framework_cast``.
"""

from __future__ import annotations

import os
import sys
from enum import Enum
from functools import cache
from math import isnan, prod
from typing import NamedTuple

from . import framework_cast
from ._library import native
from .errors import MemoryConversionError
from .framework_cast import DTYPES, integer_range

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

SCALINGS = ("clip", "unit", "exact", "minmax", "wrap")
CASTINGS = ("no", "equiv", "safe", "same_kind", "unsafe")
_WORDS = ("preserve", "native")


class DtypeWarning(UserWarning):
    """Values or dtypes differ from what one may expect.

    Values lie beyond the range or are too large for a smaller float, integers are not stretched, a framework lacks the
    dtype.
    """


class DtypeConversion(Enum):
    """Which dtype a decorated function's result gets."""

    PRESERVE_INPUT = "preserve"
    NATIVE_OUTPUT = "native"
    UINT8 = "uint8"
    UINT16 = "uint16"
    INT16 = "int16"
    INT32 = "int32"
    FLOAT32 = "float32"
    FLOAT64 = "float64"

    @property
    def numpy_dtype(self) -> Any:
        """NumPy's scalar type of that name; None for ``PRESERVE_INPUT`` and ``NATIVE_OUTPUT``. Imports NumPy."""
        if self.value in _WORDS:
            return None
        import numpy

        return getattr(numpy, self.value)


class Reference(NamedTuple):
    """The first array in signature order, as it came in: what ``"preserve"`` looks at.

    One of no dimensions, a number in a box, only if there is no other.
    """

    backend: str
    dtype: str
    ndim: int
    device: str = ""


class Policy(NamedTuple):
    """What becomes of a result's dtype. A field that is None is left to whoever is asked next.

    The call is asked first, then the decorator, then the context's options, then the process's.

    Attributes
    ----------
    conversion : str or None
        ``"preserve"``, ``"native"`` or the name of a dtype.
    scaling : str or None
        How real numbers become integers; None: ``"clip"``, and probabilities are refused.
    nan : float or None
        What stands in an integer result in place of NaN; None: NaN is an error.
    labels : bool or None
        Integer results are labels: their dtype stays.
    casting : str or None
        What may happen to a dtype that the framework of the result lacks.
    """

    conversion: str | None = None
    scaling: str | None = None
    nan: float | None = None
    labels: bool | None = None
    casting: str | None = None

    def over(self, other: Policy) -> Policy:
        """This policy, with what it leaves open from ``other``."""
        return Policy(
            other.conversion if self.conversion is None else self.conversion,
            other.scaling if self.scaling is None else self.scaling,
            other.nan if self.nan is None else self.nan,
            other.labels if self.labels is None else self.labels,
            other.casting if self.casting is None else self.casting,
        )


# ---------------------------------------------------------------- reading what somebody has said


def dtype_name(value: object) -> str | None:
    """The name of a dtype of any library, importing none; None if it is no dtype that can be computed with."""
    if isinstance(value, Enum):
        value = value.value
    name = value
    if not isinstance(name, str):
        name = getattr(value, "name", None) or getattr(value, "__name__", None) or str(value)
    name = str(name).rpartition(".")[2]  # "torch.float32"
    name = {"float": "float64", "int": "int64", "complex": "complex128", "bool_": "bool"}.get(name, name)
    return name if name in DTYPES else None


def read_conversion(value: object) -> str:
    """``"preserve"``, ``"native"`` or the name of a dtype."""
    word = value.value if isinstance(value, Enum) else value
    if isinstance(word, str) and word in _WORDS:
        return word
    name = dtype_name(word)
    if name is None:
        raise ValueError(
            f'dtype_conversion must be "preserve", "native" or a dtype that can be computed with, not {value!r}; '
            f"there are {', '.join(DTYPES)}"
        )
    return name


def _of_config(config: object) -> object:
    if isinstance(config, (str, Enum, Policy)):
        return config
    conversion = getattr(config, "default_dtype_conversion", None)
    if conversion is None:
        raise TypeError(
            "dtype_config must have a default_dtype_conversion, such as DtypeConversion.PRESERVE_INPUT; "
            f"{type(config).__name__} has none"
        )
    return conversion


def read_scaling(value: object) -> str:
    """One of SCALINGS."""
    if isinstance(value, str) and value in SCALINGS:
        return value
    raise ValueError(f"scaling must be one of {', '.join(map(repr, SCALINGS))}, not {value!r}")


def read_nan(value: object) -> float:
    """A number that can stand in place of NaN."""
    wrong = isinstance(value, bool) or not (hasattr(value, "__index__") or hasattr(value, "__float__"))
    if wrong or isinstance(value, str):
        raise TypeError(f"nan must be the number that stands in place of NaN, such as nan=0, not {value!r}")
    number: int | float = value.__index__() if hasattr(value, "__index__") else float(value)  # type: ignore[arg-type]
    if isinstance(number, int) and not _is_float(number):
        raise ValueError(f"nan must be a number that float64 has, as it travels as one; {value!r} is none")
    if isnan(number) or number in (float("inf"), float("-inf")):
        raise ValueError(f"nan must be a number that integers have, such as nan=0, not {value!r}")
    return number


def _is_float(number: int) -> bool:
    try:
        return int(float(number)) == number
    except OverflowError:
        return False


def read_labels(value: object) -> bool:
    """True or False."""
    if isinstance(value, bool):
        return value
    raise TypeError(f"labels must be True (integer results are labels, their dtype stays) or False, not {value!r}")


def read_casting(value: object) -> str:
    """One of CASTINGS."""
    if isinstance(value, str) and value in CASTINGS:
        return value
    raise ValueError(f"casting must be one of {', '.join(map(repr, CASTINGS))}, not {value!r}")


def check_together(policy: Policy) -> None:
    """Refuse what cannot be, whatever the image. ``ValueError``."""
    goal = policy.conversion
    if goal is None or goal in _WORDS:
        return
    if goal == "bool" and policy.scaling in ("unit", "minmax"):
        raise ValueError(f'scaling="{policy.scaling}" has no range to fill in bool; scaling="clip" means "is not zero"')
    if policy.nan is None or DTYPES[goal][0] not in "bui":
        return
    low, high = integer_range(goal)
    if policy.nan != int(policy.nan) or not low <= policy.nan <= high:
        raise ValueError(f"nan={policy.nan!r} is no value of {goal}: pass a whole number from {low} to {high}")


def read_policy(
    dtype_conversion: object = None,
    dtype_config: object = None,
    scaling: str | None = None,
    nan: float | None = None,
    labels: bool | None = None,
    casting: str | None = None,
) -> Policy:
    """Check what a caller or an author has said of dtypes.

    Parameters
    ----------
    dtype_conversion : DtypeConversion, str, dtype of any library, or what ``dtype_policy()`` gives; optional
        What is not a policy decides before ``dtype_config``.
    dtype_config : object with ``default_dtype_conversion``, or any of the above, optional
        The spelling of arraybridge 0.2.10 and later.
    scaling, nan, labels, casting : optional
        The fields of a policy.

    Returns
    -------
    Policy
        With None for what was not said.

    Raises
    ------
    TypeError, ValueError
        With the names that would work.
    """
    said = dtype_conversion
    if said is None and dtype_config is not None:
        said = _of_config(dtype_config)
    whole = said if isinstance(said, Policy) else Policy(None if said is None else read_conversion(said))
    policy = Policy(
        None,
        None if scaling is None else read_scaling(scaling),
        None if nan is None else read_nan(nan),
        None if labels is None else read_labels(labels),
        None if casting is None else read_casting(casting),
    ).over(whole)
    check_together(policy)
    return policy


def dtype_policy(
    conversion: object = "preserve",
    scaling: str | None = None,
    nan: float | None = None,
    labels: bool = False,
) -> Policy:
    """All that is to become of a result's dtype, in one object, for ``dtype_conversion=`` of a call or a decorator.

    Parameters
    ----------
    conversion : DtypeConversion, str or dtype of any library
        ``"preserve"``: the dtype of the first array argument (of one without dimensions only if there is no other);
        ``"native"``: whatever the function gives; or a dtype.
    scaling : {"clip", "unit", "exact", "minmax", "wrap"}, optional
        How real numbers become integers. None: ``"clip"``, but what saturates is told of, and an image that this would
        round to 0 and 1 is refused.
    nan : number, optional
        What stands in an integer result in place of NaN. None: NaN is an error that says where the first one is.
    labels : bool
        Integer results are labels: their dtype stays, and none of them may change.

    Examples
    --------
    >>> blurred = blur(image, dtype_conversion=dtype_policy("uint8", scaling="unit"))
    """
    return read_policy(conversion, None, scaling, nan, labels)


# ---------------------------------------------------------------- which dtype


class Known(NamedTuple):
    """A result, as far as its dtype's fate depends on it."""

    backend: str
    dtype: str
    ndim: int
    traced: bool
    on_host: bool
    gradient: bool


def _compiling() -> bool:
    torch = sys.modules.get("torch")
    compiler = getattr(torch, "compiler", None)
    return compiler is not None and bool(compiler.is_dynamo_compiling())


_MANY_AXES = 64


def _traced_ndim(shape: Any) -> int | None:
    """How many axes; many where TensorFlow does not know yet: what has few says so, so this is taken for an image."""
    if hasattr(shape, "rank"):
        return _MANY_AXES if shape.rank is None else int(shape.rank)
    return len(shape) if hasattr(shape, "__len__") else None


def _traced(backend: str, result: Any) -> Known | None:
    dtype = dtype_name(getattr(result, "dtype", None))
    ndim = _traced_ndim(getattr(result, "shape", None))
    if dtype is None or ndim is None or not framework_cast.covers(backend):
        return None
    return Known(backend, dtype, ndim, True, False, False)


def look_at(result: Any) -> Known | None:
    """Describe an array or a traced value; None: it is no array, or none whose dtype can be changed."""
    if _compiling():  # torch.compile follows no built-in of ours
        return _traced("torch", result)
    try:
        known = native.describe(result)
    except ValueError:
        return None
    if known.dtype not in DTYPES:
        return None if known.dtype else _traced(known.backend, result)
    return Known(known.backend, known.dtype, len(known.shape), False, known.host_accessible, known.gradient)


def _preserved(have: str, reference: Reference, labels: bool) -> str:
    """What a result of dtype ``have`` becomes under ``"preserve"``. DESIGN §5 has the table."""
    want = reference.dtype
    kind, result = DTYPES[want][0], DTYPES[have][0]
    if result == "c":
        return want if kind == "c" else "complex"
    if kind in "ui":
        return have if labels and result in "ui" else want
    if kind == "f":
        return want if result in "fb" else have
    return have  # a bool input says nothing of images; nor does a complex one of real results


def _goal(known: Known, reference: Reference | None, policy: Policy, leading: int) -> str:
    """The dtype that the result gets: ``known.dtype`` if it stays as it is."""
    have = known.dtype
    ndim = known.ndim - leading
    if ndim <= 0 or policy.conversion == "native":
        return have
    if policy.conversion != "preserve":
        goal = str(policy.conversion)
        return "complex" if DTYPES[have][0] == "c" != DTYPES[goal][0] else goal
    if reference is None or reference.dtype not in DTYPES or (ndim == 1 and reference.ndim - leading >= 2):
        return have
    return _preserved(have, reference, policy.labels is True)


@cache
def _held_by(backend: str, dtype: str, casting: Any) -> str:
    """The nearest dtype that a framework has and the casting rule allows. It is the planner that knows."""
    try:
        import numpy

        plan = native.plan(numpy.zeros(1, dtype), backend, casting=casting)
    except (ImportError, TypeError, MemoryConversionError):
        return dtype
    return str(plan.target_dtype or dtype) if plan.possible else dtype


# ---------------------------------------------------------------- refusing and warning


def _refuse(known: Known, reason: str, hint: str) -> NoReturn:
    raise MemoryConversionError(known.backend, "", "dtype_conversion", reason, hint, "WOULD_CAST")


def _refuse_complex(known: Known, reference: Reference | None, policy: Policy) -> NoReturn:
    wanted = policy.conversion if policy.conversion != "preserve" or reference is None else reference.dtype
    _refuse(
        known,
        f"a {known.dtype} result would lose its imaginary part as {wanted}",
        f'pass dtype_conversion="native" to keep {known.dtype}, or return its real part or its magnitude',
    )


def _refuse_fractions(known: Known, goal: str, least: float, greatest: float) -> NoReturn:
    _refuse(
        known,
        f"the {known.dtype} result has fractions, all of them within [{least:.6g}, {greatest:.6g}]: rounded to {goal} "
        "next to nothing would be left of it",
        f'pass scaling="unit" to spread the unit range over that of {goal}, dtype_conversion="native" to keep '
        f'{known.dtype}, scaling="minmax" to stretch this image to the full range, or scaling="clip" to round all the '
        "same",
    )


_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep


def warn_caller(text: str) -> None:
    """Warn of dtypes where the user's code is, however many of our frames lie between."""
    from warnings import warn

    level = 1
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
        level += 1
    warn(text, DtypeWarning, stacklevel=level)


def size_of(array: Any) -> int:
    """Number of elements."""
    return prod(map(int, array.shape))


def _tell_saturated(known: Known, goal: str, made: Any, count: int, policy: Policy) -> None:
    """Real numbers that saturate are told of where nobody has said ``"clip"``."""
    have = known.dtype
    if not count or (DTYPES[have][0] not in "ui" and policy.scaling not in (None, "unit")):
        return
    if DTYPES[have][0] in "ui":
        ways = f'labels=True or dtype_conversion="native" keeps {have}'
    elif policy.scaling == "unit":
        tell_negative(known, goal, made, count)
        return
    else:
        ways = f'dtype_conversion="native" keeps {have}, scaling="clip" said explicitly takes them as they are now'
    warn_caller(f"{count} of {size_of(made)} values of the {have} result lie beyond {goal} and were saturated; {ways}")


def tell_negative(known: Known, goal: str, made: Any, count: int) -> None:
    """Warn of negative numbers under ``"unit"``, of which an unsigned type has none."""
    if count:
        warn_caller(
            f'{count} of {size_of(made)} {known.dtype} values are negative and became 0: under scaling="unit" {goal} '
            "stands for [0, 1]; a signed dtype stands for [-1, 1]"
        )


def tell_lack(dtype: str, nearest: str, backend: str) -> None:
    """Warn of a framework that lacks a dtype."""
    warn_caller(f'{backend} has no {dtype}: decorated functions get {nearest} (casting="no" makes this an error)')


def tell_overflow(known: Known, goal: str, made: Any, count: int) -> None:
    """Warn of finite numbers that a smaller floating-point type does not have."""
    if count:
        warn_caller(
            f"{count} of {size_of(made)} values of the {known.dtype} result are finite but too large for {goal}, and "
            f'infinite now; dtype_conversion="native" keeps {known.dtype}'
        )


def tell_unstretched(known: Known, goal: str) -> None:
    """Warn who has asked for a stretch of what is never stretched: integers may be labels."""
    if known.traced or DTYPES[known.dtype][0] not in "bui" or DTYPES[goal][0] not in "ui":
        return
    warn_caller(
        f'scaling="minmax" stretches real numbers only: these {known.dtype} values stay as they are, as far as {goal} '
        f'goes; to stretch them pass scale(scale(x, "float32"), "{goal}", scaling="minmax")'
    )


# ---------------------------------------------------------------- changing it


def _fractions(known: Known, result: Any, nan: float | None) -> tuple[float, float] | None:
    """The ends of an image of fractions within [-1, 1], which look like probabilities; None: it is no such image."""
    if not known.on_host and framework_cast.covers(known.backend):
        return framework_cast.fractions_in_unit(result, known.backend, known.dtype, nan is not None)
    seen = native.survey(result, nan is None)
    if seen["stopped"] or not seen["fractional"] or seen["infinite_count"]:
        return None
    least, greatest = seen["minimum"], seen["maximum"]
    return (least, greatest) if least >= -1 and greatest <= 1 else None


def _rule(known: Known, goal: str, policy: Policy) -> tuple[str, bool]:
    """The scaling, and whether an image of fractions is refused."""
    if DTYPES[goal][0] not in "ui" or DTYPES[known.dtype][0] == "b":
        return ("exact" if policy.scaling == "exact" else "clip"), False
    if policy.scaling is not None:
        return policy.scaling, False
    if policy.labels:
        return "exact", False
    return "clip", DTYPES[known.dtype][0] == "f"


def _by_framework(known: Known, goal: str) -> bool:
    if not framework_cast.covers(known.backend):
        return False
    floats = DTYPES[known.dtype][0] in "fc" and DTYPES[goal][0] in "fc"
    # Whether a tape watches a TensorFlow tensor is not to be seen on the tensor.
    return not known.on_host or (floats and (known.gradient or known.backend == "tensorflow"))


def _change(result: Any, known: Known, goal: str, policy: Policy, home: str) -> Any:
    scaling, wary = _rule(known, goal, policy)
    nan = policy.nan if DTYPES[known.dtype][0] == "f" and DTYPES[goal][0] in "bui" else None
    check_together(Policy(goal, nan=nan))
    if known.traced:
        return framework_cast.change(result, known.backend, known.dtype, goal, scaling, nan, checked=False)[0]
    if wary and (ends := _fractions(known, result, nan)) is not None:
        _refuse_fractions(known, goal, *ends)
    if _by_framework(known, goal):
        with_gradient = known.on_host and known.gradient
        made = framework_cast.change(result, known.backend, known.dtype, goal, scaling, nan, checked=not with_gradient)
    else:
        made = native.scale(result, home, goal, scaling, nan)
    _tell_saturated(known, goal, *made[:2], policy)
    tell_overflow(known, goal, made[0], made[2])
    return made[0]


def _refuse_substitute(known: Known, wanted: str, goal: str, home: str, problem: MemoryConversionError) -> NoReturn:
    first = problem.reason.partition(" does not exist ")[0]
    raise MemoryConversionError(
        known.backend,
        home,
        "dtype_conversion",
        f"{home} has no {wanted}, and {first} of the result has no place in {goal}, the nearest that it has",
        f'pass output_type="numpy", where there is {wanted}; or dtype_conversion="{goal}" to saturate such values',
        "WOULD_CAST",
    ) from None


def _substitute(result: Any, known: Known, wanted: str, goal: str, policy: Policy, home: str) -> Any:
    """An image that shall have the dtype ``wanted``, which ``home`` lacks, in ``goal``, the nearest that it has.

    Integers are made as they were wanted, and must all fit then: nobody has asked for the range of ``goal``.
    """
    if DTYPES[wanted][0] not in "bui":
        made = result if goal == known.dtype else _change(result, known, goal, policy, home)
    else:
        exact = result if wanted == known.dtype else _change(result, known, wanted, policy, "numpy")
        try:
            made = native.scale(exact, home, goal, "exact")[0]
        except MemoryConversionError as problem:
            if problem.status != "WOULD_CAST":
                raise
            _refuse_substitute(known, wanted, goal, home, problem)
    if policy.conversion not in _WORDS:
        warn_caller(
            f"{home} has no {wanted}: the result gets {goal} "
            f'(output_type="numpy" has {wanted}, casting="no" makes this an error)'
        )
    return made


def _defaults() -> Policy:
    from . import settings

    # torch.compile follows no context variable: there the options of the process decide.
    get = settings.of_process if _compiling() else settings.options.get
    return Policy(get("dtype_conversion"), get("scaling"), get("nan"), get("labels"), "same_kind")


def apply(
    result: Any, reference: Reference | None, policy: Policy, target: str | None = None, leading: int = 0
) -> Any:
    """Give the image of a result the dtype that the policy asks for.

    Works under tracing as well (jax.jit, vmap, grad, torch.compile, tf.function), without looking at values: NaN is 0
    there, or ``nan=``.

    Parameters
    ----------
    result : object
        What is no array, and arrays of no dimensions, are returned as they are.
    reference : Reference or None
        The first array that went in; None: there was none, and ``"preserve"`` has nothing to preserve.
    policy : Policy
        Asked first; what it leaves open, the options say.
    target : str, optional
        The framework that the result will go to. Where the dtype changes on the host it is made there at once.
    leading : int
        Axes of the result and of the reference that are not the image's: slices were stacked along them.

    Returns
    -------
    object
        ``result`` itself if nothing is to be changed; else an array of its framework, or of ``target``.

    Raises
    ------
    MemoryConversionError
        ``WOULD_CAST``: a value has no place in that dtype. It says which, where, and what to pass instead.

    Warns
    -----
    DtypeWarning
        Values were saturated (real ones: by the default, not by a scaling that somebody has said), finite numbers
        became infinite, or the framework lacks the dtype that was asked for.
    """
    policy = policy.over(_defaults())
    known = look_at(result)
    if known is None:
        return result
    goal = wanted = _goal(known, reference, policy, leading)
    if goal == "complex":
        _refuse_complex(known, reference, policy)
    home = target or known.backend
    if goal == known.dtype:
        return result
    if not known.traced and policy.casting != "no":
        goal = _held_by(home, goal, policy.casting)
    try:
        if goal != wanted:
            return _substitute(result, known, wanted, goal, policy, home)
        return _change(result, known, goal, policy, home)
    except MemoryConversionError as problem:
        if problem.status != "WOULD_CAST" or problem.method == "dtype_conversion":
            raise
        hint = f'{problem.hint}; dtype_conversion="native" keeps {known.dtype}'.removeprefix("; ")
        raise MemoryConversionError(
            known.backend, "", "dtype_conversion", problem.reason, hint, problem.status
        ) from problem.__cause__
