"""Says where three releases differ and who is right: ``table.py FOLDER [FILE.md]`` reads what run_cases wrote."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from case import Case, same

RELEASES = ("0.2.9", "0.5.2", "here")
#: The files of cases: a title, and the releases whose form they are in.
FILES = {
    "cases_02": ("Code in the form of 0.2", ("0.2.9",)),
    "cases_05": ("Code in the form of 0.5", ("0.5.2",)),
    "cases_wrong": ("Where the older releases are wrong", ("0.2.9", "0.5.2")),
}
#: What a release says that has no such function or keyword.
NOT_THERE = ("ImportError", "ModuleNotFoundError")


def text(result: Any, width: int = 60) -> str:
    """A result in a cell."""
    if isinstance(result, dict) and "died" in result:
        made = f"the process dies: {result['died']}"
    elif isinstance(result, dict) and "raises" in result:
        made = f"{result['raises']}: {result.get('text', '')}".rstrip(": ")
        made = "no such name" if result["raises"] in NOT_THERE and "arraybridge" in made else made
    elif isinstance(result, dict) and "framework" in result:
        made = f"{result['framework']} {result['dtype']} {result['values']}"
    elif isinstance(result, dict) and "missing" in result:
        made = f"not run: {', '.join(result['missing'])} missing"
    else:
        made = json.dumps(result)
    made = " ".join(made.split())
    return made if len(made) <= width else made[: width - 1] + "…"


def link(heading: str) -> str:
    """The heading on the page of differences."""
    anchor = "".join(letter for letter in heading.lower() if letter.isalnum() or letter in " -").replace(" ", "-")
    return f"[{heading}](coming-from-0.2-0.5.md#{anchor})"


def verdict(case: Case, results: dict[str, Any]) -> str:
    """Who gives what is expected."""
    right = [name for name in RELEASES if name in results and same(results[name], case.expect)]
    return ", ".join(right) or "nobody"


def rows_of(file: str, found: dict[str, dict[str, Any]]) -> tuple[list[tuple[str, ...]], int]:
    """The cases in which a release of this form is not as expected, or we are not; and how many cases there are."""
    cases = importlib.import_module(file).case
    rows, count, deliberate = [], 0, file != "cases_wrong"
    for case in cases.values():
        key = f"{file}.{case.name}"
        results = {name: found[name][key] for name in RELEASES if key in found[name]}
        if not results:
            continue
        count += 1
        if any(isinstance(result, dict) and "missing" in result for result in results.values()):
            rows.append((case.about, *(text(result) for result in results.values()), "not run"))
            continue
        asked = [results[name] for name in (*FILES[file][1], "here")]
        if all(same(result, case.expect) for result in asked):
            continue
        cells = (text(results[name]) for name in RELEASES)
        why = link(case.differs) if deliberate and same(results["here"], case.expect) else verdict(case, results)
        rows.append((case.about, *cells, why))
    return rows, count


def markdown(found: dict[str, dict[str, Any]]) -> str:
    """The page."""
    lines = [
        "# Compared with arraybridge 0.2.9 and 0.5.2", "",
        "Made by `scripts/compare.sh`, which runs one list of cases on all three, each in a process of its own, on a",
        "machine without a GPU. Only cases that differ are shown; the reasons and the switches are in",
        "[Coming from arraybridge 0.2–0.5](coming-from-0.2-0.5.md).", "",
    ]  # fmt: skip
    for file, (title, _) in FILES.items():
        rows, count = rows_of(file, found)
        lines += [f"## {title}", "", f"{count} cases, {len(rows)} differ or could not be run.", ""]
        if rows:
            last = "right" if file == "cases_wrong" else "on purpose, see"
            lines += [f"| case | 0.2.9 | 0.5.2 | here | {last} |", "|---|---|---|---|---|"]
            lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    """Print the table, or write it. 1 if a case is not as expected here."""
    folder = Path(sys.argv[1])
    found = {name: json.loads((folder / f"{name}.json").read_text())["results"] for name in RELEASES}
    page = markdown(found)
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text(page)
    print(page)
    wrong = []
    for file in FILES:
        for case in importlib.import_module(file).case.values():
            result = found["here"].get(f"{file}.{case.name}", {"missing": []})
            if not same(result, case.expect) and not (isinstance(result, dict) and "missing" in result):
                wrong.append(f"{file}.{case.name}")
    for name in wrong:
        print(f"not as expected here: {name}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
