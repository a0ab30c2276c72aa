"""Input that looks right and does something else: seconds for milliseconds, empty cursors, ids that are no address."""

import gzip
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin

import pytest

from lockstep.errors import InvalidMessage
from tests.support.burying import bury_all
from tests.web.client import Client, pointers

ONE = "/api/v1/messages"
MAIL = {"actor": "mail.send", "kwargs": {"to": "a"}}

Snapshot = Callable[[], dict[bytes, bytes]]


@pytest.fixture
def actor(client: Client) -> Any:
    return client.app.state.context.broker.get_actor("anything")


def test_an_eta_in_seconds_is_refused_and_says_why(client: Client, actor: Any, snapshot: Snapshot) -> None:
    now = int(time.time())
    for eta in (now, now + 3600, now - 3600):
        refused = client.post(ONE, {**MAIL, "eta": eta})
        assert (refused.status_code, pointers(refused)) == (422, ["/eta"])
        assert "looks like seconds" in refused.json()["errors"][0]["detail"]
        batch = client.post(f"{ONE}/batch", {"messages": [MAIL, {**MAIL, "eta": eta}]})
        assert pointers(batch) == ["/messages/1/eta"]
        for value in (eta, float(eta)):
            with pytest.raises(InvalidMessage, match="looks like seconds") as caught:
                actor.send_with_options(eta=value)
            assert caught.value.field == "/eta"
    for eta in (0, 1, (now - 2 * 86_400) * 1000, "2001-01-01T00:00:00Z"):
        refused = client.post(ONE, {**MAIL, "eta": eta})
        assert "more than a day in the past" in refused.json()["errors"][0]["detail"]
    assert snapshot() == {}
    for eta in ((now - 3600) * 1000, now * 1000, (now + 60) * 1000):
        assert client.post(ONE, {**MAIL, "eta": eta}).status_code == 202


def test_an_empty_cursor_is_the_first_page(client: Client) -> None:
    client.post(ONE, {**MAIL, "group": "g"})
    client.post(ONE, {"actor": "anything"})
    bury_all(client.app.state.context.broker.store, "other")
    for path in ("messages", "queues/mail/groups", "dead"):
        first = client.get(f"/api/v1/{path}?cursor=").json()
        assert (len(first["items"]), first["next_cursor"]) == (2 if path == "messages" else 1, None), path
        assert pointers(client.get(f"/api/v1/{path}?cursor=x")) == ["/cursor"]
    assert client.get("/api/v1/queues/mail/groups?sort=depth&cursor=").status_code == 200
    for path in ("redrive", "discard"):
        body = {"filter": {}, "dry_run": True, "cursor": ""}
        assert client.post(f"/api/v1/dead/{path}", body).status_code == 200
        assert pointers(client.post(f"/api/v1/dead/{path}", {**body, "cursor": None})) == ["/cursor"]


def test_the_result_of_a_failure_is_none(client: Client) -> None:
    sent = client.post(ONE, MAIL).json()["id"]
    store = client.app.state.context.broker.store
    bury_all(store, "mail", lambda _: ValueError("no"))
    (shard,) = store.shards("mail")
    envelope = b'{"__t":"dramatiq.results.Result","exn":{"type":"ValueError","msg":"no"}}'
    store.command("SET", f"{shard.prefix}result:{sent}", envelope)
    shown = client.get(f"{ONE}/{sent}").json()
    assert (shown["state"], shown["result"], shown["death"]["error"]) == ("dead", None, "ValueError")
    assert "dramatiq" not in str(shown["result"])


@pytest.mark.parametrize(
    "name", [".", "..", "%2e", "%2E.", "a/../b", "../x", "./", "x/..", "..\\x", "%2e%2e%2fx"]
)
def test_an_id_whose_address_would_not_work_is_refused(
    client: Client, actor: Any, snapshot: Snapshot, name: str
) -> None:
    assert pointers(client.post(ONE, {**MAIL, "id": name})) == ["/id"]
    assert pointers(client.post(f"{ONE}/batch", {"messages": [{**MAIL, "id": name}]})) == ["/messages/0/id"]
    for send in (
        lambda: actor.send_with_options(message_id=name),
        lambda: actor.broker.enqueue(actor.message().copy(message_id=name)),
    ):
        with pytest.raises(InvalidMessage) as caught:
            send()
        assert caught.value.field == "/id"
    assert snapshot() == {}


@pytest.mark.parametrize(
    "name", ["...", "a.b", ".a", "a..", "a/b", "a%2Fb", "%", "~", "a b", "é", "?x#y", "%25"]
)
def test_the_location_of_a_message_leads_to_it(client: Client, name: str) -> None:
    sent = client.post(ONE, {**MAIL, "id": name})
    assert sent.status_code == 202
    address = urljoin("http://localhost/api/v1/messages", sent.headers["location"])
    assert client.get(address).json()["id"] == name


@pytest.mark.parametrize(
    "encoding", ["gzip", "GZIP", "x-gzip", "deflate", "br", "zstd", "identity, gzip", "nonsense"]
)
def test_an_encoded_body_is_415(client: Client, snapshot: Snapshot, encoding: str) -> None:
    body = gzip.compress(b'{"actor": "mail.send", "kwargs": {"to": "a"}}')
    for path in (ONE, f"{ONE}/batch", "/api/v1/dead/redrive", "/api/v1/dead/discard"):
        refused = client.post(path, body, content_encoding=encoding)
        assert (refused.status_code, refused.headers["accept-encoding"]) == (415, "identity"), path
    for method, path in (
        ("PUT", "/api/v1/intake"),
        ("PUT", "/api/v1/limits/x"),
        ("POST", "/api/v1/limits/x/hold"),
    ):
        headers = {"content-type": "application/json", "content-encoding": encoding}
        assert client.request(method, path, content=body, headers=headers).status_code == 415, path
    assert snapshot() == {}


def test_a_body_that_may_be_left_out_is_read_like_any_other(client: Client) -> None:
    release = "/api/v1/limits/x/release"
    assert client.request("POST", release).status_code == 200
    assert client.request("POST", release, content=b"").status_code == 200
    assert client.post(release, {"key": "k"}).json()["key"] == "k"
    assert client.post(release, b"x" * 10_000_000).status_code == 413
    assert (
        client.request("POST", release, content=b"{}", headers={"content-encoding": "gzip"}).status_code
        == 415
    )
    assert client.request("POST", release, content=b"{}").status_code == 415


@pytest.mark.parametrize("encoding", ["identity", "IDENTITY", ""])
def test_a_body_that_is_not_encoded_is_read(client: Client, encoding: str) -> None:
    assert client.post(ONE, MAIL, content_encoding=encoding).status_code == 202
