"""Whatever arrives, the answer is an answer: never a 500, never a trace."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lockstep.checks import RESERVED
from lockstep.requests import FIELDS
from tests.web.client import Client

fuzz = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

texts = st.text(st.characters(codec=None), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from([*FIELDS, *RESERVED]) | texts
actors = st.sampled_from([{}, {"actor": "anything"}, {"actor": "mail.send", "kwargs": {"to": "a"}}])
messages = st.builds(
    lambda fields, actor: {**fields, **actor}, st.dictionaries(names, values, max_size=4), actors
)
batches = st.builds(lambda items: {"messages": items}, st.lists(messages | values, max_size=4))
bodies = st.one_of(
    st.binary(max_size=64),
    st.builds(lambda value: json.dumps(value).encode(), messages | batches | values),
    st.builds(lambda value, cut: json.dumps(value).encode()[:cut], messages | batches, st.integers(0, 80)),
)


@fuzz
@given(body=bodies, path=st.sampled_from(["/api/v1/messages", "/api/v1/messages/batch"]))
def test_any_body(client: Client, body: bytes, path: str) -> None:
    assert client.post(path, body).status_code in {200, 202, 400, 404, 413, 422}


@fuzz
@given(
    segment=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40),
    prefix=st.sampled_from(["/", "/api/v1/", "/api/v1/messages/", "/queue/"]),
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "X"]),
)
def test_any_path_and_method(client: Client, segment: str, prefix: str, method: str) -> None:
    path = prefix + segment.replace("?", "%").replace("#", "%")
    assert client.request(method, path).status_code in {200, 400, 404, 405, 415}


@fuzz
@given(
    headers=st.dictionaries(
        st.sampled_from(
            ["host", "accept", "authorization", "x-api-key", "content-type", "content-length", "range"]
        ),
        st.binary(max_size=20).map(lambda value: bytes(byte for byte in value if byte not in b"\r\n\0")),
    )
)
def test_any_header(client: Client, headers: dict[str, Any]) -> None:
    for method, path in (("GET", "/metrics"), ("GET", "/api/v1/queues"), ("POST", "/api/v1/messages")):
        response = client.request(method, path, headers=headers)
        assert response.status_code in {200, 400, 403, 413, 415}
