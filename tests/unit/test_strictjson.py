import pytest

from lockstep.strictjson import parse_json


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Expecting value"),
        ("{} x", "Extra data"),
        (b"\xff", "utf-8"),
        ('{"a": NaN}', "NaN is no JSON"),
        ("[-Infinity]", "-Infinity is no JSON"),
        ("1e999", "a number is too large"),
        ("9" * 5000, "limit"),
        ('[{"a": 1, "b": {"c": 1, "c": 1}}]', "'c' is named twice"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_readers_take_differently_is_refused(text: str | bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_json(text)


@pytest.mark.parametrize(
    "text",
    ['{"a": [1, 2.5, null, true, "\\ud83d\\ude00"]}', b'{"a": [1, 2.5, null, true, "\xf0\x9f\x98\x80"]}'],
)
def test_the_rest_is_read(text: str | bytes) -> None:
    assert parse_json(text) == {"a": [1, 2.5, None, True, "😀"]}
