from dataclasses import replace

from lockstep.processes import ProcessState, ProcessType
from lockstep.reporting import identity
from tests.web.client import Client


def test_a_hint_for_all_and_for_each_role(client: Client) -> None:
    assert client.get("/api/v1/scaling").json()["items"][0]["workers_wanted"] == 0
    for number in range(12):
        body = {"actor": "mail.send", "kwargs": {"to": "a"}, "group": f"g{number}"}
        client.post("/api/v1/messages", body)
    client.post("/api/v1/messages", {"actor": "anything", "delay_ms": 50_000})
    context = client.app.state.context
    record = identity(ProcessType.WORKER, "w1", context.settings, role="email", capacity=4)
    context.broker.store.processes.report(replace(record, state=ProcessState.READY, busy=3))

    all_, messages, email = client.get("/api/v1/scaling").json()["items"]
    assert (all_["role"], messages["role"], email["role"]) == ("all", "messages", "email")
    assert all_["oldest_seconds"] >= 0
    told = ("depth", "due_soon", "useful_threads", "rate", "workers", "busy", "capacity", "workers_wanted")
    assert [all_[name] for name in told] == [12, 1, 12, None, 1, 3, 4, 3]
    assert [messages[name] for name in told] == [
        12,
        1,
        12,
        None,
        0,
        0,
        0,
        3,
    ]  # 5 threads each, by the settings
    assert [email[name] for name in told] == [0, 0, 0, None, 1, 3, 4, 0]
    mail, other = all_["queues"]
    assert (mail["name"], mail["ready_groups"], mail["threads_wanted"]) == ("mail", 12, 12)
    assert (other["name"], other["depth"], other["due_soon"]) == ("other", 0, 1)

    client.post("/api/v1/queues/mail/pause", {})
    paused = client.get("/api/v1/scaling").json()["items"][0]
    assert (paused["depth"], paused["useful_threads"], paused["workers_wanted"]) == (12, 0, 1)
