# SPDX-License-Identifier: MIT
"""The command ``arraybridge``.

Importing it imports no framework. Whatever starts a framework runs in a child process, so that one that dies or hangs
is a line of the answer and not the end of the command.

Exit codes: 0 all is well, 1 a problem was found or the answer is no, 2 the command was called wrongly, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from ..advice import question_of, similar
from . import doctor, info, matrix, memory, new_plugin, paths, plan
from .refusal import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

_COMMANDS = {
    "info": info,
    "matrix": matrix,
    "plan": plan,
    "doctor": doctor,
    "memory": memory,
    "new-plugin": new_plugin,
    "paths": paths,
}

_EXAMPLES = """\
examples:
  arraybridge info                                   what is installed, on which devices
  arraybridge matrix                                 who reaches whom, measured here
  arraybridge plan numpy torch --shape 3,512,512     what one conversion would do
  arraybridge doctor                                 what is wrong, and what to do
  arraybridge memory                                 what can be known of each framework's memory
  arraybridge new-plugin ring                        start a plugin of your own

exit codes: 0 all is well, 1 a problem was found, 2 wrong usage
`arraybridge COMMAND --help` has more examples.
"""


class _Parser(argparse.ArgumentParser):
    """argparse, with the names that would work."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(2, f"{self.prog}: error: {message}{self._meant(message)}\n")

    def _meant(self, message: str) -> str:
        wrong = message.partition("invalid choice: ")[2].split(" ")[0].strip("'\"")
        names = [] if "COMMAND" not in message else similar(wrong, list(_COMMANDS))
        return question_of(names)


def _version() -> str:
    import platform

    from .. import __version__

    return f"arraybridge {__version__} (Python {platform.python_version()})"


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="arraybridge",
        description="Hand an array of one framework to any other: what is there, what it costs, what is wrong.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(metavar="COMMAND", dest="command", required=True, parser_class=_Parser)
    for name, module in _COMMANDS.items():
        one = commands.add_parser(
            name,
            help=module.SUMMARY,
            description=f"{module.SUMMARY[0].upper()}{module.SUMMARY[1:]}.",
            epilog=f"examples:\n{module.EXAMPLES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(one)
        one.add_argument("--json", action="store_true", help="print JSON, for programs")
    return parser


def _refuse(options: argparse.Namespace, refusal: Refusal) -> int:
    if options.json:
        print(json.dumps({"error": {"reason": refusal.reason, "hint": refusal.hint}}, indent=2))
    print(f"arraybridge {options.command}: error: {refusal.reason}", file=sys.stderr)
    if refusal.hint:
        print(f"  {refusal.hint}", file=sys.stderr)
    return refusal.exit_code


def _run(options: argparse.Namespace) -> int:
    try:
        code: int = _COMMANDS[options.command].run(options)
        sys.stdout.flush()
        return code
    except Refusal as refusal:
        return _refuse(options, refusal)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `arraybridge doctor | head`: whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments : sequence of str, optional
        What stands after ``arraybridge``; None takes the process's.

    Returns
    -------
    int
        The exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that knows no "µ" gets "?", not an exception
            stream.reconfigure(errors="replace")
    return _run(_parser().parse_args(arguments))
