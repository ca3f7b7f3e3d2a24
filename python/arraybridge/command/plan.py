# SPDX-License-Identifier: MIT
"""``arraybridge plan``: what one conversion would do."""

from __future__ import annotations

import re

from .refusal import Refusal, unknown
from .sample import LAYOUTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

SUMMARY = "show what converting an array would do, step by step, and why not more cheaply"
EXAMPLES = """\
  arraybridge plan numpy torch
  arraybridge plan numpy jax --layout misaligned
  arraybridge plan torch pyclesperanto --dtype float64 --to-dtype float32 --casting same_kind
  arraybridge plan numpy torch --layout negative --copy never       exit code 1: says why not
"""

_COPY = {"if-needed": None, "always": True, "never": False}

#: What the library says in Python's words, in those of this command.
_OPTIONS = (
    (r"\bcopy=None", "--copy if-needed"),
    (r"\bcopy=False", "--copy never"),
    (r'\bdtype="(\w+)"(, )?', r"--to-dtype \1 "),
    (r'\bcasting="(\w+)"', r"--casting \1"),
    (r'\bscaling="(\w+)"', r"--scaling \1"),
)


def in_options(text: str) -> str:
    """``text`` with the keywords of ``convert`` as options of this command."""
    for pattern, option in _OPTIONS:
        text = re.sub(pattern, option, text)
    return text.strip()


def parse_shape(text: str) -> tuple[int, ...]:
    """``"3,512,512"`` or ``"3x512x512"`` as a tuple; empty or ``"()"`` is 0-d."""
    import argparse

    parts = [part for part in text.strip("()[] ").replace("x", ",").replace("×", ",").split(",") if part.strip()]
    try:
        shape = tuple(int(part) for part in parts)
    except ValueError:
        shape = (-1,)
    if any(length < 0 for length in shape):
        raise argparse.ArgumentTypeError(f"{text!r} is no shape: give lengths like 3,512,512")
    return shape


def backend_names() -> list[str]:
    """The loaded backends."""
    import arraybridge

    return [backend.name for backend in arraybridge.backends()]


def check_name(name: str, names: list[str]) -> str:
    """``name``, if it is a loaded backend."""
    if name not in names:
        raise unknown("backend", name, names, f"loaded: {', '.join(names)}; `arraybridge doctor` says why not others")
    return name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("source", metavar="FROM", help="backend that owns the array")
    parser.add_argument("target", metavar="TO", help="backend that shall get it")
    parser.add_argument("--dtype", default="float32", help="of the array (default: float32)")
    parser.add_argument(
        "--shape", type=parse_shape, default=(512, 512), metavar="N,N,…", help="of the array (default: 512,512)"
    )
    parser.add_argument(
        "--layout", choices=list(LAYOUTS), default="c", help="how it lies in memory (default: c, 64-byte aligned)"
    )
    parser.add_argument("--to-dtype", metavar="DTYPE", help="dtype of the result (default: the array's)")
    parser.add_argument(
        "--casting",
        choices=["no", "equiv", "safe", "same_kind", "unsafe"],
        default="no",
        help="what a change of dtype may do (default: no)",
    )
    parser.add_argument(
        "--scaling",
        choices=["clip", "unit", "exact", "minmax", "wrap"],
        help="with --to-dtype: how values become those of the other dtype",
    )
    parser.add_argument("--copy", choices=list(_COPY), default="if-needed", help="default: if-needed")
    parser.add_argument("--device", metavar="DEVICE", help='where to: "cpu", "cuda:1", "opencl:0"')
    parser.add_argument("--timeout", type=float, default=120.0, metavar="S", help="seconds to wait (default: 120)")


def _keywords(options: argparse.Namespace) -> dict[str, Any]:
    keywords: dict[str, Any] = {"copy": _COPY[options.copy], "casting": options.casting}
    keywords.update({"device": options.device} if options.device else {})
    keywords.update({"dtype": options.to_dtype} if options.to_dtype else {})
    keywords.update({"scaling": options.scaling} if options.scaling else {})
    return keywords


def _ask(options: argparse.Namespace) -> dict[str, Any]:
    from . import children, tables

    request = {
        "source": options.source,
        "target": options.target,
        "dtype": options.dtype,
        "shape": list(options.shape),
        "layout": options.layout,
        "keywords": _keywords(options),
    }
    with tables.progress(f"asking {options.source} and {options.target}"):
        outcome = children.run("plan", request, options.timeout)
    found: dict[str, Any] = {"array": None, "plan": None, "error": None}
    for answer in outcome.answers:
        found.update(answer)
    if found["plan"] is None and found["error"] is None:
        found["error"] = {"status": "DIED", "reason": outcome.how, "hint": "`arraybridge doctor` may know why"}
    return found


def _refuse_bad_request(error: dict[str, Any] | None) -> None:
    """What the user got wrong is wrong usage, not an impossible conversion."""
    wrong = error is not None and error["status"] in ("Refusal", "ValueError", "TypeError", "INVALID_ARGUMENT")
    if error is not None and wrong:
        raise Refusal(in_options(re.sub(r"^\w+Error: ", "", error["reason"])), in_options(error["hint"]))


def _error_of(found: dict[str, Any]) -> dict[str, Any] | None:
    error: dict[str, Any] | None = found["error"]
    if error is None and not found["plan"]["possible"]:
        error = {name: found["plan"][name] for name in ("status", "reason", "hint")}
    return error and {**error, "reason": in_options(error["reason"]), "hint": in_options(error["hint"])}


def _array_text(options: argparse.Namespace, found: dict[str, Any]) -> str:
    from ..value import size_text
    from .tables import shape_text

    array = found["array"]
    text = f"{options.source} array, {options.dtype} {shape_text(options.shape)}, {LAYOUTS[options.layout]}"
    if array is None:
        return text
    size = f", {size_text(found['plan']['bytes'])}" if found["plan"] is not None and found["plan"]["bytes"] else ""
    return f"{text}{size}, {array['mutability']}, on {array['device']}"


def _step_text(step: dict[str, Any]) -> str:
    from ..value import size_text

    cost = f"copies {size_text(step['bytes'])}" if step["copies"] else "copies nothing"
    if step["refused"]:
        return in_options(step["reason"]) or "not possible here"
    return f"{cost}; {step['reason']}" if step["reason"] else cost


def _verdict(plan: dict[str, Any]) -> tuple[str, str]:
    from ..value import size_text

    place = f"on {plan['target_device']}"
    if plan["mechanism"] == "same":
        return "shared", f"the same object {place}"
    if plan["bytes_copied"]:
        return "copied", f"copies {size_text(plan['bytes_copied'])}, {place}"
    return ("shared", f"shares memory, {place}") if plan["shared"] else ("shared", f"copies nothing, {place}")


def _show_steps(plan: dict[str, Any]) -> None:
    from . import tables

    out = tables.console()
    steps = tables.table("", "Way", "", keep=("Way",))
    steps.show_header = False
    for step in [one for one in plan["steps"] if one["refused"]]:
        steps.add_row(tables.marked("impossible", "refused"), step["way"], _step_text(step))
    taken = [one for one in plan["steps"] if not one["refused"]]
    for number, step in enumerate(taken, 1):
        steps.add_row(tables.marked("ok", f"step {number}"), step["way"], _step_text(step))
    if plan["steps"]:
        out.print()
        out.print(steps)


def _show(options: argparse.Namespace, found: dict[str, Any], error: dict[str, Any] | None) -> None:
    from . import tables

    out = tables.console()
    out.print(f"{options.source} -> {options.target}", style="bold")
    rows: list[tuple[Any, str]] = [("array", _array_text(options, found))]
    plan = found["plan"]
    if error is None:
        word, text = _verdict(plan)
        dtype = f", becomes {plan['target_dtype']}" if plan["cast"] else ""
        rows.append(("result", tables.marked(word, text + dtype)))  # type: ignore[arg-type]
        told = {step["reason"] for step in plan["steps"]}
        rows.extend(("note", note) for note in plan["notes"] if note not in told)
    tables.lines(out, rows, indent=0)
    if plan is not None:
        _show_steps(plan)
    if error is not None:
        during = "the array cannot be made: " if error.get("during") == "make" else "not possible: "
        out.print()
        out.print(tables.marked("problem", during), error["reason"], sep="")
        if error["hint"]:
            out.print(f"to do: {error['hint']}")


def run(options: argparse.Namespace) -> int:
    """Print the plan. Exit code 1 if the conversion would be an error."""
    from . import tables

    names = backend_names()
    for name in (options.source, options.target):
        check_name(name, names)
    found = _ask(options)
    _refuse_bad_request(found["error"])
    error = _error_of(found)
    if options.json:
        tables.print_json({**found, "error": error})
    else:
        _show(options, found, error)
    return 0 if error is None else 1
