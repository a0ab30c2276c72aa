from collections.abc import Callable
from dataclasses import replace
from typing import Any

import dramatiq
import periodiq
import pytest

from lockstep import cron
from lockstep.broker import LockstepBroker
from lockstep.parsing import api_keys
from lockstep.scheduler import Scheduler, declared
from lockstep.settings import Settings
from tests.support.waiting import PATIENCE, wait_for
from tests.web.client import Client
from tests.web.test_metrics import key, samples


@pytest.fixture
def broker(client: Client) -> LockstepBroker:
    broker: LockstepBroker = client.app.state.context.broker

    @dramatiq.actor(broker=broker, actor_name="re/port", group="g", periodic=periodiq.cron("0 * * * *"))
    def report() -> None: ...

    return broker


def run(client: Client, name: str, **headers: str) -> Any:
    return client.request("POST", f"/api/v1/schedules/{name}/run", headers=headers)


def test_nothing_is_listed_before_a_scheduler_ran(client: Client, broker: LockstepBroker) -> None:
    assert client.get("/api/v1/schedules").json() == {"items": [], "schedulers": []}


def test_last_and_next_run_are_listed_and_measured(client: Client, broker: LockstepBroker) -> None:
    scheduler = Scheduler(broker, declared(broker))
    scheduler.run_once()
    fresh = client.get("/api/v1/schedules").json()["items"][0]
    now = broker.store.schedules.listing().now_ms
    assert (fresh["last_tick_at"], fresh["last_run_at"], fresh["last_message_id"]) == (None, None, None)

    (schedule,) = declared(broker)
    tick = cron.ticks_between(schedule.expression, 0, now, 1)[0]
    broker.store.schedules.mark(schedule, tick, scheduler.name, fired_ms=tick, message_id="m1")

    def answered() -> Any:
        scheduler.run_once()  # a scheduler that was silent for a few seconds does not count as alive
        answer = client.get("/api/v1/schedules").json()
        return answer if answer["items"][0]["alive"] else None

    answer = wait_for("its scheduler is alive", answered)
    (item,) = answer["items"]
    assert {name: item[name] for name in ("name", "expression", "catch_up", "alive", "last_message_id")} == {
        "name": "re/port",
        "expression": "0 * * * *",
        "catch_up": "last",
        "alive": True,
        "last_message_id": "m1",
    }
    assert (item["last_tick_at"][13:], item["next_at"][13:]) == (":00:00.000Z", ":00:00.000Z")
    assert item["last_tick_at"] < item["last_run_at"] < item["next_at"]
    (seen,) = answer["schedulers"]
    assert seen["name"] == scheduler.name
    assert 0 <= seen["seen_seconds"] < PATIENCE
    measured = samples(client)[key("lockstep_schedule_last_run_timestamp_seconds", actor="re/port")]
    assert 0 <= measured - now / 1000 < PATIENCE


def test_a_schedule_is_run_now(client: Client, broker: LockstepBroker) -> None:
    answer = run(client, "re%2Fport")
    body = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/api/v1/messages/{body['id']}"
    assert body == {"id": body["id"], "queue": "default", "group": "g", "state": "waiting", "sequence": 1}
    assert client.get(answer.headers["location"]).json()["actor"] == "re/port"
    assert run(client, "re%2Fport").json()["id"] != body["id"]


@pytest.mark.parametrize("name", ["nosuch", "mail.send", "%00", "re/port"])
def test_what_is_no_schedule_is_404(
    client: Client, broker: LockstepBroker, snapshot: Callable[[], dict[bytes, bytes]], name: str
) -> None:
    assert run(client, name).status_code == 404
    assert snapshot() == {}


def test_it_needs_the_scope(settings: Settings, make_client: Callable[..., Client]) -> None:
    client = make_client(replace(settings, api_keys=api_keys("ops:operate:boss,board:read:s3cret")))
    assert run(client, "nosuch").status_code == 401
    assert run(client, "nosuch", authorization="Bearer s3cret").status_code == 403
    assert run(client, "nosuch", authorization="Bearer boss").status_code == 404
    assert client.get("/api/v1/schedules", authorization="Bearer boss").status_code == 403
    assert client.get("/api/v1/schedules", authorization="Bearer s3cret").status_code == 200
