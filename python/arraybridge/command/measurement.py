# SPDX-License-Identifier: MIT
"""Measure conversions. Runs in a child process."""

from __future__ import annotations

from time import perf_counter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Say = Callable[[dict[str, Any]], None]


def best_time(action: Callable[[], object], seconds: float, rounds: int) -> float:
    """The shortest mean time of one call, in seconds, over ``rounds`` rounds of about ``seconds`` each."""
    action()
    loops = 1
    while (elapsed := _time(action, loops)) < seconds / 2 and loops < 1_000_000:
        loops = max(loops * 2, min(loops * 10, int(loops * seconds / max(elapsed, 1e-9))))
    return min(elapsed / loops, *(_time(action, loops) / loops for _ in range(rounds)))


def _time(action: Callable[[], object], loops: int) -> float:
    start = perf_counter()
    for _ in range(loops):
        action()
    return perf_counter() - start


def _why(record: Any) -> str:
    """Why nothing cheaper was done."""
    declined = "; ".join(f"{way}: {reason}" for way, reason in record.declined if reason)
    return declined or "; ".join(record.notes)


def _state(record: Any) -> str:
    if record.mechanism == "same":
        return "same"
    return "shared" if record.shared and not record.bytes_copied else "copied"


def _pair(small: Any, large: Any, target: str, quick: bool) -> dict[str, Any]:
    import arraybridge

    def convert_small() -> object:
        return arraybridge.convert(small, target)

    def convert_large() -> object:
        return arraybridge.convert(large, target)

    small_seconds = best_time(convert_small, *((0.002, 6) if quick else (0.01, 12)))
    with arraybridge.records() as log:
        convert_large()
    record = log[-1]
    return {
        "state": _state(record),
        "route": record.mechanism,
        "reason": _why(record),
        "notes": list(record.notes),
        "target_device": record.target_device,
        "bytes_copied": record.bytes_copied,
        "aliases_mutable": record.aliases_mutable,
        "small_seconds": small_seconds,
        "large_seconds": best_time(convert_large, *((0.001, 4) if quick else (0.02, 5))),
    }


def _refused(error: Exception) -> dict[str, Any]:
    from .tasks import _problem

    problem = _problem(error)
    state = "impossible" if problem["status"] in ("UNSUPPORTED", "WOULD_CAST", "NO_DEVICE") else "failed"
    reason = f"{problem['reason']}; {problem['hint']}" if problem["hint"] else problem["reason"]
    return {"state": state, "reason": reason}


def _start(names: list[str], say: Say) -> set[str]:
    """Start each framework. Returns those that work."""
    import arraybridge

    working = set()
    for name in names:
        say({"starting": name})
        start = perf_counter()
        try:
            arraybridge.list_devices(name)
        except Exception as error:
            say({"started": name, "error": _refused(error)["reason"], "seconds": perf_counter() - start})
            continue
        working.add(name)
        say({"started": name, "error": "", "seconds": perf_counter() - start})
    return working


def _sources(name: str, request: dict[str, Any]) -> tuple[Any, Any]:
    from .sample import source_array

    small = source_array(name, request["dtype"], tuple(request["small_shape"]))
    return small, source_array(name, request["dtype"], tuple(request["large_shape"]))


def _from_one(source: str, targets: list[str], request: dict[str, Any], say: Say) -> None:
    pairs = [{"source": source, "target": target} for target in targets]
    if pairs:
        say({"measuring": pairs[0]})
    try:
        small, large = _sources(source, request)
    except Exception as error:
        for pair in pairs:
            say({"measured": {**pair, **_refused(error)}})
        return
    for pair in pairs:
        say({"measuring": pair})
        try:
            result = _pair(small, large, pair["target"], request["quick"])
        except Exception as error:
            result = _refused(error)
        say({"measured": {**pair, **result}})


def measure(request: dict[str, Any], say: Say) -> None:
    """Measure ``request["pairs"]``, a list of (source, target), grouped by source; one large array at a time."""
    pairs = request["pairs"]
    working = _start(list(dict.fromkeys(name for pair in pairs for name in pair)), say)
    for source in dict.fromkeys(source for source, _ in pairs):
        targets = [target for one, target in pairs if one == source and target in working]
        if source in working:
            _from_one(source, targets, request, say)
