"""The embedded Redis: one server a directory, data kept, never an orphan."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from lockstep import embedded
from lockstep.embedded import DataDirInUse, EmbeddedRedis, EmbeddedRedisFailed, running_url, server_binary
from tests.support.waiting import wait_for


@pytest.fixture
def server() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis() as server:
        yield server


def client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, decode_responses=True)


def test_it_keeps_what_it_answered_and_forgets_nothing_it_was_told(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    with client(server.start(tmp_path / "data")) as first:
        first.set("kept", "yes")
        told = {
            name: first.config_get(name)[name]
            for name in ("appendonly", "appendfsync", "save", "maxmemory-policy", "bind")
        }
    server.stop()
    with client(server.start(tmp_path / "data")) as second:
        assert second.get("kept") == "yes"

    assert told == {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "bind": "127.0.0.1",
    }


def test_a_kill_loses_nothing_and_the_port_can_be_had_again(server: EmbeddedRedis, tmp_path: Path) -> None:
    url = server.start(tmp_path)
    with client(url) as first:
        for number in range(100):
            first.set(f"key-{number}", number)
    kill(server)

    assert server.start(tmp_path, server.port) == url
    with client(url) as second:
        assert second.dbsize() == 100


def test_its_address_is_known_exactly_while_it_lives(server: EmbeddedRedis, tmp_path: Path) -> None:
    assert running_url(tmp_path / "none") is None
    url = server.start(tmp_path)
    assert running_url(tmp_path) == url
    kill(server)
    assert (tmp_path / "redis.json").exists()  # nobody tidied up, yet nobody is misled
    assert running_url(tmp_path) is None


def test_a_stop_leaves_no_address(server: EmbeddedRedis, tmp_path: Path) -> None:
    server.start(tmp_path)
    pid = server.pid
    server.stop()

    assert (server.pid, server.alive, running_url(tmp_path)) == (None, False, None)
    assert not Path(f"/proc/{pid}").exists()
    server.stop()  # does nothing


def test_a_directory_serves_one_server(server: EmbeddedRedis, tmp_path: Path) -> None:
    url = server.start(tmp_path)

    with pytest.raises(DataDirInUse, match=url):
        EmbeddedRedis().start(tmp_path)
    with pytest.raises(EmbeddedRedisFailed, match="runs already"):
        server.start(tmp_path / "other")

    with client(url) as still:
        assert still.ping()


def test_a_taken_port_is_told_with_the_log(server: EmbeddedRedis, tmp_path: Path) -> None:
    server.start(tmp_path / "first")
    second = EmbeddedRedis()

    with pytest.raises(EmbeddedRedisFailed, match="in use"):
        second.start(tmp_path / "second", server.port)

    assert not second.alive
    assert running_url(tmp_path / "second") is None


def test_more_arguments_reach_the_server(server: EmbeddedRedis, tmp_path: Path) -> None:
    with client(server.start(tmp_path, extra=("--maxmemory", "50mb"), appendonly=False)) as connection:
        assert connection.config_get("maxmemory") == {"maxmemory": str(50 << 20)}
        assert connection.config_get("appendonly") == {"appendonly": "no"}


def test_without_any_server_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_PACKAGES", ())
    monkeypatch.setenv("PATH", "")

    with pytest.raises(EmbeddedRedisFailed, match="set REDIS_URL"):
        server_binary()


def test_the_path_is_the_last_resort(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "redis-server"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert server_binary() != program
    monkeypatch.setattr(embedded, "_PACKAGES", ("no_such_package",))
    assert server_binary() == program


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells children of their parent's death")
def test_it_dies_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from lockstep.embedded import EmbeddedRedis\n"
        "server = EmbeddedRedis()\n"
        "server.start(sys.argv[1])\n"
        "print(server.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert json.loads((tmp_path / "redis.json").read_text())["pid"] == pid
        parent.kill()

    wait_for("its end", lambda: running_url(tmp_path) is None)


def kill(server: EmbeddedRedis) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    wait_for("its end", lambda: not server.alive)
