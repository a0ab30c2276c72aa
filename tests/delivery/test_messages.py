"""The actor itself: what it accepts, and what it hands over."""

import json
from typing import Any

import pytest

from actors.messages import deliver, encode
from lockstep.errors import Permanent

CONTENT = {"instance_id": "acme", "customer_id": "c-1", "body": "hello"}


def test_its_names_are_the_documented_ones() -> None:
    assert (deliver.actor_name, deliver.queue_name) == ("messages.deliver", "messages")
    assert deliver.options["group_by"] == "{instance_id}:{customer_id}"


@pytest.mark.parametrize("body", ["", "ünï¢ode \ud83d", None, True, 7, 2**70, 1.5, [], {"a": [{"b": None}]}])
def test_any_json_value_is_a_body(body: Any) -> None:
    text = encode("m-1", {**CONTENT, "body": body}, {"channel": "sms"})
    assert json.loads(text) == {
        "id": "m-1",
        "instance_id": "acme",
        "customer_id": "c-1",
        "body": body,
        "channel": "sms",
    }


@pytest.mark.parametrize("name", ["instance_id", "customer_id"])
@pytest.mark.parametrize("value", ["", None, 7, ["acme"]])
def test_ids_are_texts_that_are_not_empty(name: str, value: Any) -> None:
    with pytest.raises(Permanent, match=name) as caught:
        encode("m-1", {**CONTENT, name: value}, {})
    assert caught.value.code == "invalid_message"


@pytest.mark.parametrize(("content", "extra"), [({}, {"id": "m-2"}), ({"body": float("nan")}, {})])
def test_what_cannot_be_posted_is_permanent(content: dict[str, Any], extra: dict[str, Any]) -> None:
    with pytest.raises(Permanent) as caught:
        encode("m-1", CONTENT | content, extra)
    assert caught.value.code == "invalid_message"


def test_it_does_not_run_outside_a_worker() -> None:
    with pytest.raises(RuntimeError, match="send"):
        deliver("acme", "c-1", "hello")
