from collections import Counter

from lockstep.metrics import attempt_field
from tests.support.waiting import PATIENCE
from tests.web.client import Client

MAIL = {"actor": "mail.send", "kwargs": {"to": "a"}}


def test_no_queues(client: Client) -> None:
    assert client.get("/api/v1/queues").json() == {"items": []}
    status = client.get("/queue/status").json()
    assert status == {"waiting": 0, "active": 0, "completed": 0, "failed": 0, "delayed": 0, "queues": {}}


def test_queues_in_numbers(client: Client) -> None:
    for body in (
        {**MAIL, "group": "g"},
        {**MAIL, "group": "g", "id": "a"},
        {**MAIL, "group": "g", "id": "a"},
    ):
        client.post("/api/v1/messages", body)
    client.post("/api/v1/messages", {"actor": "anything", "delay_ms": 60_000})
    counted = Counter({attempt_field("mail.send", "done"): 2, attempt_field("other", "done"): 1})
    client.app.state.context.broker.store.count("mail", counted)
    mail, other = client.get("/api/v1/queues").json()["items"]
    assert (mail["name"], other["name"]) == ("mail", "other")
    shown = client.get("/api/v1/queues/mail").json()
    assert (shown["deepest_group"]["group"], shown["deepest_group"]["depth"]) == ("g", 2)
    assert 0 <= shown["oldest_group"]["age_seconds"] < PATIENCE
    assert shown["extremes_exact"] is True
    assert mail.items() <= (shown | {"oldest_seconds": mail["oldest_seconds"]}).items()
    none = client.get("/api/v1/queues/other").json()
    assert (none["deepest_group"], none["oldest_group"]) == (None, None)
    assert mail["messages"] == {
        "scheduled": 0,
        "waiting": 2,
        "running": 0,
        "backoff": 0,
        "done": 0,
        "dead": 0,
        "cancelled": 0,
    }
    assert mail["groups"] == {"ready": 1, "leased": 0, "blocked": 0, "paused": 0}
    assert 0 <= mail["oldest_seconds"] < PATIENCE
    assert mail["totals"] == {
        "enqueued": 2,
        "deduplicated": 1,
        "cancelled": 0,
        "lease_lost": 0,
        "reaped": 0,
        "attempts": {"done": 3, "retry": 0, "dead": 0, "released": 0, "cancelled": 0},
    }
    assert other["messages"]["scheduled"] == 1
    assert other["oldest_seconds"] is None


def test_the_old_names(client: Client) -> None:
    client.post("/api/v1/messages", MAIL)
    client.post("/api/v1/messages", {**MAIL, "delay_ms": 60_000})
    client.post("/api/v1/messages", {"actor": "anything"})
    status = client.get("/queue/status").json()
    mail = {"waiting": 1, "active": 0, "completed": 0, "failed": 0, "delayed": 1}
    other = {"waiting": 1, "active": 0, "completed": 0, "failed": 0, "delayed": 0}
    assert status == {**mail, "waiting": 2, "queues": {"mail": mail, "other": other}}
