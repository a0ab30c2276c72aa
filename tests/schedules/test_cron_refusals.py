"""Expressions that periodiq cannot read: the actor, the expression and what is wrong with it are named."""

import importlib
from pathlib import Path

import dramatiq
import periodiq
import pytest

from lockstep.broker import LockstepBroker
from lockstep.cronrefusals import cron_refusal
from lockstep.errors import InvalidOption
from middleware.periodic import GuardedSpec

FIELD = "is none of *, a number, a list, a rising range, or a step of them"
REFUSED = [
    ("fri-mon", "expected five fields"),
    ("0 0 * * fri-mon", f"its day of week 'fri-mon' {FIELD}"),
    ("0 0 1 JAN *", f"its month 'JAN' {FIELD}"),
    ("@reboot", "expected one of @annually"),
    ("@DAILY", "expected one of @annually"),
    ("", "expected five fields (minute, hour, day of month, month, day of week), got 0"),
    ("  ", "got 0"),
    ("*/0 * * * *", f"its minute '*/0' {FIELD}"),
    ("* */-1 * * *", f"its hour '*/-1' {FIELD}"),
    ("1,,2 * * * *", f"its minute '1,,2' {FIELD}"),
    ("² * * * *", f"its minute '²' {FIELD}"),
    ("\x00 * * * *", "its minute '\\x00'"),
    (None, "expected a text"),
    (5, "expected a text"),
    (b"* * * * *", "expected a text"),
]


@pytest.mark.parametrize(("expression", "why"), REFUSED)
def test_a_module_that_calls_periodiq_is_named_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expression: object, why: str
) -> None:
    source = (
        "import dramatiq\nfrom periodiq import cron\n\n\n"
        f"@dramatiq.actor(\n    actor_name='reports.daily',\n    periodic=cron({expression!r}),\n)\n"
        "def daily(): ...\n"
    )
    (tmp_path / "cron_reports.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()

    with pytest.raises(Exception) as raised:
        importlib.import_module("cron_reports")

    told = cron_refusal(raised.value) or ""
    begin = f"{tmp_path / 'cron_reports.py'}, line 7: reports.daily: periodic: periodiq cannot read {expression!r}: "
    assert told.startswith(begin)
    assert why in told


#: Where an expression may be, and the actor that it is for.
PLACES = {
    "class": (
        "class Daily(dramatiq.GenericActor):\n    class Meta:\n        periodic = cron('@reboot')\n",
        "Daily",
    ),
    "variable": (
        "EVERY = cron('@reboot')\n@dramatiq.actor\ndef other(): ...\n"
        "@dramatiq.actor(periodic=EVERY)\ndef daily(): ...\n",
        "daily",
    ),
    "call": ("daily = dramatiq.actor(print, actor_name='daily', periodic=cron('@reboot'))\n", "daily"),
}


@pytest.mark.parametrize("place", PLACES)
def test_the_actor_is_named_wherever_the_expression_is(tmp_path: Path, place: str) -> None:
    source, actor = PLACES[place]
    file = tmp_path / "cron_places.py"
    file.write_text("import dramatiq\nfrom periodiq import cron\n" + source)
    with pytest.raises(KeyError) as raised:
        exec(compile(file.read_text(), str(file), "exec"), {"__name__": "cron_places"})
    assert f": {actor}: periodic: periodiq cannot read '@reboot'" in (cron_refusal(raised.value) or "")


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        *REFUSED[:-3],
        ("60 * * * *", "Bad minute"),
        ("* * * * * *", "expected five fields"),
        ("٣ * * * *", "'٣ * * * *'"),
        ("1_0 * * * *", "'1_0 * * * *'"),
        ("+5 * * * *", "'+5 * * * *'"),
    ],
)
def test_a_text_is_refused_when_its_actor_is_declared(
    broker: LockstepBroker, expression: str, why: str
) -> None:
    with pytest.raises(InvalidOption) as refused:
        dramatiq.actor(actor_name="reports.daily", periodic=expression, broker=broker)(lambda: None)

    assert str(refused.value).startswith("reports.daily: periodic: ")
    assert why in str(refused.value)


def test_a_constant_is_named_with_its_line_and_others_are_not_ours(tmp_path: Path) -> None:
    file = tmp_path / "constants.py"
    file.write_text("import periodiq\n\nSPEC = periodiq.cron('@reboot')\n")
    with pytest.raises(KeyError) as raised:
        exec(compile(file.read_bytes(), file, "exec"), {})
    assert (cron_refusal(raised.value) or "").startswith(
        f"{file}, line 3: periodic: periodiq cannot read '@reboot'"
    )

    with pytest.raises(KeyError) as raised:
        {}["@reboot"]
    assert cron_refusal(raised.value) is None
    assert GuardedSpec.of(periodiq.cron("@daily")).expression == "0 0 * * *"
