"""The Lua scripts keep the project's rules, and the lint that says so notices when one does not."""

import re
from pathlib import Path

import pytest

import lockstep
from lockstep import scripts
from tests.lint.lua import CONTRACT, locals_of, missing_contract, problems

LUA = Path(lockstep.__file__).parent / "lua"


@pytest.mark.parametrize("name", scripts.names())
def test_a_script_keeps_the_rules(name: str) -> None:
    script = scripts.load(name)
    assert problems(script.text) == []
    assert "@include" not in script.text
    assert missing_contract((LUA / f"{name}.lua").read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", sorted(LUA.rglob("*.lua")), ids=lambda path: path.stem)
def test_a_script_raises_its_errors(path: Path) -> None:
    """The reply that ``redis.error_reply`` makes does not name its script: nobody can tell it from a proxy's."""
    assert "error_reply" not in path.read_text(encoding="utf-8")


def test_every_include_is_used_and_so_linted() -> None:
    used = "".join(path.read_text(encoding="utf-8") for path in LUA.glob("*.lua"))
    assert [
        path.stem for path in LUA.glob("includes/*.lua") if f"-- @include {path.stem}\n" not in used
    ] == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x = 1", "assigns the global x"),
        ("local a = 1\na, b = 2, 3", "assigns the global b"),
        ("function f() end", "assigns the global f"),
        ("local function f(a) a = 1; c = 2 end", "assigns the global c"),
        ("do local a = 1 end\na = 2", "assigns the global a"),
        ("for i = 1, 2 do end\ni = 3", "assigns the global i"),
        ("for _, v in ipairs({}) do v = 1; w = 2 end", "assigns the global w"),
        ("if true then local a else a = 1 end", "assigns the global a"),
        ("local t = {f = function(a) b = a end}", "assigns the global b"),
        ("while true do x = 1 end", "assigns the global x"),
        ("repeat x = 1 until true", "assigns the global x"),
        ("return missing", "reads the unknown global missing"),
        ("print(1)", "reads the unknown global print"),
        ("local a = a", "reads the unknown global a"),
        ("do local a = 1 end return a", "reads the unknown global a"),
        ("local t = {} t[i] = 1", "reads the unknown global i"),
        ("t.x = 1", "reads the unknown global t"),
        ("return {[k] = 1, k = 2}", "reads the unknown global k"),
        ("for i = 1, n do end", "reads the unknown global n"),
        ("for _, v in ipairs(v) do end", "reads the unknown global v"),
        ("local f = function() return f() end", "reads the unknown global f"),
        ("if a then return 1 elseif KEYS[1] then return 2 end", "reads the unknown global a"),
        ("redis.call('KEYS', '*')", "calls KEYS"),
        ("local found = redis.call('scan', 0)", "calls scan"),
        ("local function f() return {redis.pcall('SCAN', 0)} end", "calls SCAN"),
    ],
)
def test_the_lint_notices(text: str, problem: str) -> None:
    assert problems(text) == [problem]


def test_the_lint_notices_what_does_not_parse() -> None:
    (problem,) = problems("local = 3")
    assert problem.startswith("does not parse")


@pytest.mark.parametrize(
    "text",
    [
        "local a = 1\na = 2",
        "local t = {}\nt.x = 1\nt[1] = 2",
        "local function f(a) a = 1 return function() a = 2 end end",
        "for i = 1, 2 do i = 3 end",
        "for k, v in pairs({}) do k, v = v, k end",
        "local f\nfunction f() end",
        "local function f() return f() end",
        "repeat local a = KEYS[1] until a",
        "local t = {} function t.f(self) return self.x:upper() end return t.f(t)",
        "return {redis = 1, [ARGV[1]] = math.huge, #KEYS}",
        "redis.call('HSCAN', KEYS[1], 0)",
        "redis.call('HSET', KEYS[1], 'scan', 'KEYS')",
    ],
)
def test_the_lint_accepts(text: str) -> None:
    assert problems(text) == []


@pytest.mark.parametrize("word", CONTRACT)
def test_the_lint_misses_each_word_of_the_contract(word: str) -> None:
    head = "".join(f"-- {one}: something\n" for one in CONTRACT if one != word)
    assert missing_contract(f"{head}return 1\n") == [word]
    assert missing_contract(f"{head}return 1\n-- {word}: too late\n") == [word]


def test_the_contract_has_an_order() -> None:
    assert missing_contract("".join(f"-- {word}: something\n" for word in reversed(CONTRACT))) == ["order"]
    assert missing_contract("".join(f"-- {word}: something\n--   more\n" for word in CONTRACT)) == []


@pytest.mark.parametrize(
    ("text", "unused"),
    [
        ("local a = 1", ["a"]),
        ("local a a = 1", ["a"]),
        ("local a = 1 local a = 2 return a", ["a"]),
        ("local function f() return f end", []),
        ("local function f(a, b) return b end return f", ["a"]),
        ("for i = 1, 2 do end", ["i"]),
        ("for _, v in ipairs(KEYS) do end", ["v"]),
        ("local a = 1 return function() local b = a end", ["b"]),
        ("local a = {} a.b = 1", []),
        ("repeat local a = 1 until a", []),
    ],
)
def test_the_lint_notices_locals_that_nothing_reads(text: str, unused: list[str]) -> None:
    assert [name for _, name, used in locals_of(text) if not used] == unused


def test_every_local_is_read_by_some_script() -> None:
    read: dict[tuple[str, int, str], bool] = {}
    for script in scripts.names():
        origins = origins_of(script)
        for line, name, used in locals_of(scripts.load(script).text):
            place = (*origins[line - 1], name)
            read[place] = read.get(place, False) or used

    assert [place for place, used in read.items() if not used] == []
    assert len(read) > 100


def origins_of(script: str) -> list[tuple[str, int]]:
    """File and line that each line of a script with its includes comes from."""
    origins: list[tuple[str, int]] = []
    lines: list[str] = []
    for number, line in enumerate((LUA / f"{script}.lua").read_text(encoding="utf-8").split("\n"), start=1):
        include = re.fullmatch(r"-- @include (\w+)", line)
        path = LUA / "includes" / f"{include[1]}.lua" if include else None
        text = path.read_text(encoding="utf-8").split("\n") if path else [line]
        lines += text
        origins += [(path.stem, one) if path else (script, number) for one in range(1, len(text) + 1)]
    assert "\n".join(lines) == scripts.load(script).text
    return origins
