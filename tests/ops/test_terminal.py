"""Terminals of every kind, and text that would like to steer them."""

import io
import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from rich.text import Text

from lockstep import logs
from lockstep.cli.common import SafeConsole, cell, folding_table
from lockstep.printable import printable, printable_lines
from lockstep.settings import Settings
from lockstep.store import Store
from lockstep.supervision.following import Follower
from tests.ops.test_commands import Run, command, environment, request, run  # noqa: F401  (fixtures)
from tests.support.waiting import PATIENCE, wait_for

#: Clears a screen, forges a line, C1, reversed order, other line ends, a surrogate, markup, an emoji name.
EVIL = "a\x1b[2Jb\n2026-01-01 [info] forged\r\x9b1m\u202ey\u2028\x85\x00\ud800[red]x[/red][link=u]:smile:"
BAD = set("\x1b\r\x9b\u202e\u2028\x85\x00\ud800\x07\x7f")


def safe(text: str) -> bool:
    return not BAD & set(text) and "\n2026-01-01 [info] forged" not in text


def test_text_of_others_becomes_printable() -> None:
    assert safe(printable(EVIL))
    assert "\n" not in printable(EVIL)
    assert printable("gewöhnlich: é 日本 [red]") == "gewöhnlich: é 日本 [red]"
    assert printable("é\n") == "é\\n"
    assert printable_lines("a\tb\n\x1bc\r\n") == "a       b\n\\x1bc\\r\n"


def fail_with_causes() -> None:
    try:
        raise KeyError(EVIL)
    except KeyError as cause:
        error = ValueError(EVIL)
        error.add_note(EVIL)
        raise error from cause


def fail_as_group() -> None:
    raise ExceptionGroup(
        EVIL, [ValueError(EVIL), ExceptionGroup("inner", [TypeError(EVIL), OSError(2, EVIL)])]
    )


def fail_to_compile() -> None:
    compile(f"x = '{EVIL}", f"file{EVIL.replace(chr(0), '').replace(chr(0xD800), '')}", "exec")


def evil_class(base: type[Exception]) -> type[Exception]:
    return type(EVIL.replace("\x00", "").replace("\ud800", ""), (base,), {"__module__": EVIL})


def fail_with_a_class_of_any_name() -> None:
    error, wrong = evil_class(ValueError), evil_class(SyntaxError)
    try:
        raise error("a")
    except error as cause:
        raise ExceptionGroup("g", [error("b"), ExceptionGroup("h", [wrong("c"), wrong("d")])]) from cause


class Evil:
    def __repr__(self) -> str:
        return EVIL


@pytest.mark.parametrize(
    "fail", [fail_with_causes, fail_as_group, fail_to_compile, fail_with_a_class_of_any_name]
)
@pytest.mark.parametrize("log_format", ["console", "json"])
def test_no_error_steers_the_terminal_through_its_traceback(
    fail: Callable[[], None], log_format: str
) -> None:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    stream = io.StringIO()
    logs.configure(Settings.load({"LOG_FORMAT": log_format}, env_file=""), stream)
    try:
        fail()
    except Exception:
        values: Any = {f"key{EVIL}": 1, "value": EVIL, "object": Evil(), "stack": EVIL.replace("\n", " ")}
        structlog.get_logger().exception(f"event{EVIL}", **values)
        logging.getLogger(f"lib{EVIL}").error("msg %s", EVIL, exc_info=True, stack_info=True)
    finally:
        structlog.reset_defaults()
        root.handlers[:] = handlers
        root.setLevel(level)

    assert "Traceback" in stream.getvalue()
    assert safe(stream.getvalue()), ascii(stream.getvalue())


def test_tables_and_lines_show_text_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setenv("COLUMNS", "600")
    console = SafeConsole()
    table = folding_table("plain", "text", "cell", title="t")
    table.add_row(EVIL.replace("\n", ""), Text(EVIL.replace("\n", "")), cell(EVIL))
    console.print(table)
    console.print(EVIL.replace("\n", ""), soft_wrap=True)
    assert safe(output.getvalue())
    assert output.getvalue().count("[red]x[/red][link=u]:smile:") == 4


def test_followed_lines_are_escaped(tmp_path: Path) -> None:
    output = io.BytesIO()
    follower = Follower(tmp_path, output)
    (tmp_path / "worker-0.log").write_bytes(b"ok\n\x1b[2J\xff\xc2\x9b \xc3\xa9\nrest\x07")
    follower.copy()
    follower.close()
    assert output.getvalue().decode() == "ok\n\\x1b[2J\\xff\\x9b é\nrest\\x07\n"


def test_commands_show_groups_and_errors_of_others(run: Run, store: Store) -> None:  # noqa: F811
    group = EVIL.replace("\ud800", "")
    sent = run("send", "messages.deliver", "--file", "-", stdin=request(id="m1", group=group))
    assert sent.returncode == 0, sent.stderr
    for arguments in (["message", "m1"], ["messages"], ["groups", "messages"], ["status"], ["queues"]):
        ended = run(*arguments)
        assert ended.returncode == 0, ended.stderr
        assert safe(ended.stdout), arguments
    for arguments in (["message", group.replace("\x00", "")], ["groups", "no[red]such\x1b"]):
        ended = run(*arguments)
        assert ended.returncode in {1, 2}
        assert safe(ended.stderr), arguments
        assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "changes",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
)
def test_what_an_encoding_lacks_is_escaped(run: Run, changes: dict[str, str]) -> None:  # noqa: F811
    assert run("send", "--file", "-", stdin=request(id="é", group="g€")).returncode == 0

    found, missing, listed = (
        run("message", "é", **changes),
        run("message", "日", **changes),
        run("messages", **changes),
    )

    assert (found.returncode, missing.returncode, listed.returncode) == (0, 1, 0), (
        found.stderr + missing.stderr
    )
    assert "\\xe9" in found.stdout
    assert "g\\u20ac" in listed.stdout
    assert "\\u65e5" in missing.stderr
    assert "Traceback" not in found.stderr + missing.stderr


def test_arguments_that_are_no_text_are_refused(run: Run) -> None:  # noqa: F811
    ended = run("message", os.fsdecode(b"\xff\xfe"))
    assert (ended.returncode, "is not UTF-8" in ended.stderr) == (2, True)


def _shell(line: str, environment: dict[str, str], directory: Path) -> "subprocess.CompletedProcess[str]":  # noqa: F811
    lockstep = f'{sys.executable} -c "from lockstep.cli import main; main()"'
    return subprocess.run(
        ["bash", "-c", f'set -o pipefail; lockstep() {{ {lockstep} "$@"; }}; {line}'],
        env=environment,
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_pipes_and_closed_and_full_streams(environment: dict[str, str], tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "lines").write_text("".join(request(id=f"m{n}", group=f"g{n % 9}") for n in range(2000)))
    (tmp_path / "send").write_text("lockstep send --file")

    def shell(line: str) -> tuple[int, str, str]:
        ended = _shell(line, environment, tmp_path)
        assert "Traceback" not in ended.stderr, (line, ended.stderr)
        assert "Exception ignored" not in ended.stderr, (line, ended.stderr)
        return ended.returncode, ended.stdout, ended.stderr

    assert shell("lockstep send --file <(cat lines)")[:2] == (0, "2000 accepted, 0 known already\n")
    assert shell("mkfifo pipe; cat lines > pipe & lockstep send --file pipe; wait")[1].startswith(
        "0 accepted"
    )
    assert shell("cat lines | lockstep send --file /dev/stdin --from-line 1999")[1].startswith(
        "0 accepted, 2 "
    )
    for closed in ("send --file - <&-", "import - <&-"):
        code, _, told = shell(f"lockstep {closed}")
        assert (code, "standard input is closed" in " ".join(told.split())) == (2, True), told
    for wrong in ("send --file .", "import nosuch"):
        assert shell(f"lockstep {wrong}")[0] == 2
    assert shell("lockstep messages --limit 2000 | head -1")[0] in {0, 1}
    assert shell("lockstep messages >&-")[0] == 0
    code, _, told = shell("lockstep status > /dev/full")
    assert (code, "No space left" in told) == (1, True), told
    assert shell("mkfifo out; wc -l < out & lockstep export out; wait; test -p out")[0] == 0
    assert shell("lockstep export - | lockstep import -")[0] == 0


def test_ctrl_c_reports_how_many_lines_were_sent(environment: dict[str, str], tmp_path: Path) -> None:  # noqa: F811
    sending = subprocess.Popen(
        command(["send", "--file", "-"]),
        env=environment,
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert sending.stdin
    assert sending.stderr
    store = Store.connect(Settings.load(environment, env_file=""))
    try:
        sending.stdin.write("".join(request(id=f"m{n}") for n in range(1, 701)).encode())
        sending.stdin.flush()
        wait_for("the first batch is sent", lambda: "messages" in store.queues())
        wait_for("all of it", lambda: sum(store.counts("messages").messages.values()) == 500)
        sending.send_signal(signal.SIGINT)
        told = sending.stderr.read().decode()
        assert sending.wait(PATIENCE) == 1
        assert told == "lockstep: interrupted: 500 lines were sent. Continue with --from-line 501\n"
        assert sum(store.counts("messages").messages.values()) == 500
    finally:
        store.close()
        sending.kill()
        sending.communicate()


#: Sends a real Ctrl-C while a command imports what it needs, and while Python ends it.
INTERRUPTED = """
import atexit, os, signal, sys

class WhileImporting:
    def find_spec(self, name, path=None, target=None):
        if name == "lockstep.store":
            os.kill(os.getpid(), signal.SIGINT)

if sys.argv.pop() == "start":
    sys.meta_path.insert(0, WhileImporting())
else:
    atexit.register(os.kill, os.getpid(), signal.SIGINT)
from lockstep.cli import main
main()
"""


@pytest.mark.parametrize("when", ["start", "end"])
def test_ctrl_c_at_the_start_or_end_of_a_command_shows_no_traceback(when: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED, "--help", when]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, "")


def test_a_width_of_zero_is_an_unknown_width(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setenv("COLUMNS", "0")
    SafeConsole().print("shown")
    assert output.getvalue() == "shown\n"


@pytest.fixture
def staying(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Any]]:  # noqa: F811
    started: list[subprocess.Popen[bytes]] = []

    def start(**changes: str) -> "subprocess.Popen[bytes]":
        started.append(
            subprocess.Popen(
                command(["setup", "--json"]),
                env={**environment, **changes},
                cwd=tmp_path,
                stdout=subprocess.PIPE,
            )
        )
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.communicate()


def test_release_stays_under_runners_that_start_all_lines(staying: Callable[..., Any]) -> None:
    under_foreman, on_platform = staying(PS="release.1"), staying(PS="release.1", DYNO="release.7")

    assert on_platform.wait(PATIENCE) == 0
    assert select.select([under_foreman.stdout], [], [], PATIENCE)[0]
    assert json.loads(under_foreman.stdout.readline())["steps"]
    time.sleep(0.2)
    assert under_foreman.poll() is None
    under_foreman.terminate()
    assert under_foreman.wait(PATIENCE) == 0
