# SPDX-License-Identifier: MIT
"""``arraybridge matrix``: who reaches whom, by which route, measured on this machine."""

from __future__ import annotations

from ..report import duration
from .known import INSTALL
from .plan import check_name, parse_shape
from .refusal import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from typing import Any

    Pair = tuple[str, str]

SUMMARY = "measure who reaches whom, by which route, with or without a copy"
EXAMPLES = """\
  arraybridge matrix
  arraybridge matrix --quick                         fewer repetitions, 4 MiB instead of 64
  arraybridge matrix --dtype uint16 --shape 60,1024,1024
  arraybridge matrix --pairs numpy:torch,torch:numpy --pairs 'jax:*'
"""

_SMALL = (4, 4)
_MIB = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--dtype", default="float32", help="of the arrays (default: float32)")
    parser.add_argument("--shape", type=parse_shape, metavar="N,N,…", help="of the large array (default: 64 MiB)")
    parser.add_argument(
        "--pairs", action="append", metavar="A:B", help="only these, comma-separated; * stands for every framework"
    )
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, and 4 MiB for the large array")
    parser.add_argument(
        "--timeout", type=float, default=120.0, metavar="S", help="seconds that one pair may take (default: 120)"
    )


def _sides(text: str, names: list[str]) -> list[str]:
    if text in INSTALL and text not in names:
        raise Refusal(f"{text} is not installed", INSTALL[text], exit_code=1)
    return names if text == "*" else [check_name(text, names)]


def _chosen_pairs(texts: list[str], names: list[str]) -> list[Pair]:
    pairs: list[Pair] = []
    for text in [part.strip() for one in texts for part in one.split(",") if part.strip()]:
        source, colon, target = text.partition(":")
        if not colon or not source or not target:
            raise Refusal(f"--pairs {text}: that is no pair", "give two names, like --pairs numpy:torch")
        star = "*" in (source, target)
        found = [(a, b) for a in _sides(source, names) for b in _sides(target, names)]
        pairs.extend((a, b) for a, b in found if not star or a != b)
    return list(dict.fromkeys(pairs))


def _large_shape(dtype: str, quick: bool) -> tuple[int, ...]:
    """A 2-D shape of 64 MiB, or 4 MiB if it should be quick."""
    from .sample import host_array

    rows, size = (1024, 4 * _MIB) if quick else (4096, 64 * _MIB)
    return rows, size // rows // int(host_array(dtype, ()).itemsize)


def _size(dtype: str, shape: tuple[int, ...]) -> int:
    from math import prod

    from .sample import host_array

    return prod(shape) * int(host_array(dtype, ()).itemsize)


class _Measuring:
    """The pairs that are left, what was found, and what is being done: kept across children that die."""

    def __init__(self, pairs: list[Pair], show: Callable[[str, int], None]) -> None:
        self.total = len(pairs)
        self.left = list(pairs)
        self.results: list[dict[str, Any]] = []
        self.frameworks: dict[str, dict[str, Any]] = {}
        self.doing: Pair | str = ""
        self._show = show

    def heed(self, answer: dict[str, Any]) -> None:
        """Take one answer of the child."""
        if "starting" in answer:
            self.doing = answer["starting"]
            self._show(f"{self.doing} starts", self._done)
        elif "started" in answer:
            self._started(answer["started"], answer["error"], answer["seconds"])
        elif "measuring" in answer:
            self.doing = (answer["measuring"]["source"], answer["measuring"]["target"])
            self._show(" -> ".join(self.doing), self._done)
        elif "measured" in answer:
            self._measured(answer["measured"])

    @property
    def _done(self) -> int:
        return self.total - len(self.left)

    def _started(self, name: str, error: str, seconds: float | None) -> None:
        self.frameworks.setdefault(name, {"name": name, "error": error, "start_seconds": seconds})
        if error:
            self.left = [pair for pair in self.left if name not in pair]

    def _measured(self, result: dict[str, Any]) -> None:
        empty: dict[str, Any] = {
            "state": "", "route": "", "reason": "", "notes": [], "target_device": "", "bytes_copied": None,
            "aliases_mutable": None, "small_seconds": None, "large_seconds": None,
        }  # fmt: skip
        self.results.append({"source": "", "target": "", **empty, **result})
        self.left.remove((result["source"], result["target"]))

    def bury(self, how: str) -> bool:
        """Blame the child's death on what it was doing. Returns False if there is nothing to blame."""
        if isinstance(self.doing, tuple) and self.doing in self.left:
            source, target = self.doing
            self._measured({"source": source, "target": target, "state": "died", "reason": how})
            return True
        if isinstance(self.doing, str) and self.doing and self.doing not in self.frameworks:
            self._started(self.doing, how, None)
            return True
        return False


def _measure(pairs: list[Pair], request: dict[str, Any], patience: float) -> _Measuring:
    """Measure in one child; if it dies, go on with the other pairs in the next."""
    from . import children, tables

    with tables.progress("measuring", len(pairs)) as show:
        work = _Measuring(pairs, show)
        while work.left:
            outcome = children.run("matrix", {**request, "pairs": work.left}, patience, work.heed)
            if work.left and not work.bury(outcome.how):
                raise Refusal(f"the measuring process {outcome.how or 'left pairs out'}", exit_code=1)
    order = {pair: place for place, pair in enumerate(pairs)}
    work.results.sort(key=lambda result: order[result["source"], result["target"]])
    return work


def _gather(options: argparse.Namespace) -> dict[str, Any]:
    import arraybridge

    from .known import may_start

    installed = [backend for backend in arraybridge.backends() if may_start(backend.to_json())]
    names = [backend.name for backend in installed]
    if "numpy" not in names:
        raise Refusal("NumPy is needed to make the arrays", "pip install numpy; then see `arraybridge doctor`", 1)
    pairs = _chosen_pairs(options.pairs, names) if options.pairs else [(a, b) for a in names for b in names if a != b]
    shape = options.shape if options.shape is not None else _large_shape(options.dtype, options.quick)
    request = {
        "dtype": options.dtype,
        "small_shape": list(_SMALL),
        "large_shape": list(shape),
        "quick": options.quick,
    }
    size = _size(options.dtype, shape)
    work = _measure(pairs, request, options.timeout)
    versions = {backend.name: backend.framework_version for backend in installed}
    frameworks = [{**one, "version": versions[name]} for name, one in sorted(work.frameworks.items())]
    return {**request, "large_bytes": size, "frameworks": frameworks, "pairs": work.results}


# ------------------------------------------------------------------ how it looks

_LEGEND = [
    ("exchange", "DLPack: the target uses the source's memory"),
    ("wrap, map", "host memory becomes a device buffer, or the other way round, shared"),
    ("pivot", "copied by arraybridge into aligned host memory"),
    ("to_host, from_host", "copied by the framework itself"),
]


def _legend(found: dict[str, Any]) -> list[tuple[str, str]]:
    taken = " ".join(pair["route"] for pair in found["pairs"])
    return [(ways, text) for ways, text in _LEGEND if any(way in taken for way in ways.split(", "))]


def _reasons(pairs: list[dict[str, Any]]) -> dict[str, int]:
    """Why pairs do not share, each with its number."""
    worth = [pair["reason"] for pair in pairs if pair["state"] not in ("shared", "same") and pair["reason"]]
    return {reason: number for number, reason in enumerate(dict.fromkeys(worth), 1)}


def _rows(found: dict[str, Any], size: str) -> Any:
    from . import tables

    small = tables.shape_text(found["small_shape"])
    columns = ("From", "To", "Memory", "Route", small, size, "Why")
    shown = tables.table(*columns, right=(small, size, "Why"), keep=("From", "To", "Memory", small, size))
    reasons = _reasons(found["pairs"])
    if not reasons:
        shown.columns.pop()
    last = ""
    for pair in found["pairs"]:
        if last not in ("", pair["source"]):
            shown.add_section()
        number = reasons.get(pair["reason"]) if pair["state"] not in ("shared", "same") else None
        why = [] if not reasons else [f"[{number}]" if number else ""]
        shown.add_row(
            "" if last == pair["source"] else pair["source"],
            pair["target"],
            tables.marked(pair["state"]),
            pair["route"].replace("+", " + "),
            duration(pair["small_seconds"]),
            duration(pair["large_seconds"]),
            *why,
        )
        last = pair["source"]
    return shown


def _summary(found: dict[str, Any], size: str) -> str:
    pairs = found["pairs"]
    sharing = [pair for pair in pairs if pair["state"] in ("shared", "same")]
    slowest = max((pair["large_seconds"] for pair in sharing), default=None)
    most = f"; {size} in at most {duration(slowest)}" if slowest is not None else ""
    return f"{len(sharing)} of {len(pairs)} pairs share memory{most}"


def _show(found: dict[str, Any]) -> None:
    from ..value import size_text
    from . import tables

    out = tables.console()
    size = size_text(found["large_bytes"])
    out.print(
        f"{found['dtype']} on this machine: {tables.shape_text(found['small_shape'])} for latency, "
        f"{size} ({tables.shape_text(found['large_shape'])}) for sharing",
        style="bold",
    )
    out.print(", ".join(f"{one['name']} {one['version']}".strip() for one in found["frameworks"] if not one["error"]))
    if found["pairs"]:
        out.print()
        out.print(_rows(found, size))
        out.print()
        out.print(_summary(found, size), style="bold")
    broken = [(tables.marked("note", one["name"]), one["error"]) for one in found["frameworks"] if one["error"]]
    if broken:
        tables.heading(out, "Not measured")
        tables.lines(out, broken)
    if reasons := _reasons(found["pairs"]):
        tables.heading(out, "Why not shared")
        tables.lines(out, [(f"[{number}]", reason) for reason, number in reasons.items()])
    if legend := _legend(found):
        tables.heading(out, "Routes")
        tables.lines(out, list(legend))
    out.print()
    out.print(
        "Best of several rounds, the result dropped each time: the times hold the dropping, too, and so are longer "
        "than those of a call alone. Sources: 64-byte aligned, C order.",
        style="dim",
    )


def run(options: argparse.Namespace) -> int:
    """Print the matrix. Exit code 1 if a pair fails or kills its process."""
    from . import tables

    found = _gather(options)
    if options.json:
        tables.print_json(found)
    else:
        _show(found)
    return 1 if any(pair["state"] in ("failed", "died") for pair in found["pairs"]) else 0
