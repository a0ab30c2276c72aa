"""What an expression means: cronsim's reading counts, periodiq's defects are normalised or refused."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import periodiq
import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from lockstep import cron
from middleware.periodic import GuardedSpec

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
WEEK = 7 * 24 * 60


def ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def ticks(text: str, count: int, since: datetime = MONDAY) -> list[datetime]:
    """The first ticks of what an actor would declare."""
    expression, after, found = GuardedSpec.of(text).expression, ms(since) - 1, []
    for _ in range(count):
        after = cron.next_tick(expression, after)
        found.append(datetime.fromtimestamp(after / 1000, UTC))
    return found


@pytest.mark.parametrize(
    "text", ["0 12 * * 0", "0 12 * * 7", "0 12 * * sun", "0 12 * * SUN", " 0  12 * * 0,7 "]
)
def test_sunday_comes_however_it_is_written(text: str) -> None:
    sunday = datetime(2026, 11, 29, 12, tzinfo=UTC)
    assert ticks(text, 2) == [sunday, sunday + timedelta(weeks=1)]


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("0 0 * * 5-7", "4 5 6"),
        ("0 0 * * 0-2", "0 1 6"),
        ("0 0 * * 0-5,7", "0 1 2 3 4 6"),
        ("0 0 * * */2", "1 3 5 6"),
    ],
)
def test_ranges_of_weekdays(text: str, days: str) -> None:
    wanted = [int(day) for day in days.split()]
    assert [one.weekday() for one in ticks(text, len(wanted))] == wanted


def test_no_step_is_passed_over() -> None:
    found = ticks("*/5 3 * * *", 24)
    assert [(one.hour, one.minute) for one in found] == [(3, minute) for minute in range(0, 60, 5)] * 2


def test_names_of_expressions() -> None:
    assert ticks("@hourly", 1, MONDAY + timedelta(minutes=1)) == [MONDAY + timedelta(hours=1)]
    assert ticks("@weekly", 1) == [datetime(2026, 11, 29, tzinfo=UTC)]
    assert ticks("@yearly", 1) == [datetime(2027, 1, 1, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("5/15 * * * *", "read its minute differently"),
        ("0 4/2 * * *", "read its hour differently"),
        ("0 4-4/2 * * *", "read its hour differently"),
        ("0 0 */2 * 1", "read its days differently"),
        ("0 0 1-31 * 1", "read its days differently"),
        ("0 0 15 * 1-7", "read its days differently"),
        ("61 * * * *", "Bad minute"),
        ("0 24 * * *", "Bad hour"),
        ("0 0 30 2 *", "Bad day-of-month"),
        ("0 0 * 13 *", "Bad month"),
        ("0 0 * * 8", "Bad day-of-week"),
        ("* * * * * *", "expected five fields"),
        ("* * * *", "periodiq cannot read"),
        ("0 0 * jan *", "periodiq cannot read"),
        ("0 0 L * *", "periodiq cannot read"),
        ("@reboot", "periodiq cannot read"),
        ("30-10 * * * *", "periodiq cannot read"),
        ("", "periodiq cannot read"),
        ("nonsense", "periodiq cannot read"),
    ],
)
def test_what_could_go_wrong_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        GuardedSpec.of(text)


def test_a_spec_that_was_made_of_numbers() -> None:
    spec = periodiq.cron("*/20 * * * *").replace(h=[6, 18], dow=[0, 6])
    assert GuardedSpec.of(spec).expression == "0,20,40 6,18 * * 0,6"
    assert GuardedSpec.of(spec.replace(dom=[1], dow=[1])).expression == "0,20,40 6,18 1 * 1"


def part(least: int, most: int) -> st.SearchStrategy[str]:
    """One item of a field: a number, a range, or a step of a range or of all.

    Not ``5-5/10``: cronsim takes it for ``5/10``, so it is refused.
    """
    number = st.integers(least, most)
    pair = st.tuples(st.integers(least, most - 1), number).map(
        lambda two: (min(two), max(two[0] + 1, two[1]))
    )
    step = st.integers(1, most)
    return st.one_of(
        number.map(str),
        pair.map(lambda two: f"{two[0]}-{two[1]}"),
        st.tuples(pair, step).map(lambda one: f"{one[0][0]}-{one[0][1]}/{one[1]}"),
        step.map(lambda one: f"*/{one}"),
        st.just("*"),
    )


def field(least: int, most: int) -> st.SearchStrategy[str]:
    return st.one_of(st.just("*"), st.lists(part(least, most), min_size=1, max_size=3).map(",".join))


EXPRESSIONS = st.tuples(field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 7)).map(" ".join)
MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1)).map(lambda one: one.replace(tzinfo=UTC))


def expected(text: str, after: datetime, count: int) -> list[datetime]:
    found = CronSim(text, after)
    return [next(found) for _ in range(count)]


@given(EXPRESSIONS, MOMENTS)
def test_every_expression_that_is_accepted_has_the_ticks_of_cron(text: str, after: datetime) -> None:
    try:
        spec: Any = GuardedSpec.of(text)
    except ValueError:
        return
    one, two, three = expected(text, after, 3)
    assert cron.next_tick(spec.expression, ms(after)) == ms(one)
    assert cron.ticks_between(spec.expression, ms(after), ms(three), 5) == [ms(one), ms(two), ms(three)]
    assert cron.ticks_between(spec.expression, ms(after), ms(three), 2) == [ms(two), ms(three)]
    assert cron.ticks_between(spec.expression, ms(one), ms(three) - 1, 5) == [ms(two)]
    # And so it has for periodiq's own command.
    now = periodiq.pendulum.instance(one).in_timezone("Asia/Kolkata").add(seconds=17)
    assert spec.validate(now)
    assert spec.validate(now.add(minutes=1)) == (two - one == timedelta(minutes=1))
    assert spec.next_valid_date(now) == two


def days_of(text: str) -> tuple[str, str]:
    fields = text.split()
    return fields[2], fields[4]


@given(EXPRESSIONS)
def test_only_what_the_two_read_differently_is_refused(text: str) -> None:
    """Both days restricted in a way that only one of them sees is what differs; everything else is accepted."""
    try:
        CronSim(text, MONDAY)
    except Exception:
        with pytest.raises(ValueError, match="Bad"):
            GuardedSpec.of(text)
        return
    try:
        GuardedSpec.of(text)
    except ValueError as error:
        assert "read its days differently" in str(error)
        assert "*" not in days_of(text)
        assert all(day != "*" for day in days_of(text))


@given(
    st.tuples(field(0, 59), field(0, 23), st.just("*"), field(1, 12), field(0, 7)).map(" ".join),
    st.integers(0, 52 * WEEK),
)
def test_what_periodiq_reads_rightly_stays_as_it_is(text: str, minutes: int) -> None:
    """Away from its defects (Sunday as 0), periodiq's own test of a minute says the same."""
    own, guarded = periodiq.cron(text), GuardedSpec.of(text)
    now = periodiq.pendulum.instance(MONDAY + timedelta(minutes=minutes))
    if now.isoweekday() != 7:
        assert own.validate(now) == guarded.validate(now)


def local(text: str, zone: str, since: str, count: int) -> list[str]:
    """Ticks in a zone, as its clocks show them."""
    expression, after, found = (
        GuardedSpec.of(text, zone).expression,
        ms(datetime.fromisoformat(since)) - 1,
        [],
    )
    for _ in range(count):
        after = cron.next_tick(expression, after)
        found.append(datetime.fromtimestamp(after / 1000, ZoneInfo(zone)).isoformat()[5:])
    assert (
        cron.ticks_between(expression, ms(datetime.fromisoformat(since)) - 1, after, count + 5)[-1] == after
    )
    return found


def test_a_time_zone_keeps_its_hours_over_the_year() -> None:
    assert GuardedSpec.of("0 6 * * *", "Europe/Berlin").expression == "TZ=Europe/Berlin 0 6 * * *"
    assert local("0 6 * * *", "Europe/Berlin", "2026-03-28T00:00Z", 2) == [
        "03-28T06:00:00+01:00",
        "03-29T06:00:00+02:00",
    ]


def test_clocks_set_forward() -> None:
    """02:00 to 03:00 does not exist: what falls into it comes right after, once."""
    assert local("0,30 2 * * *", "Europe/Berlin", "2026-03-29T00:00Z", 2) == [
        "03-29T03:00:00+02:00",
        "03-30T02:00:00+02:00",
    ]


def test_clocks_set_back() -> None:
    """02:00 to 03:00 comes twice: a fixed hour once, every hour both times."""
    assert local("30 2 * * *", "Europe/Berlin", "2026-10-25T00:00Z", 2) == [
        "10-25T02:30:00+02:00",
        "10-26T02:30:00+01:00",
    ]
    assert local("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10Z", 1) == ["10-26T02:30:00+01:00"]
    assert local("30 * * * *", "Europe/Berlin", "2026-10-25T00:00Z", 3) == [
        "10-25T02:30:00+02:00",
        "10-25T02:30:00+01:00",
        "10-25T03:30:00+01:00",
    ]


@given(
    EXPRESSIONS,
    MOMENTS,
    st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]),
)
def test_ticks_of_a_zone_only_rise_and_are_the_same_whoever_asks(
    text: str, after: datetime, zone: str
) -> None:
    try:
        expression = GuardedSpec.of(text, zone).expression
    except ValueError:
        return
    one = cron.next_tick(expression, ms(after))
    two = cron.next_tick(expression, one)
    assert ms(after) < one < two
    assert cron.next_tick(expression, one - 1) == one
    assert cron.ticks_between(expression, ms(after), two, 5) == [one, two]
