"""API keys: what a client can send is taken, all else is refused by its position, without its text."""

import pytest

from lockstep.api_keys import ApiKey, api_keys, sendable
from lockstep.errors import InvalidSettings
from lockstep.settings import Settings


def test_keys_and_their_scopes() -> None:
    keys = api_keys("ci:enqueue+read:a:b;c, ops:admin:c,\nboard:read:pass phrase ,all:read:ключ")

    assert keys == {
        "ci": ApiKey("ci", frozenset({"enqueue", "read"}), "a:b;c"),
        "ops": ApiKey("ops", frozenset({"admin"}), "c"),
        "board": ApiKey("board", frozenset({"read"}), "pass phrase"),
        "all": ApiKey("all", frozenset({"read"}), "ключ"),
    }
    assert "a:b" not in repr(keys)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("hunter", "key 1 is not of that form"),
        ("ci:read:a,ops:admin:", "key 2 is not of that form"),
        ("ci:read:a,:admin:hunter", "key 2 is not of that form"),
        ("ci:hunter:read", "key 1 has an unknown scope"),
        ("ci:read:hun,ter", "key 2 is not of that form"),
        ("ci:read:hunter,ci:read:b", "keys 1 and 2 have the same name"),
        ("ci:read:x,ops:admin:hunter,b:read:hunter", "keys 2 and 3 have the same secret"),
        ('"ci:read:hunter"', "key 1 has a quote"),
        ("'ci:read:hunter,ops:admin:b'", "key 1 has a quote"),
        ('ci:read:"hunter"', "key 1 cannot be sent"),
        ("ci:read:b,ops:read:hunter'", "key 2 cannot be sent"),
        ('ci":read:hunter', "key 1 has a blank or a quote"),
        ("“ci:read:hunter”", "key 1 has a quote"),
        ("ci:read:a\nops:admin:hunter", "key 1 has a line break"),
        ("ci:read:a\r\nops:admin:hunter", "key 1 has a line break"),
        ("ci:read:hunter\rops", "key 1 has a line break"),
        ("ci:read: hunter", "key 1 cannot be sent"),
        ("ci :read:hunter", "key 1 has a blank"),
        ("ci: read:hunter", "key 1 has an unknown scope"),
        ("ci:read+:hunter", "key 1 has an unknown scope"),
        ("ci:read:hunter\t,ops:admin:\thunter2", "key 2 has"),
        ("\ufeffci:read:hunter", "key 1 has .* byte order mark"),
        ("ci:read:a,\ufeffops:read:hunter", "key 2 has .* byte order mark"),
        ("ci:read:\ufeffhunter", "key 1 has .* byte order mark"),
        ("ci:read:hunter\x7f", "key 1 has"),
        ("ci:read:hun\x00ter", "key 1 has"),
        ("ci:read:hunter\u200b", "key 1 has"),
        # The last byte in UTF-8 is a blank in latin-1, which every receiver removes.
        ("ci:read:hunterà", "key 1 cannot be sent"),
        (f"ci:read:{'hunter' * 1000}", "key 1 cannot be sent"),
        ("ci:read:hunter;ops:admin:b", "key 1 has another key in its secret"),
        ("a:read:b,ci:read:hunter ops:read+admin:b", "key 2 has another key in its secret"),
        ("ci:read:hunter | ops:enqueue:b", "key 1 has another key in its secret"),
        (r"ci:read:hunter\nops:admin:b", "key 1 has another key in its secret"),
        (" ", "found no key"),
        (",", "found no key"),
    ],
)
def test_keys_that_no_client_can_send_are_refused_by_position(text: str, problem: str) -> None:
    with pytest.raises(InvalidSettings, match=problem) as refused:
        Settings.load({"API_KEYS": text}, env_file="")

    assert list(refused.value.problems) == ["API_KEYS"]
    assert "hunter" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    "token", [" ", "'hunter'", '"hunter"', "hunter ", "hun\nter", "\ufeffhunter", "hun\tter"]
)
def test_a_token_that_no_scraper_can_send_is_refused(token: str) -> None:
    with pytest.raises(InvalidSettings, match="METRICS_TOKEN") as refused:
        Settings.load({"METRICS_TOKEN": token}, env_file="")

    assert "hunter" not in str(refused.value)
    assert sendable("hunter") == "hunter"
