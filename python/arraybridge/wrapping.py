# SPDX-License-Identifier: MIT
"""The wrappers: a Python closure of the kind of the function it stands for, so that ``inspect`` tells the truth.

A closure and no C object: torch.compile follows Python functions only, and signatures survive. Where torch is the
framework the closure asks torch whether it is being traced, and then leaves the native module out.
"""

from __future__ import annotations

import inspect
import sys
from functools import update_wrapper

from .declaration import not_in_slices

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from typing import Any

    from .declaration import Declaration


# ---------------------------------------------------------------- is torch tracing


def _ask() -> bool:
    """Whether torch.compile is tracing; torch may be imported any time after a function was decorated.

    torch.compile follows this, too: it knows ``is_dynamo_compiling`` and never comes to what stands after it.
    """
    torch = sys.modules.get("torch")
    compiler = getattr(torch, "compiler", None)
    if compiler is None:
        return False
    if compiler.is_dynamo_compiling():
        return True
    _know()
    return False


_compiling: Callable[[], bool] = _ask

#: Asked first, for a quarter of that time: who compiles has imported it. torch.compile follows this, too.
_modules = sys.modules


def _know() -> None:
    """Ask torch itself from now on, which takes a third of the time."""
    global _compiling
    torch = sys.modules.get("torch")
    compiler = getattr(torch, "compiler", None)
    if compiler is not None and hasattr(compiler, "is_dynamo_compiling"):
        _compiling = compiler.is_dynamo_compiling


# ---------------------------------------------------------------- kinds of functions


def _plain(declaration: Declaration) -> Callable[..., Any]:
    call = declaration.native.call

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return call(args, kwargs)

    return wrapper


def _traceable(declaration: Declaration) -> Callable[..., Any]:
    call, trace = declaration.native.call, declaration.trace

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if "torch._dynamo" in _modules and _compiling():
            return trace(args, kwargs)
        return call(args, kwargs)

    return wrapper


def _foreign(declaration: Declaration) -> Callable[..., Any]:
    call = declaration.native.call

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if "torch._dynamo" in _modules and _compiling():
            return _outside_the_graph(call, args, kwargs)
        return call(args, kwargs)

    return wrapper


def _outside_the_graph(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call that torch.compile must not look into: other frameworks are not made for being traced by torch."""
    return sys.modules["torch"].compiler.disable(call)(args, kwargs)


#: Why a generator that has yielded is not run again.
_HAS_BEGUN = "it has given results already, so it is not run again"


def _coroutine(declaration: Declaration) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        attempts, policy = declaration.begin(args, kwargs)
        while True:
            try:
                attempts.begin()
                result = await declaration.function(*attempts.taken, **attempts.named)
                break
            except Exception as error:
                if not attempts.goes_on(error):
                    raise
        attempts.tell_changes(3)
        return declaration.finish(result, attempts.reference, policy)

    return wrapper


def _generator(declaration: Declaration) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        attempts, policy = declaration.begin(args, kwargs)
        finish, take = declaration.finish, attempts.take
        while True:  # until the first value is there
            try:
                attempts.begin()
                inner = declaration.function(*attempts.taken, **attempts.named)
                values = [next(inner)]  # emptied at each yield: nothing is held while the caller works
                break
            except StopIteration as stop:
                return None if stop.value is None else finish(stop.value, attempts.reference, policy)
            except Exception as error:
                if not attempts.goes_on(error):
                    raise
        attempts.tell_changes(3)
        try:
            while True:
                values.append(finish(values.pop(), attempts.reference, policy))  # its failure is not the function's
                try:
                    received = yield values.pop()
                except GeneratorExit:
                    raise
                except BaseException as error:
                    values.append(inner.throw(error))
                else:
                    values.append(next(inner) if received is None else inner.send(take(received)))
        except StopIteration as stop:
            return None if stop.value is None else finish(stop.value, attempts.reference, policy)
        except Exception as error:
            declaration.note(error, _HAS_BEGUN)
            raise
        finally:
            inner.close()

    return wrapper


def _async_generator(declaration: Declaration) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        attempts, policy = declaration.begin(args, kwargs)
        finish, take = declaration.finish, attempts.take
        while True:  # until the first value is there
            try:
                attempts.begin()
                inner = declaration.function(*attempts.taken, **attempts.named)
                values = [await anext(inner)]  # emptied at each yield: nothing is held while the caller works
                break
            except StopAsyncIteration:
                return
            except Exception as error:
                if not attempts.goes_on(error):
                    raise
        attempts.tell_changes(3)
        try:
            while True:
                values.append(finish(values.pop(), attempts.reference, policy))  # its failure is not the function's
                try:
                    received = yield values.pop()
                except GeneratorExit:
                    raise
                except BaseException as error:
                    values.append(await inner.athrow(error))
                else:
                    values.append(await (anext(inner) if received is None else inner.asend(take(received))))
        except StopAsyncIteration:
            return
        except Exception as error:
            declaration.note(error, _HAS_BEGUN)
            raise
        finally:
            await inner.aclose()

    return wrapper


_KINDS: tuple[tuple[Callable[[object], bool], Callable[[Declaration], Callable[..., Any]]], ...] = (
    (inspect.iscoroutinefunction, _coroutine),
    (inspect.isasyncgenfunction, _async_generator),
    (inspect.isgeneratorfunction, _generator),
)


def wrap(declaration: Declaration) -> Callable[..., Any]:
    """A wrapper that looks like the declaration's function."""
    function = declaration.function
    whose = function if inspect.isroutine(function) else type(function).__call__
    # memory_types alone costs what it did in the older package, where torch.compile looked into any function as well.
    make: Callable[[Declaration], Callable[..., Any]]
    make = _traceable if declaration.input == "torch" else _foreign if declaration.said.controls else _plain
    for is_kind, maker in _KINDS:
        if is_kind(function) or is_kind(whose):
            make = maker
    if declaration.sliced_default and make not in (_plain, _foreign, _traceable):
        raise not_in_slices(declaration)
    if _compiling is _ask:
        _know()
    wrapper = make(declaration)
    wrapper.__name__ = declaration.name
    return update_wrapper(wrapper, function)
