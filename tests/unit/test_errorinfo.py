"""What is remembered of an error, and which errors count as the same."""

import json

import orjson
import pytest

from lockstep import errorinfo


def caught(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as raised:
        return raised


def fingerprint_of(error: BaseException) -> str:
    return str(orjson.loads(errorinfo.encode(error))["fingerprint"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("no order 17", "no order 4711"),
        ("took 1.5 s", "took 12,75 s"),
        ("at 10:30:01", "at 23:59:59"),
        ("no row 5b2f0c1d-9ae4-4899-bab1-8af9e74a36c9", "no row 46D45B17-4899-4bab-bf1a-8af9e74a36c9"),
        ("object at 0x7f2a1846df90", "object at 0x1"),
        ("commit 5b2f0c1d9ae4", "commit 0c1d9ae45b2f"),
        ("key 'alpha' is missing", "key 'b' is missing"),
        ('host "a.example" refused', 'host "b.example" refused'),
        ("column `a`", "column `b`"),
    ],
)
def test_errors_that_only_differ_in_what_varies_are_the_same(one: str, other: str) -> None:
    assert fingerprint_of(caught(ValueError(one))) == fingerprint_of(caught(ValueError(other)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ValueError("no order"), ValueError("no customer")),
        (ValueError("no order"), KeyError("no order")),
        (ValueError("deadbeef"), ValueError("feedface")),  # words, for all that one can tell
    ],
)
def test_other_errors_are_not(one: BaseException, other: BaseException) -> None:
    assert fingerprint_of(caught(one)) != fingerprint_of(caught(other))


def decode(text: str) -> object:
    return json.loads(text)


def parse(text: str) -> object:
    return json.loads(text)


def test_the_innermost_function_of_ones_own_counts_and_not_its_line() -> None:
    found = []
    for call in (decode, parse, decode):
        try:
            call("{")
        except ValueError as error:
            found.append(fingerprint_of(error))
    assert found[0] == found[2] != found[1]


def test_an_error_without_a_trace_or_a_text_has_one() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError("no")

    for error in (ValueError("never raised"), Mute(), ValueError("\ud800"), ValueError("'" * 5000)):
        assert len(fingerprint_of(error)) == 12


def test_the_kind_of_an_encoded_error() -> None:
    error = caught(KeyError("a"))
    assert errorinfo.kind_of(errorinfo.encode(error), "why") == ("KeyError", fingerprint_of(error))
    assert errorinfo.kind_of(b"", "why") == ("why", None)
