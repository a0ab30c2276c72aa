from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from starlette.requests import Request

from lockstep.errors import InvalidSettings
from lockstep.parsing import api_keys
from lockstep.settings import Settings
from tests.web.client import Client
from web.auth import check_exposure
from web.proxies import sign_of_proxy
from web.routes import ENDPOINTS

MAIL = {"actor": "mail.send", "kwargs": {"to": "a"}}
KEYS = api_keys("shop:enqueue:s3cret,board:read:look,all:enqueue+read:ключ,ops:operate+admin:boss")

MakeClient = Callable[..., Client]


@pytest.fixture
def guarded(settings: Settings, make_client: MakeClient) -> Client:
    return make_client(replace(settings, api_keys=KEYS))


def send(client: Client, headers: dict[str, Any]) -> int:
    options = {"json": MAIL, "headers": headers}
    return client.request("POST", "/api/v1/messages", **options).status_code


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "Bearer s3cre"}, 401),
        ({"authorization": "Bearer s3cret2"}, 401),
        ({"authorization": "Bearer"}, 401),
        ({"authorization": "s3cret"}, 401),
        ({"authorization": "Basic s3cret"}, 401),
        ({"authorization": b"Bearer \xff\xfe"}, 401),
        ({"authorization": "Bearer shop:enqueue:s3cret"}, 401),
        ({"authorization": "Bearer look"}, 403),
        ({"authorization": "Bearer boss"}, 403),
        ({"x-api-key": "look"}, 403),
        ({"authorization": "Bearer s3cret"}, 202),
        ({"authorization": "bearer  s3cret "}, 202),
        ({"x-api-key": "s3cret"}, 202),
        ({"authorization": "Bearer ключ".encode()}, 202),
    ],
)
def test_a_send_needs_a_key_with_the_scope(
    guarded: Client, snapshot: Callable[[], dict[bytes, bytes]], headers: dict[str, Any], status: int
) -> None:
    assert send(guarded, headers) == status
    assert bool(snapshot()) == (status == 202)


def test_refusals_say_what_is_needed(guarded: Client) -> None:
    unknown = guarded.get("/api/v1/queues")
    assert unknown.headers["www-authenticate"] == 'Bearer realm="lockstep"'
    lacking = guarded.get("/api/v1/queues", authorization="Bearer s3cret")
    assert lacking.status_code == 403
    assert 'scope="read"' in lacking.headers["www-authenticate"]
    assert "s3cret" not in lacking.text


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.path)
def test_every_endpoint_but_health_and_metrics_asks_for_a_key(guarded: Client, endpoint: Any) -> None:
    path = endpoint.template.replace("{id}", "x")
    status = guarded.request(endpoint.method, path).status_code
    assert (status == 401) == (path not in {"/livez", "/readyz", "/metrics"})
    assert status in {200, 401}


def test_a_refused_caller_does_not_get_its_body_read(guarded: Client) -> None:
    response = guarded.request("POST", "/api/v1/messages", content=b"x" * 10_000_000)
    assert response.status_code == 401


def test_with_keys_any_host_and_peer_is_answered(settings: Settings, make_client: MakeClient) -> None:
    client = make_client(
        replace(settings, api_keys=KEYS), base_url="http://api.example.org", peer="203.0.113.9"
    )
    assert send(client, {"x-api-key": "s3cret"}) == 202


@pytest.mark.parametrize(
    ("base_url", "peer", "status"),
    [
        ("http://localhost", "127.0.0.1", 200),
        ("http://LOCALHOST:1", "::1", 200),
        ("http://127.0.0.1:7777", "127.0.0.1", 200),
        ("http://[::1]:7777", "127.0.0.1", 200),
        ("http://evil.example", "127.0.0.1", 403),
        ("http://localhost.evil.example", "127.0.0.1", 403),
        ("http://127.0.0.1.nip.io", "127.0.0.1", 403),
        ("http://192.168.0.7:7777", "127.0.0.1", 403),
        ("http://localhost", "192.168.0.9", 403),
    ],
)
def test_without_keys_only_this_machine_is_answered(
    settings: Settings, make_client: MakeClient, base_url: str, peer: str, status: int
) -> None:
    client = make_client(settings, base_url=base_url, peer=peer)
    for path in ("/api/v1/queues", "/queue/status", "/livez", "/readyz", "/metrics"):
        assert client.get(path).status_code == status


SIGNS = (
    *("Forwarded", "forwarded", "Via", "VIA", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"),
    *("x-forwarded-server", "X-Forwarded", "X-Real-IP", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP"),
    *("CF-Ray", "X-Cluster-Client-IP", "Fly-Client-IP", "Fastly-Client-IP", "X-Envoy-External-Address"),
    *("X-Original-Forwarded-For", "X-Amzn-Trace-Id", "Client-IP", "CDN-Loop", "X-Request-Start", "X-Forwarded-Prefix"),
    *("Tailscale-User-Login", "X-Azure-ClientIP", "X-Original-Host", "X-Appengine-User-Ip"),
    *("X_Forwarded_For", "x-forwarded_for", "X_REAL_IP", "Client_IP", "X-Forward-For", "X-Forwarder-For"),
    *("X-Originating-IP", "X-Remote-User", "Remote-User", "X-Auth-Request-User", "X-Iisnode-Auth_User"),
    *("X-Via", "DO-Connecting-IP", "X-Fastly-Client-IP"),
)  # fmt: skip


def test_without_keys_a_request_with_a_sign_of_a_proxy_is_refused(
    client: Client, snapshot: Callable[[], dict[bytes, bytes]]
) -> None:
    for sign in SIGNS:
        for value in ("203.0.113.9", "127.0.0.1", ""):
            headers = {sign: value}
            refused = client.request("POST", "/api/v1/messages", json=MAIL, headers=headers)
            assert (refused.status_code, "API_KEYS" in refused.json()["detail"]) == (403, True), sign
        assert client.request("GET", "/metrics", headers={sign: "x"}).status_code == 403
        assert client.request("GET", "/livez", headers={sign: "x"}).status_code == 200
        assert client.request("GET", "/readyz", headers={sign: "x"}).status_code == 200
    assert snapshot() == {}


def test_connection_options_may_stand_in_several_headers() -> None:
    headers = [(b"connection", b"x"), (b"connection", b"Close")]
    scope = {"type": "http", "http_version": "1.0", "headers": headers}
    assert sign_of_proxy(Request(scope)) == "connection: close in HTTP/1.0"
    assert sign_of_proxy(Request({**scope, "http_version": "1.1"})) is None


def test_headers_of_ordinary_clients_are_no_sign_of_a_proxy(client: Client) -> None:
    headers = {
        "User-Agent": "curl/8", "Accept": "*/*", "X-Request-Id": "1", "Traceparent": "00-1-1-01", "Referer": "x",
        "X-Requested-With": "XMLHttpRequest", "Cache-Control": "no-cache", "Connection": "close", "DNT": "1",
        "Sec-Fetch-Site": "same-origin", "Idempotency-Key": "k", "X-API-Key": "none", "Cookie": "a=b",
    }  # fmt: skip
    assert client.request("GET", "/api/v1/queues", headers=headers).status_code == 200


def test_with_keys_a_proxy_may_pass_requests_on(guarded: Client) -> None:
    assert send(guarded, {"x-api-key": "s3cret", **dict.fromkeys(SIGNS, "x")}) == 202


@pytest.mark.parametrize("host", ["", "@localhost", "[::1", "localhost,evil", "[evil]"])
def test_a_strange_host_is_refused(client: Client, host: str) -> None:
    assert client.get("/livez", host=host).status_code in {200, 403}
    assert client.get("/livez", host=f"{host}.evil").status_code == 403


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "example.org"])
def test_without_keys_it_refuses_to_listen_for_others(settings: Settings, host: str) -> None:
    with pytest.raises(InvalidSettings, match="API_KEYS"):
        check_exposure(replace(settings, host=host))
    check_exposure(replace(settings, host=host, api_keys=KEYS))


@pytest.mark.parametrize("host", [None, "127.0.0.1", "::1", "localhost"])
def test_without_keys_it_may_listen_for_this_machine(settings: Settings, host: str | None) -> None:
    check_exposure(replace(settings, host=host))


def test_metrics_have_a_token_of_their_own(settings: Settings, make_client: MakeClient) -> None:
    client = make_client(replace(settings, metrics_token="t0ken"))
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", authorization="Bearer other").status_code == 401
    assert client.get("/metrics", authorization="Bearer t0ken").status_code == 200
    assert client.get("/api/v1/queues").status_code == 200
