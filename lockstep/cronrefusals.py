"""What is wrong with a cron expression that ``periodiq`` cannot read.

``periodiq.cron(…)`` is called while a user's module is imported, before there is an actor to name, and it raises
whatever its parsing runs into: an ``IndexError`` for ``fri-mon``, a ``KeyError`` for ``@reboot``. So the expression is
read from the frames of the exception, and the name of the actor from the user's source.
"""

import ast
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any, Final

import periodiq

FIELDS: Final = ("minute", "hour", "day of month", "month", "day of week")

_MODULE: Final = periodiq.__file__


def cron_refusal(error: BaseException) -> str | None:
    """Describe an exception that ``periodiq.cron`` raised: file, line, actor, expression, and what is wrong with it.

    None: the exception comes from somewhere else.
    """
    for (caller, line), (called, _) in pairwise(_frames(error)):
        if called.f_code.co_filename == _MODULE and called.f_code.co_name in ("cron", "parse"):
            file = caller.f_code.co_filename
            actor = _actor_at(file, line)
            expression = called.f_locals.get("spec")
            return f"{file}, line {line}: {actor and f'{actor}: '}periodic: {explain(expression, error)}"
    return None


def explain(expression: object, error: BaseException) -> str:
    """What is wrong with an expression that periodiq refused."""
    told = f"periodiq cannot read {expression!r}"
    if not isinstance(expression, str):
        return f"{told}: expected a text"
    text = expression.strip()
    if text.startswith("@"):
        return f"{told}: expected one of {', '.join(sorted(periodiq.CronSpec._named_spec))}"
    fields = text.split()
    if len(fields) != len(FIELDS):
        return f"{told}: expected five fields ({', '.join(FIELDS)}), got {len(fields)}"
    for position, (name, field) in enumerate(zip(FIELDS, fields, strict=True)):
        alone = ["*"] * len(FIELDS)
        alone[position] = field
        if _refused(" ".join(alone)):
            return f"{told}: its {name} {field!r} is none of *, a number, a list, a rising range, or a step of them"
    return f"{told}: {type(error).__name__}: {error}"


def _refused(text: str) -> bool:
    try:
        periodiq.cron(text)
    except Exception:  # whatever its parsing runs into
        return True
    return False


def _frames(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next


def _actor_at(file: str, line: int) -> str:
    """Return the name of the actor that an expression on a line is for; empty when the source does not say.

    It is in a decorator of the actor, in its class, or in a variable that either of them names.
    """
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError):  # no source is there, or another one than what was imported
        return ""
    variables = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and _has(node, line)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for name, place in _actors(tree):
        used = {node.id for node in ast.walk(place) if isinstance(node, ast.Name)}
        if _has(place, line) or used & variables:
            return name
    return ""


def _actors(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Find what may be an actor: its name, and where its options are."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                yield _given_name(decorator) or node.name, decorator
        elif isinstance(node, ast.ClassDef):
            for meta in node.body:
                if isinstance(meta, ast.ClassDef) and meta.name == "Meta":
                    yield node.name, meta
        elif isinstance(node, ast.Call) and (name := _given_name(node)):
            yield name, node


def _has(node: Any, line: int) -> bool:
    return bool(node.lineno <= line <= (node.end_lineno or 0))


def _given_name(decorator: ast.expr) -> str:
    given: list[Any] = [
        word.value.value
        for word in (decorator.keywords if isinstance(decorator, ast.Call) else ())
        if word.arg == "actor_name" and isinstance(word.value, ast.Constant)
    ]
    return str(given[0]) if given else ""
