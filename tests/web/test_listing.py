"""Lists of messages over HTTP."""

import pytest

from tests.web.client import Client, pointers


def send(client: Client, count: int) -> None:
    for number in range(count):
        client.post(
            "/api/v1/messages", {"actor": "mail.send", "id": f"m{number}", "group": "g", "args": ["x"]}
        )


def test_a_list_turns_its_pages(client: Client) -> None:
    send(client, 3)
    first = client.get("/api/v1/messages?group=g&state=waiting&limit=2").json()
    assert [one["id"] for one in first["items"]] == ["m0", "m1"]
    assert first["items"][0] | {"enqueued_at": None} == {
        "id": "m0", "state": "waiting", "actor": "mail.send", "queue": "mail", "group": "g", "sequence": 1,
        "enqueued_at": None, "due_at": None, "failures": 0, "crashes": 0, "error": None,
    }  # fmt: skip
    second = client.get(f"/api/v1/messages?group=g&state=waiting&cursor={first['next_cursor']}").json()
    assert [one["id"] for one in second["items"]] == ["m2"]
    assert second["next_cursor"] is None


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("state=gone", "/state"),
        ("limit=0", "/limit"),
        ("limit=201", "/limit"),
        ("limit=x", "/limit"),
        ("cursor=x", "/cursor"),
        ("group=", "/group"),
        ("what=1", "/what"),
        ("state=done&state=dead", "/state"),
        ("q=ab", "/q"),
        ("q=hello", "/q"),
    ],
)
def test_a_wrong_parameter_is_named(client: Client, query: str, pointer: str) -> None:
    send(client, 1)
    answer = client.get(f"/api/v1/messages?{query}")
    assert answer.status_code == 422
    assert pointers(answer) == [pointer]


def test_words_without_an_index_are_refused_with_what_to_set(client: Client) -> None:
    assert "SEARCH_INDEX" in client.get("/api/v1/messages?q=hello").json()["detail"]


def test_an_unknown_queue_is_not_found(client: Client) -> None:
    assert client.get("/api/v1/messages?queue=none").status_code == 404
