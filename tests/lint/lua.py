"""What every Lua script of the project must look like."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from luaparser import ast, astnodes

#: The words of the contract at the head of each script, in their order.
CONTRACT: Final = ("Purpose", "KEYS", "ARGV", "Answers", "States")

#: Commands that look at every key there is: a script that does blocks everybody.
FORBIDDEN: Final = frozenset({"KEYS", "SCAN"})

#: What Redis gives to every script.
KNOWN: Final = frozenset({
    "redis", "cjson", "cmsgpack", "struct", "bit", "string", "table", "math", "KEYS", "ARGV",
    "tonumber", "tostring", "ipairs", "pairs", "type", "unpack", "select", "next", "error", "pcall", "assert",
})  # fmt: skip

#: Each name in scope, and the local it means.
Scope = dict[str, "_Local"]


def problems(text: str) -> list[str]:
    """Everything that is wrong with a script whose includes are in it."""
    try:
        tree = ast.parse(text)
    except ast.SyntaxException as error:
        return [f"does not parse: {error}"]
    scopes = _Scopes()
    scopes.block(tree.body.body, {})
    return [*_commands(tree), *scopes.problems]


def locals_of(text: str) -> list[tuple[int, str, bool]]:
    """Every local of a script: the line of its declaration, its name, and whether anything reads it.

    A name that begins with ``_`` says itself that nothing does.
    """
    scopes = _Scopes()
    scopes.block(ast.parse(text).body.body, {})
    return [(local.line, local.name, local.used or local.name.startswith("_")) for local in scopes.locals]


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


@dataclass
class _Local:
    """A name that a scope declares, and whether anything reads it."""

    name: str
    line: int
    used: bool = False


@dataclass
class _Scopes:
    """Walks a script as Lua resolves its names; collects what is wrong and every local."""

    problems: list[str] = field(default_factory=list)
    locals: list[_Local] = field(default_factory=list)

    def block(self, statements: list[Any], outer: Scope) -> Scope:
        """Each statement in the scope that those before it left; answers the scope at the end."""
        scope = dict(outer)
        for statement in statements:
            self.statement(statement, scope)
        return scope

    def statement(self, node: Any, scope: Scope) -> None:
        if isinstance(node, astnodes.LocalAssign):
            self.read(node.values, scope)  # before its own names exist
            self.declare(node.targets, scope, node)
        elif isinstance(node, astnodes.LocalFunction):
            self.declare([node.name], scope, node)  # known inside itself
            self.function(node, scope)
        elif isinstance(node, astnodes.Assign):
            self.read(node.values, scope)
            for target in node.targets:
                self.write(target, scope)
        elif isinstance(node, astnodes.Function):
            self.write(node.name, scope)
            self.function(node, scope)
        elif isinstance(node, astnodes.Fornum):
            self.read([node.start, node.stop, node.step], scope)
            self.inner(node, scope, [node.target])
        elif isinstance(node, astnodes.Forin):
            self.read(node.iter, scope)
            self.inner(node, scope, node.targets)
        elif isinstance(node, astnodes.Repeat):
            self.read([node.test], self.block(node.body.body, scope))  # its test sees the locals of its body
        else:
            self.read([node], scope)

    def function(self, node: Any, scope: Scope) -> None:
        self.inner(node, scope, [name for name in node.args if isinstance(name, astnodes.Name)])

    def inner(self, node: Any, scope: Scope, names: list[Any]) -> None:
        own = dict(scope)
        self.declare(names, own, node)
        self.block(node.body.body, own)

    def declare(self, names: list[Any], scope: Scope, node: Any) -> None:
        for name in names:  # which do not know their own line
            scope[name.id] = _Local(name.id, node.line)
            self.locals.append(scope[name.id])

    def write(self, target: Any, scope: Scope) -> None:
        if not isinstance(target, astnodes.Name):
            self.read([target], scope)
        elif target.id not in scope:
            self.problems.append(f"assigns the global {target.id}")

    def read(self, nodes: list[Any], scope: Scope) -> None:
        for node in nodes:
            if isinstance(node, astnodes.Name):
                self.name(node.id, scope)
            elif isinstance(node, astnodes.Block):
                self.block(node.body, scope)
            elif isinstance(node, astnodes.AnonymousFunction):
                self.function(node, scope)
            elif isinstance(node, astnodes.Node):
                self.read(list(_children(node)), scope)

    def name(self, name: str, scope: Scope) -> None:
        if name in scope:
            scope[name].used = True
        elif name not in KNOWN:
            self.problems.append(f"reads the unknown global {name}")


def _children(node: Any) -> Iterator[Any]:
    names = vars(node)
    for attribute, value in names.items():
        # What stands behind a dot, or before the = of a field, is no variable.
        if attribute == "idx" and names.get("notation") is astnodes.IndexNotation.DOT:
            continue
        if attribute == "key" and isinstance(node, astnodes.Field) and not node.between_brackets:
            continue
        if attribute == "func" and isinstance(node, astnodes.Invoke):
            continue
        yield from (value if isinstance(value, list) else (value,))
