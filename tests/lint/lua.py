"""What every Lua script of the project must look like."""

import re
from collections.abc import Iterator
from typing import Any, Final

from luaparser import ast, astnodes

#: The words of the contract at the head of each script, in their order.
CONTRACT: Final = ("Purpose", "KEYS", "ARGV", "Answers", "States")

#: Commands that look at every key there is: a script that does blocks everybody.
FORBIDDEN: Final = frozenset({"KEYS", "SCAN"})

_FUNCTIONS: Final = (astnodes.Function, astnodes.LocalFunction, astnodes.AnonymousFunction, astnodes.Method)


def problems(text: str) -> list[str]:
    """Everything that is wrong with a script whose includes are in it."""
    try:
        tree = ast.parse(text)
    except ast.SyntaxException as error:
        return [f"does not parse: {error}"]
    return [*_commands(tree), *_globals(tree.body.body, frozenset())]


def missing_contract(text: str) -> list[str]:
    """The words of the contract that the comment at a script's head lacks, or has out of order."""
    head = re.match(r"(--.*\n)*", text)
    words = re.findall(r"^-- (\w+):", head[0] if head else "", re.MULTILINE)
    if [word for word in words if word in CONTRACT] == list(CONTRACT):
        return []
    return [word for word in CONTRACT if word not in words] or ["order"]


def _commands(tree: Any) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, astnodes.Call) or not isinstance(node.func, astnodes.Index):
            continue
        owner, name = node.func.value, node.func.idx
        if getattr(owner, "id", "") != "redis" or getattr(name, "id", "") not in ("call", "pcall"):
            continue
        command = node.args[0] if node.args else None
        if isinstance(command, astnodes.String):
            word = command.s.decode() if isinstance(command.s, bytes) else command.s
            if word.upper() in FORBIDDEN:
                yield f"calls {word}"


def _globals(statements: list[Any], outer: frozenset[str]) -> Iterator[str]:
    """Assignments to names that no scope declares; ``outer`` are the names in scope before the statements."""
    scope = outer
    for statement in statements:
        if isinstance(statement, astnodes.LocalFunction):
            scope |= {statement.name.id}  # known inside itself
        yield from _nested(statement, scope)
        if isinstance(statement, astnodes.LocalAssign):
            scope |= {target.id for target in statement.targets}
        elif isinstance(statement, astnodes.Assign):
            names = [target.id for target in statement.targets if isinstance(target, astnodes.Name)]
            yield from (f"assigns the global {name}" for name in names if name not in scope)
        elif isinstance(statement, astnodes.Function):
            name = getattr(statement.name, "id", None)  # None: it becomes a field of a table
            if name is not None and name not in scope:
                yield f"assigns the global {name}"


def _nested(node: Any, scope: frozenset[str]) -> Iterator[str]:
    """The same for the blocks inside a statement or an expression."""
    if isinstance(node, astnodes.Block):
        yield from _globals(node.body, scope)
        return
    if isinstance(node, _FUNCTIONS):
        scope |= {argument.id for argument in node.args if isinstance(argument, astnodes.Name)}
    elif isinstance(node, astnodes.Fornum):
        scope |= {node.target.id}
    elif isinstance(node, astnodes.Forin):
        scope |= {target.id for target in node.targets}
    for child in _children(node):
        yield from _nested(child, scope)


def _children(node: Any) -> Iterator[Any]:
    for value in vars(node).values():
        for child in value if isinstance(value, list) else (value,):
            if isinstance(child, astnodes.Node):
                yield child
