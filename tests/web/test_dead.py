"""Dead letters over HTTP."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from lockstep import deadletters
from lockstep.deadletters import DeadFilter, Redrive
from lockstep.parsing import api_keys
from lockstep.records import Lease
from lockstep.settings import Settings
from lockstep.store import Store
from tests.support.burying import bury_all
from tests.web.client import Client, pointers

DEAD = "/api/v1/dead"


class Refused(Exception):
    """What the messages of these tests die of."""


def cause(lease: Lease) -> BaseException:
    """Of which there are two kinds."""
    return ValueError(f"no row {lease.sequence}") if lease.id == "m3" else Refused(f"host {lease.id} says 50")


@pytest.fixture
def store(client: Client) -> Store:
    store: Store = client.app.state.context.broker.store
    return store


def send(client: Client, *ids: str, group: str = "g") -> None:
    for id_ in ids:
        body = {"actor": "mail.send", "kwargs": {"to": "a"}, "id": id_, "group": group}
        assert client.post("/api/v1/messages", body).status_code == 202


@pytest.fixture
def dead(client: Client, store: Store) -> Client:
    """Four dead letters, m1 to m4, of one group, and m5 of another."""
    send(client, "m1", "m2", "m3", "m4")
    send(client, "m5", group="h")
    assert bury_all(store, "mail", cause) == 5
    return client


def ids_of(response: Any) -> list[str]:
    assert response.status_code == 200
    return [item["id"] for item in response.json()["items"]]


def test_listed_with_all_that_one_wants_to_know(dead: Client) -> None:
    (item,) = dead.get(f"{DEAD}?q=NO+ROW").json()["items"]
    shown = dead.get("/api/v1/messages/m3").json()
    assert item == {
        "id": "m3",
        "queue": "mail",
        "actor": "mail.send",
        "group": "g",
        "sequence": 3,
        "enqueued_at": shown["enqueued_at"],
        "died_at": shown["death"]["at"],
        "reason": "attempts_exhausted",
        "error": "ValueError",
        "message": "no row 3",
        "fingerprint": shown["attempts"][-1]["error"]["fingerprint"],
        "failures": 1,
        "crashes": 0,
        "redriven": 0,
    }
    assert shown["death"].items() >= {"error": "ValueError", "message": "no row 3"}.items()
    assert shown["state"] == "dead"


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", ["m1", "m2", "m3", "m4", "m5"]),
        ("?queue=mail&actor=mail.send&group=h", ["m5"]),
        ("?error=Refused", ["m1", "m2", "m4", "m5"]),
        ("?since=0&until=2100-01-01T00:00:00Z", ["m1", "m2", "m3", "m4", "m5"]),
        ("?until=1", []),
        ("?since=2100-01-01T00:00:00%2B01:00", []),
        ("?actor=nobody", []),
    ],
)
def test_filtered(dead: Client, query: str, ids: list[str]) -> None:
    assert sorted(ids_of(dead.get(DEAD + query))) == ids


@pytest.mark.parametrize("look", [1, 4, 2000])
def test_page_by_page_over_queues_and_shards(
    settings: Settings,
    make_client: Callable[[Settings], Client],
    monkeypatch: pytest.MonkeyPatch,
    look: int,
) -> None:
    client = make_client(replace(settings, queue_shards=3))
    store = client.app.state.context.broker.store
    for number in range(10):
        send(client, f"a{number}", group=f"g{number}")
        client.post("/api/v1/messages", {"actor": "anything", "id": f"b{number}"})
        bury_all(store, "mail")
        bury_all(store, "other")
    expected = ids_of(client.get(f"{DEAD}?limit=200"))
    died = {item["id"]: item["died_at"] for item in client.get(f"{DEAD}?limit=200").json()["items"]}
    assert len(died) == 20
    monkeypatch.setattr(deadletters, "PAGE_LOOK", look)
    monkeypatch.setattr(deadletters, "_LEAST_LOOK", min(look, 50))
    assert sorted(died.values(), reverse=True) == [died[one] for one in expected]
    for limit in (1, 3, 7):
        found, cursor = [], ""
        while cursor is not None:
            page = client.get(f"{DEAD}?limit={limit}" + (f"&cursor={cursor}" if cursor else ""))
            assert len(ids_of(page)) <= limit
            found += ids_of(page)
            cursor = page.json()["next_cursor"]
        assert found == expected


def test_the_summary_counts_kinds(dead: Client) -> None:
    first, second = dead.get(f"{DEAD}/summary").json()["items"]
    assert (first["error"], first["count"], first["queue"], first["actor"]) == (
        "Refused",
        4,
        "mail",
        "mail.send",
    )
    assert first["fingerprint"] != second["fingerprint"]
    assert (second["error"], second["count"]) == ("ValueError", 1)
    assert second["example"] == {"id": "m3", "message": "no row 3"}
    assert second["oldest_at"] == second["newest_at"]
    assert dead.get(f"{DEAD}/summary?queue=mail").json()["items"] == [first, second]
    assert 'lockstep_dead_letters{actor="mail.send",queue="mail"} 5.0' in dead.get("/metrics").text


def test_redrive_what_matches(dead: Client) -> None:
    counted = dead.post(f"{DEAD}/redrive", {"filter": {"error": "Refused"}, "dry_run": True}).json()
    answer = {"matched": 4, "redriven": 4, "missing": [], "next_cursor": None, "dry_run": False}
    assert counted == answer | {"redriven": 0, "dry_run": True}
    assert len(ids_of(dead.get(DEAD))) == 5
    assert dead.post(f"{DEAD}/redrive", {"filter": {"error": "Refused"}, "order": "head"}).json() == answer
    assert ids_of(dead.get(DEAD)) == ["m3"]
    shown = dead.get("/api/v1/messages/m4").json()
    assert (shown["state"], shown["position"], shown["redriven"]) == ("waiting", 2, 1)
    assert (shown["reason"], shown["death"]) == (None, None)
    again = dead.post(f"{DEAD}/redrive", {"filter": {"error": "Refused"}}).json()
    assert again == answer | {"matched": 0, "redriven": 0}


def test_redrive_by_id(dead: Client) -> None:
    answer = dead.post(f"{DEAD}/redrive", {"ids": ["m3", "m1", "nosuch", "m1"]}).json()
    assert answer == {
        "matched": 2,
        "redriven": 2,
        "missing": ["nosuch"],
        "next_cursor": None,
        "dry_run": False,
    }
    assert [dead.get(f"/api/v1/messages/{one}").json()["position"] for one in ("m1", "m3")] == [0, 1]
    assert dead.post(f"{DEAD}/redrive", {"ids": ["m1"]}).json()["missing"] == ["m1"]


def test_redrive_at_a_rate(dead: Client) -> None:
    answer = dead.post(f"{DEAD}/redrive", {"filter": {}, "rate": "1/1h"}).json()
    assert answer["redriven"] == 5
    states = [dead.get(f"/api/v1/messages/m{one}").json()["state"] for one in range(1, 6)]
    assert states == ["waiting"] + 4 * ["scheduled"]


def test_a_limit_is_kept_and_its_cursor_goes_on(dead: Client) -> None:
    body: dict[str, Any] = {"filter": {"queue": "mail"}, "limit": 2}
    first = dead.post(f"{DEAD}/redrive", body).json()
    assert first["redriven"] == 2
    second = dead.post(f"{DEAD}/redrive", body | {"cursor": first["next_cursor"]}).json()
    third = dead.post(f"{DEAD}/redrive", body | {"cursor": second["next_cursor"]}).json()
    assert (second["redriven"], third["redriven"]) == (2, 1)
    assert ids_of(dead.get(DEAD)) == []


def test_one_that_stopped_half_way_is_begun_anew(dead: Client) -> None:
    dead.post(f"{DEAD}/redrive", {"filter": {}, "limit": 2, "order": "head"})
    send(dead, "m6")
    assert dead.post(f"{DEAD}/redrive", {"filter": {}, "order": "head"}).json()["redriven"] == 3
    positions = [dead.get(f"/api/v1/messages/m{one}").json()["position"] for one in (1, 2, 3, 4, 6)]
    assert positions == [0, 1, 2, 3, 4]


def test_what_dies_meanwhile_is_left_alone(dead: Client, store: Store) -> None:
    body: dict[str, Any] = {"filter": {}, "limit": 3}
    first = dead.post(f"{DEAD}/redrive", body).json()
    bury_all(store, "mail")
    rest = dead.post(f"{DEAD}/redrive", {"filter": {}, "cursor": first["next_cursor"]}).json()
    assert (rest["redriven"], rest["next_cursor"]) == (2, None)
    assert sorted(ids_of(dead.get(DEAD))) == ["m1", "m2", "m3"]


def test_discard(dead: Client) -> None:
    body: dict[str, Any] = {"filter": {"group": "g"}, "dry_run": True}
    assert dead.post(f"{DEAD}/discard", body).json()["matched"] == 4
    answer = dead.post(f"{DEAD}/discard", body | {"dry_run": False}).json()
    assert answer == {
        "matched": 4,
        "discarded": 4,
        "missing": [],
        "next_cursor": None,
        "dry_run": False,
    }
    assert ids_of(dead.get(DEAD)) == ["m5"]
    assert dead.get("/api/v1/messages/m1").status_code == 404
    assert dead.post(f"{DEAD}/discard", {"ids": ["m1", "m5"]}).json()["missing"] == ["m1"]


def test_skip(client: Client) -> None:
    path = "/api/v1/queues/mail/groups/g/skip"
    assert client.request("POST", path).status_code == 404
    send(client, "m1", "m2")
    answer = client.request("POST", path)
    assert (answer.status_code, answer.json()) == (200, {"queue": "mail", "group": "g", "skipped": "m1"})
    shown = client.get("/api/v1/messages/m1").json()
    assert (shown["state"], shown["reason"], shown["death"]["error"]) == ("dead", "skipped", "skipped")
    assert client.request("POST", path).json()["skipped"] == "m2"
    assert client.request("POST", path).status_code == 409


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("redrive", [], ""),
        ("redrive", {}, ""),
        ("redrive", {"ids": ["a"], "filter": {}}, ""),
        ("redrive", {"ids": []}, "/ids"),
        ("redrive", {"ids": ["a"] * 501}, "/ids"),
        ("redrive", {"ids": [1]}, "/ids/0"),
        ("redrive", {"ids": ["a"], "limit": 1}, "/limit"),
        ("redrive", {"ids": ["a"], "cursor": "x"}, "/cursor"),
        ("redrive", {"filter": {"state": "x"}}, "/filter/state"),
        ("redrive", {"filter": {"error": 1}}, "/filter/error"),
        ("redrive", {"filter": {"q": ""}}, "/filter/q"),
        ("redrive", {"filter": {"since": "yesterday"}}, "/filter/since"),
        ("redrive", {"filter": {"since": -1}}, "/filter/since"),
        ("redrive", {"filter": {"since": 1_796_100_000}}, "/filter/since"),
        ("discard", {"filter": {"since": 1_796_100_000}}, "/filter/since"),
        ("redrive", {"filter": {"until": 1e300}}, "/filter/until"),
        ("redrive", {"filter": []}, "/filter"),
        ("redrive", {"filter": {}, "order": "middle"}, "/order"),
        ("redrive", {"filter": {}, "order": ["head"]}, "/order"),
        ("redrive", {"filter": {}, "rate": "fast"}, "/rate"),
        ("redrive", {"filter": {}, "rate": 10}, "/rate"),
        ("redrive", {"filter": {}, "rate": "10/1s per group"}, "/rate"),
        ("redrive", {"filter": {}, "rate": "10/1s", "order": "head"}, "/rate"),
        ("redrive", {"filter": {}, "dry_run": 1}, "/dry_run"),
        ("redrive", {"filter": {}, "limit": 0}, "/limit"),
        ("redrive", {"filter": {}, "cursor": "nonsense"}, "/cursor"),
        ("redrive", {"filter": {}, "cursor": "WzFd"}, "/cursor"),
        ("redrive", {"filter": {}, "force": True}, "/force"),
        ("discard", {"filter": {}, "order": "head"}, "/order"),
        ("discard", {}, ""),
    ],
)
def test_a_wrong_request_is_refused_and_changes_nothing(
    dead: Client,
    snapshot: Callable[[], dict[bytes, bytes]],
    path: str,
    body: object,
    pointer: str,
) -> None:
    before = snapshot()
    response = dead.post(f"{DEAD}/{path}", body)
    assert (response.status_code, pointers(response)) == (422, [pointer])
    assert snapshot() == before


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("?state=dead", "/state"),
        ("?limit=0", "/limit"),
        ("?limit=201", "/limit"),
        ("?limit=ten", "/limit"),
        ("?cursor=x", "/cursor"),
        ("?q=", "/q"),
        ("?since=soon", "/since"),
        ("?since=1796100000", "/since"),
        ("?until=1796100000", "/until"),
        ("?actor=a&actor=b", "/actor"),
        (f"?group={'x' * 257}", "/group"),
        ("/summary?actor=a", "/actor"),
    ],
)
def test_a_wrong_query_is_refused(client: Client, query: str, pointer: str) -> None:
    response = client.get(DEAD + query)
    assert (response.status_code, pointers(response)) == (422, [pointer])


def test_an_unknown_queue_is_404(client: Client) -> None:
    assert client.get(f"{DEAD}?queue=nosuch").status_code == 404
    assert client.get(f"{DEAD}/summary?queue=nosuch").status_code == 404
    for path in ("redrive", "discard"):
        assert client.post(f"{DEAD}/{path}", {"filter": {"queue": "nosuch"}}).status_code == 404


def test_it_needs_the_scope(settings: Settings, make_client: Callable[..., Client]) -> None:
    client = make_client(replace(settings, api_keys=api_keys("ops:operate:boss,board:read:s3cret")))
    assert client.get(DEAD).status_code == 401
    assert client.get(DEAD, authorization="Bearer s3cret").status_code == 200
    for path in ("redrive", "discard"):
        body = {"filter": {}}
        assert client.post(f"{DEAD}/{path}", body, authorization="Bearer s3cret").status_code == 403
        assert client.post(f"{DEAD}/{path}", body, authorization="Bearer boss").status_code == 200


def test_more_than_one_request_can_do_is_done_by_several(client: Client, store: Store) -> None:
    for number in range(3):
        messages = [
            {"actor": "mail.send", "kwargs": {"to": "a"}, "id": f"{number}:{i:03}", "group": f"g{i % 7}"}
            for i in range(1000)
        ]
        client.post("/api/v1/messages/batch", {"messages": messages})
    assert bury_all(store, "mail") == 3000
    walked = store.dead.redrive(DeadFilter(), Redrive(order="head"), seconds=0)
    assert (walked.changed, bool(walked.next_cursor)) == (500, True)
    changed, calls = walked.changed, 1
    while walked.next_cursor:
        walked = store.dead.redrive(DeadFilter(), Redrive(order="head"), seconds=0, cursor=walked.next_cursor)
        changed, calls = changed + walked.changed, calls + 1
    assert (changed, calls) == (3000, 7)
    for group in range(7):
        list_key = f"{store.shards('mail')[0].prefix}group:g:g{group}"
        ids = [one.decode() for one in store.command("LRANGE", list_key, 0, -1)]
        assert ids == sorted(ids)
        assert len(ids) > 400
