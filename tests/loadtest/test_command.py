"""``lockstep loadtest`` on real processes: a service that keeps order, one that does not, and none."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from lockstep.cli.commands import make_app
from lockstep.embedded import EmbeddedRedis
from lockstep.settings import Settings
from lockstep.states import MessageState
from lockstep.store import Store
from tests.loadtest.stack import ROOT, Stack, command
from tests.support.proxy import Proxy
from tests.support.waiting import LONG_COMMAND, wait_for


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with EmbeddedRedis() as server:
        url = server.start(tmp_path_factory.mktemp("redis"))
        store = Store.connect(Settings.load({"REDIS_URL": url}, env_file=""))
        yield store
        store.close()


@pytest.fixture(scope="module")
def stack(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(store.settings, tmp_path_factory.mktemp("stack"))
    yield stack
    stack.stop()


def document(ended: "subprocess.CompletedProcess[str]", code: int) -> dict[str, Any]:
    assert ended.returncode == code, ended.stdout + ended.stderr
    told: dict[str, Any] = json.loads(ended.stdout)
    return told


def test_a_service_that_keeps_order(stack: Stack, store: Store) -> None:
    told = document(stack.load("--rate", "60", "--groups", "7", "--duration", "2", "--seconds", "0.02"), 0)
    assert told["in_order"] is told["drained"] is True
    assert (told["planned"], told["sent"], told["accepted"], told["checked"]) == (120, 120, 120, 120)
    assert (told["refused"], told["failed"], told["violations"], told["problems"]) == ({}, {}, {}, [])
    assert told["seconds"] > 1.9
    assert told["response_ms"]["max"] >= told["response_ms"]["p50"] > 0
    assert told["latency_ms"]["p50"] >= 20
    record = store.message(f"loadtest-{told['run']}-6-3")
    assert (record.state, record.group) == (MessageState.DONE, f"loadtest-{told['run']}-6")
    assert json.loads(record.payload)["kwargs"] == {"number": 3, "seconds": 0.02}


def test_one_that_does_not_is_found_out(stack: Stack) -> None:
    given = ("--actor", "unordered", "--kwargs", '{"seconds": 0.1}', "--rate", "30", "--groups", "2")
    told = document(stack.load(*given, "--duration", "1"), 1)
    assert told["in_order"] is False
    assert told["drained"] is True
    assert told["violations"]["overlap"] > 10
    assert "had ended" in told["examples"][0]


def test_an_answer_that_is_lost_is_asked_for_again(stack: Stack) -> None:
    proxy = Proxy(stack.port)
    try:
        proxy.lose_answer("POST /api/v1/messages")
        told = document(
            stack.load(
                "--rate",
                "20",
                "--groups",
                "4",
                "--duration",
                "1",
                port=int(proxy.url[:-2].rpartition(":")[2]),
            ),
            1,
        )
    finally:
        proxy.close()
    assert proxy.lost == 1
    assert (told["accepted"], told["checked"], told["replayed"], sum(told["failed"].values())) == (
        20,
        20,
        1,
        1,
    )
    assert (told["violations"], told["problems"]) == ({}, ["1 requests failed"])


def test_a_full_queue_is_asked_again_when_it_says(stack: Stack, store: Store) -> None:
    port = stack.start_web(MAX_QUEUE_LENGTH="3")
    store.pause("messages")
    loading = subprocess.Popen(
        command(
            "loadtest",
            "--url",
            f"http://127.0.0.1:{port}",
            "--json",
            "--rate",
            "20",
            "--groups",
            "5",
            "--duration",
            "0.5",
        ),
        env={**stack.environment, "LOCKSTEP_API_KEY": "s3cret"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    refused = 'route="/api/v1/messages",status="429"'
    wait_for(
        "one is refused",
        lambda: refused in httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text,
        60,
    )
    store.resume("messages")  # it comes again after five seconds
    output, _ = loading.communicate(timeout=LONG_COMMAND)
    told = json.loads(output)
    assert (loading.returncode, told["accepted"], told["failed"]) == (0, 10, {}), told
    assert told["refused"].keys() == {"429"}
    assert told["response_ms"]["max"] > 1000  # from when it should have been sent, not from the last try


def test_ctrl_c_ends_the_sending_and_what_was_sent_is_checked(stack: Stack) -> None:
    watched = stack.watched("--rate", "50", "--groups", "5", "--duration", "600")
    watched.read_until(r"sent .*of 30000", r"messages: [1-9]\d* done", r"p50 .* of [1-9]\d* sampled")
    watched.interrupt()
    code, output = watched.end()
    told = json.loads(output)
    assert code == 0
    assert (told["interrupted"], told["in_order"], told["violations"]) == (True, True, {})
    assert 10 < told["accepted"] == told["checked"] < 30000


def test_a_second_ctrl_c_ends_it(stack: Stack, store: Store) -> None:
    store.pause("messages")
    try:
        watched = stack.watched("--rate", "50", "--groups", "5", "--duration", "0.5", "--timeout", "600")
        watched.read_until(": draining")
        watched.interrupt()
        assert watched.end() == (1, "")
        assert "interrupted: nothing can be said" in watched.seen
    finally:
        store.resume("messages")


def test_what_is_not_done_in_time_is_told(stack: Stack, store: Store) -> None:
    store.pause("messages")
    try:
        told = document(
            stack.load("--rate", "20", "--groups", "4", "--duration", "0.5", "--timeout", "0.3"), 3
        )
    finally:
        store.resume("messages")
    assert (told["in_order"], told["drained"], told["unfinished"], told["problems"]) == (False, False, 10, [])


@pytest.mark.parametrize(
    ("key", "arguments", "code", "said"),
    [
        ("wrong", (), 5, "401"),
        ("eyes", (), 5, "403: this needs an API key with the scope 'enqueue'"),
        ("s3cret", ("--actor", "nobody"), 5, "no actor named 'nobody'"),
        ("s3cret", ("--url", "http://127.0.0.1:1"), 3, "http://127.0.0.1:1: ConnectError"),
    ],
)
def test_what_cannot_be_loaded_is_told(
    stack: Stack, key: str, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended = stack.load("--duration", "1", *arguments, key=key)
    assert (ended.returncode, ended.stdout) == (code, ""), ended.stderr
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--url", "127.0.0.1"), "--url: expected an address"),
        (("--kwargs", "[1]"), "--kwargs: expected an object"),
        (("--kwargs", "{"), "--kwargs: not JSON"),
        (("--seconds", "61"), "--seconds"),
        (("--rate", "0"), "--rate"),
    ],
)
def test_what_is_not_understood_is_told(arguments: tuple[str, ...], said: str) -> None:
    ended = CliRunner().invoke(make_app(), ["loadtest", *arguments], env={"COLUMNS": "200"})
    assert ended.exit_code == 2
    assert said in ended.stderr


def test_without_the_actor_the_setting_is_named(stack: Stack) -> None:
    ended = stack.load("--duration", "1", port=stack.start_web(LOADTEST_ACTOR="false"))
    assert ended.returncode == 5
    assert "Set LOADTEST_ACTOR=true" in ended.stderr


def test_while_the_intake_is_off_nothing_is_sent(stack: Stack, store: Store) -> None:
    store.intake.switch(accept=False, why="night")
    try:
        ended = stack.load("--duration", "1")
    finally:
        store.intake.switch(accept=True)
    assert ended.returncode == 5
    assert "the intake is off (night)" in ended.stderr
