"""Text becomes values, or an error that says what was expected."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep import parsing
from lockstep.parsing import Backoff


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30),
        ("5m", 300),
        ("24h", 86400),
        ("7d", 604800),
        ("1.5s", 1.5),
        (" 8 ", 8),
        ("2 h", 7200),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parsing.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "1w", "1s2", "1e3", "٣s", "inf", "1_0"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parsing.duration(text)


@pytest.mark.parametrize(("text", "fits"), [("1s", True), ("10s", True), ("999ms", False), ("11s", False)])
def test_durations_have_bounds(text: str, fits: bool) -> None:
    parse = parsing.seconds(1, 10)
    if fits:
        assert 1 <= parse(text) <= 10
    else:
        with pytest.raises(ValueError, match="expected 1 to 10 seconds"):
            parse(text)


@pytest.mark.parametrize("text", ["0", "4", "x", "", "1.5"])
def test_whole_numbers_have_bounds(text: str) -> None:
    parse = parsing.integer(1, 3)
    assert [parse("1"), parse("3")] == [1, 3]
    with pytest.raises(ValueError, match=r"expected"):
        parse(text)


@pytest.mark.parametrize("text", ["1", "true", "Yes", " ON "])
def test_true(text: str) -> None:
    assert parsing.boolean(text) is True


@pytest.mark.parametrize("text", ["0", "false", "No", "off"])
def test_false(text: str) -> None:
    assert parsing.boolean(text) is False


def test_neither_true_nor_false() -> None:
    with pytest.raises(ValueError, match="expected true or false, got: 'perhaps'"):
        parsing.boolean("perhaps")


def test_one_of() -> None:
    parse = parsing.one_of("console", "json")
    assert parse(" JSON ") == "json"
    with pytest.raises(ValueError, match="expected one of console, json, got: 'xml'"):
        parse("xml")


def test_names() -> None:
    assert parsing.names("a, b.c-d ,,_e") == ("a", "b.c-d", "_e")
    for text in ("1a", "a b", "a{b}", "a:b", "é"):
        with pytest.raises(ValueError, match="expected a name"):
            parsing.names(text)


@pytest.mark.parametrize("text", ["http://host", "redis://", "host:6379", "unix:///tmp/redis"])
def test_what_is_no_redis_url(text: str) -> None:
    assert parsing.redis_url("rediss://:secret@host:6379/1") == "rediss://:secret@host:6379/1"
    with pytest.raises(ValueError, match="expected redis://"):
        parsing.redis_url(text)


def test_a_wrong_url_is_not_repeated() -> None:
    # It may hold a password, and the error is shown.
    for parse in (parsing.redis_url, parsing.http_url):
        with pytest.raises(ValueError, match="expected") as caught:
            parse("ftp://user:hidden@host")
        assert "hidden" not in str(caught.value)


def test_files_must_be_there(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    with pytest.raises(ValueError, match="found none at"):
        parsing.existing_file(str(file))
    file.touch()
    assert parsing.existing_file(str(file)) == str(file)


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_???", "not base64"])
def test_what_is_no_signing_secret(text: str) -> None:
    assert parsing.signing_secret("whsec_aGlkZGVu") == "whsec_aGlkZGVu"
    with pytest.raises(ValueError, match="expected whsec_"):
        parsing.signing_secret(text)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_loopback(host: str) -> None:
    assert parsing.is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org", ""])
def test_not_loopback(host: str) -> None:
    assert not parsing.is_loopback(host)


@pytest.mark.parametrize("text", ["fixed:10s", "list:0s,60s,120s", "exponential:2s"])
def test_backoffs_are_shown_as_they_are_written(text: str) -> None:
    assert str(Backoff.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "fixed", "fixed:", "fixed:1s,2s", "exponential:1s,2s", "linear:1s", "list:1s,x"]
)
def test_what_is_no_backoff(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        Backoff.parse(text)


def test_fixed_and_list_are_exact() -> None:
    listed = Backoff.parse("list:0s,60s,120s")

    assert [Backoff.parse("fixed:10s").delay_ms(failures) for failures in (1, 2, 9)] == [10000] * 3
    assert [listed.delay_ms(failures) for failures in (1, 2, 3, 4, 99)] == [0, 60000, 120000, 120000, 120000]


@given(st.integers(1, 10_000))
def test_exponential_doubles_within_its_spread_and_its_ceiling(failures: int) -> None:
    backoff = Backoff.parse("exponential:2s")

    delay = backoff.delay_ms(failures) / 1000

    least = 2 * 2 ** min(failures - 1, 32)
    assert min(least, backoff.most / 2) - 0.001 <= delay <= min(2 * least, backoff.most)


def test_routes() -> None:
    assert parsing.routes('{"shop": "https://example.org/in"}') == {"shop": "https://example.org/in"}
    for text in ("", "[]", '{"shop": 1}', '{"shop": "ftp://x"}', "{"):
        with pytest.raises(ValueError, match="expected"):
            parsing.routes(text)
