import pytest

from lockstep.rates import Rate, concurrency_limits, decode, encode, is_name, rate_limits


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100/60s", Rate(100, 60_000, 100)),
        ("1/s", Rate(1, 1000, 1)),
        ("5/m", Rate(5, 60_000, 5)),
        ("10/500ms", Rate(10, 500, 10)),
        ("100/60s burst 10", Rate(100, 60_000, 10)),
        (" 10 / 1s per group ", Rate(10, 1000, 10, "group")),
        ("10/1s burst 2 per process", Rate(10, 1000, 2, "process")),
    ],
)
def test_rates(text: str, rate: Rate) -> None:
    assert Rate.parse(text) == rate
    assert Rate.parse(str(rate)) == rate
    assert decode(encode([rate])) == (rate,)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "100",
        "/1s",
        "0/1s",
        "1/0s",
        "1/9ms",
        "1/8d",
        "1000000/1s",
        "1/1s burst 2",
        "1/1s per fleet",
        "-1/1s",
        "1/1s burst 0",
    ],
)
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        Rate.parse(text)


def test_the_settings() -> None:
    assert rate_limits("email=100/60s, email=10/1s per process,deliver=1/s") == {
        "email": (Rate(100, 60_000, 100), Rate(10, 1000, 10, "process")),
        "deliver": (Rate(1, 1000, 1),),
    }
    assert concurrency_limits("a=1, b=20") == {"a": 1, "b": 20}


@pytest.mark.parametrize("text", ["email", "=1/s", "e mail=1/s", "email=1/s,email=2/s", "email=never"])
def test_wrong_settings(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        rate_limits(text)


@pytest.mark.parametrize("text", ["a", "a=0", "a=-1", "a=1.5", "a=100001"])
def test_wrong_concurrency(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        concurrency_limits(text)


def test_names() -> None:
    assert is_name("a.B-c_9")
    assert not any(map(is_name, ("", "a|b", "a b", "a:b", "a/b", "x" * 129)))
