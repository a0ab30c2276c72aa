"""The Lua scripts keep the project's rules, and the lint that says so notices when one does not."""

from pathlib import Path

import pytest

import lockstep
from lockstep import scripts
from tests.lint.lua import CONTRACT, missing_contract, problems

LUA = Path(lockstep.__file__).parent / "lua"


@pytest.mark.parametrize("name", scripts.names())
def test_a_script_keeps_the_rules(name: str) -> None:
    script = scripts.load(name)
    assert problems(script.text) == []
    assert "@include" not in script.text
    assert missing_contract((LUA / f"{name}.lua").read_text(encoding="utf-8")) == []


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
