"""The commands as a person types them: real processes, what they print, and their exit codes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from lockstep.broker import LockstepBroker
from lockstep.embedded import EmbeddedRedis
from lockstep.settings import Settings
from lockstep.states import MessageState
from lockstep.store import Store
from tests.support.waiting import PATIENCE

KWARGS = {"instance_id": "shop", "customer_id": "c1", "body": "hello"}
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    assert settings.redis_url is not None
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {
        **inherited,
        "REDIS_URL": settings.redis_url,
        "QUEUE_NAMESPACE": settings.queue_namespace,
        "COLUMNS": "200",
    }


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Run:
    """Runs one command in an empty directory."""

    def run(*arguments: str, stdin: str = "", **changes: str | None) -> "subprocess.CompletedProcess[str]":
        changed = {name: value for name, value in {**environment, **changes}.items() if value is not None}
        return subprocess.run(
            command(arguments),
            input=stdin,
            env=changed,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    return run


def command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-c", "from lockstep.cli import main; main()", *arguments]


def request(**fields: Any) -> str:
    return json.dumps({"actor": "messages.deliver", "kwargs": KWARGS, **fields}) + "\n"


def test_send_enqueues_a_message(run: Run, store: Store) -> None:
    ended = run("send", "messages.deliver", "--kwargs", json.dumps(KWARGS), "--id", "m1", "--json")

    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {
        "id": "m1",
        "queue": "messages",
        "group": "shop:c1",
        "state": "waiting",
        "sequence": 1,
        "duplicate": False,
    }
    assert store.message("m1").state is MessageState.WAITING


def test_send_twice_with_one_id_is_one_message(run: Run, store: Store) -> None:
    arguments = ("send", "messages.deliver", "--kwargs", json.dumps(KWARGS), "--id", "m1")
    assert run(*arguments).stdout == "m1  waiting\n"
    assert run(*arguments).stdout == "m1  waiting (this id was known already)\n"

    assert store.counts("messages").messages[MessageState.WAITING] == 1


def test_send_with_a_delay_and_a_group(run: Run, store: Store) -> None:
    given = ("--group", "mine", "--delay", "5m", "--id", "m1", "--args", '["shop", "c1", "hello"]')

    assert run("send", "messages.deliver", *given).returncode == 0

    record = store.message("m1")
    assert (record.state, record.group) == (MessageState.SCHEDULED, "mine")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("messages.deliver", "--kwargs", "{}"), "/kwargs/instance_id: missing"),
        (("messages.deliver", "--group", "", "--kwargs", json.dumps(KWARGS)), "/group: "),
        (("messages.deliver", "--kwargs", "[]"), "/kwargs: expected an object"),
        (("nobody",), "no actor named 'nobody'"),
        (("messages.deliver", "--kwargs", "{"), "--kwargs: not JSON"),
        (("messages.deliver", "--kwargs", '{"instance_id": NaN}'), "--kwargs: not JSON: NaN"),
        (("messages.deliver", "--kwargs", '{"a": 1, "a": 2}'), "--kwargs: not JSON: 'a' is named twice"),
        (("messages.deliver", "--kwargs", json.dumps({**KWARGS, "instance_id": 5})), "/kwargs/instance_id: "),
        (("messages.deliver", "--kwargs", json.dumps({**KWARGS, "body": 2**64})), "/kwargs/body: cannot"),
        (("messages.deliver", "--delay", "soon"), "--delay: expected a duration"),
        (("messages.deliver", "--file", "none.jsonl"), "--file: no file 'none.jsonl'"),
        (("messages.deliver", "--file", "-", "--id", "m1"), "stand in its lines"),
        ((), "name an actor"),
    ],
)
def test_a_wrong_message_is_told_and_not_sent(
    run: Run, store: Store, arguments: tuple[str, ...], said: str
) -> None:
    ended = run("send", *arguments)

    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert store.queues() == []


def test_a_file_is_sent_in_its_order(run: Run, store: Store, tmp_path: Path) -> None:
    lines = [request(id=f"m{number}") for number in range(1100)]
    (tmp_path / "messages.jsonl").write_text("".join(lines) + "\n")

    assert run("send", "--file", "messages.jsonl").stdout == "1100 accepted, 0 known already\n"
    assert run("send", "--file", "-", "--json", stdin="".join(lines[1000:])).stdout == (
        '{"accepted": 0, "duplicates": 100}\n'
    )

    assert [store.message(f"m{number}").sequence for number in (0, 499, 500, 1099)] == [1, 500, 501, 1100]


def test_lines_may_leave_actor_and_group_to_the_options(run: Run, store: Store) -> None:
    lines = json.dumps({"kwargs": KWARGS, "id": "m1"}) + "\n" + request(id="m2", group="own")

    assert run("send", "messages.deliver", "--group", "mine", "--file", "-", stdin=lines).returncode == 0

    assert (store.message("m1").group, store.message("m2").group) == ("mine", "own")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (request(kwargs={}), "line 502 /kwargs/instance_id: missing (500 before it were sent)"),
        ("{\n", "line 502: not JSON"),
        ('{"actor": 1e999}\n', "line 502: not JSON: a number is too large"),
        (request(kwargs={**KWARGS, "id": 1}), "line 502 /kwargs/id: this name is taken"),
        ("[]\n", "line 502: expected an object"),
        (request(depends_on=1), "line 502 /depends_on: not supported yet"),
    ],
)
def test_a_wrong_line_keeps_its_batch_out(run: Run, store: Store, line: str, said: str) -> None:
    ended = run("send", "--file", "-", stdin=request() * 501 + line + request())

    assert ended.returncode == 2
    assert said in ended.stderr
    assert store.counts("messages").messages[MessageState.WAITING] == 500


def test_message_shows_what_is_known(run: Run, broker: LockstepBroker) -> None:
    run("send", "messages.deliver", "--kwargs", json.dumps(KWARGS), "--id", "[bold]m1")

    shown = run("message", "[bold]m1")
    told = json.loads(run("message", "[bold]m1", "--json").stdout)

    assert all(word in shown.stdout for word in ("[bold]m1", "waiting", "shop:c1", "messages.deliver"))
    assert (told["id"], told["state"], told["sequence"], told["attempts"]) == ("[bold]m1", "waiting", 1, [])


def test_a_message_that_is_not_there(run: Run) -> None:
    ended = run("message", "nothing")

    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", "lockstep: no message 'nothing'\n")


def test_the_intake_is_switched_by_command(run: Run) -> None:
    assert run("accept", "status").stdout == "intake on\n"
    assert json.loads(run("accept", "off", "--why", "night", "--json").stdout)["changed"] is True
    assert json.loads(run("accept", "off", "--why", "night", "--json").stdout)["changed"] is False
    refused = run("send", "messages.deliver", "--kwargs", json.dumps(KWARGS))
    assert (refused.returncode, "night" in refused.stderr) == (5, True)
    assert run("accept", "on", "--why", "night").returncode == 2
    for command in (("accept", "status"), ("status",)):
        shown = run(*command).stdout.lower()
        assert "intake off since 2" in shown
        assert "night" in shown
    assert run("accept", "on").stdout.startswith("intake on since 2")
    assert run("send", "messages.deliver", "--kwargs", json.dumps(KWARGS)).returncode == 0


def test_status_counts(run: Run) -> None:
    assert "No queue yet" in run("status").stdout
    run("send", "--file", "-", stdin=request() * 3)

    shown = run("status").stdout
    (queue,) = json.loads(run("status", "--json").stdout)["queues"]

    assert "messages" in shown
    assert (queue["name"], queue["messages"]["waiting"], queue["groups"]["ready"]) == ("messages", 3, 1)
    assert queue["oldest_seconds"] >= 0


def test_status_watches_until_ctrl_c(environment: dict[str, str], tmp_path: Path) -> None:
    with subprocess.Popen(
        command(("status", "--watch", "--json")), env=environment, cwd=tmp_path, stdout=subprocess.PIPE
    ) as watching:
        assert watching.stdout is not None
        looks = [json.loads(watching.stdout.readline()) for _ in range(2)]
        watching.send_signal(signal.SIGINT)
        assert watching.wait(PATIENCE) == 0

    assert looks == [{"intake": {"accept": True, "since": None, "why": None}, "queues": []}] * 2


@pytest.mark.parametrize(
    "arguments",
    [("status",), ("message", "m1"), ("send", "messages.deliver", "--kwargs", json.dumps(KWARGS))],
)
def test_redis_away_is_one_line_without_the_password(run: Run, arguments: tuple[str, ...]) -> None:
    ended = run(*arguments, REDIS_URL="redis://:hidden@127.0.0.1:1/0")

    assert (ended.returncode, ended.stdout) == (4, "")
    assert ended.stderr.startswith("lockstep: Redis is not available")
    assert ended.stderr.count("\n") == 1
    assert "hidden" not in ended.stderr


@pytest.mark.parametrize("name", ["status", "web", "worker"])
def test_no_redis_at_all_is_told(run: Run, name: str) -> None:
    ended = run(name, REDIS_URL=None)

    assert (ended.returncode, ended.stdout) == (4, "")
    assert "set REDIS_URL, or start `lockstep up`" in ended.stderr


def test_the_redis_of_this_directory_is_found(run: Run, tmp_path: Path) -> None:
    with EmbeddedRedis() as server:
        server.start(tmp_path / "data")

        assert run("status", REDIS_URL=None).returncode == 0


@pytest.mark.parametrize("name", ["web", "worker", "scheduler", "status", "up"])
def test_wrong_settings_are_told_by_every_command(run: Run, name: str) -> None:
    ended = run(name, PORT="x", MAX_CRASHES="0")

    assert ended.returncode == 2
    assert "PORT: " in ended.stderr
    assert "MAX_CRASHES: " in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("name", ["web", "worker", "scheduler", "up"])
def test_missing_actor_modules_are_told_at_once(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "app").mkdir()
    # Importing it would fail: it is only looked into.
    (tmp_path / "app" / "__init__.py").write_text("raise RuntimeError")
    (tmp_path / "app" / "mine.py").touch()

    ended = run(name, ACTOR_MODULES="actors.messages,app.mine,nosuch,no.such,app.nosuch,app.mine.nosuch")

    assert ended.returncode == 2
    assert ended.stderr == (
        "lockstep: ACTOR_MODULES: no module 'nosuch', 'no.such', 'app.nosuch', 'app.mine.nosuch' "
        "can be imported here\n"
    )


@pytest.mark.parametrize(
    "arguments", [("nosuch",), ("status", "--nosuch"), ("message",), ("up", "--port", "x")]
)
def test_wrong_usage(run: Run, arguments: tuple[str, ...]) -> None:
    assert run(*arguments).returncode == 2


@pytest.mark.parametrize("queues", ["", " , "])
def test_a_drain_of_no_queue_is_not_a_drain_of_all(run: Run, store: Store, queues: str) -> None:
    ended = run("drain", "--queues", queues, "--timeout", "0")
    assert ended.returncode == 2, ended
    assert store.intake.status().accept


def test_help_names_every_command(run: Run) -> None:
    shown = run("--help")

    assert shown.returncode == 0
    assert all(name in shown.stdout for name in ("up", "web", "worker", "send", "status", "message"))


def test_pause_and_resume(run: Run) -> None:
    assert run("send", "messages.deliver", "--kwargs", json.dumps(KWARGS)).returncode == 0
    steps = [
        (("pause", "messages", "--group", "shop:c1"), "messages, group shop:c1: paused\n"),
        (("pause", "messages", "--group", "shop:c1"), "messages, group shop:c1: paused already\n"),
        (("resume", "messages", "--group", "shop:c1"), "messages, group shop:c1: resumed\n"),
        (("resume", "messages"), "messages: not paused\n"),
        (("pause", "messages"), "messages: paused\n"),
    ]
    for arguments, said in steps:
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (0, said), done.stderr
    assert "messages (paused)" in run("status").stdout
    answer = {"queue": "messages", "group": None, "paused": False, "changed": True}
    assert json.loads(run("resume", "messages", "--json").stdout) == answer
    assert run("pause", "nosuch").returncode == 1
    assert run("pause", "messages", "--group", "").returncode == 2
