"""What the encoder writes comes back as it went in; all else is refused."""

import dataclasses
import datetime
import decimal
import enum
import math
import uuid
from collections import OrderedDict, defaultdict
from typing import Any, NamedTuple

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep.envelope import OrjsonEncoder

ENCODER: Any = OrjsonEncoder()


class Shop(str, enum.Enum):  # noqa: UP042  (as people write it)
    A = "shop-a"


class Size(enum.IntEnum):
    S = 1


class Plain(enum.Enum):
    A = "a"


class Text(str):
    pass


class Whole(int):
    pass


class Real(float):
    pass


class Rows(list[int]):
    pass


@dataclasses.dataclass
class Data:
    a: int = 1


class Point(NamedTuple):
    x: int
    y: object


CHANGED = [
    *(Shop.A, Size.S, Plain.A, enum.Flag("F", "A").A),
    *(Text("x"), Whole(1), Real(1.0), Rows([1]), OrderedDict(a=1), defaultdict(int)),
    *(Data(), uuid.uuid4(), decimal.Decimal(1), 1j, ..., object, object()),
    *(datetime.datetime(2026, 1, 1), datetime.date(2026, 1, 1), datetime.time(), datetime.timedelta()),
    *(b"x", bytearray(b"x"), memoryview(b"x"), {1}, frozenset(), range(2), iter([])),
    orjson.Fragment(b"1"),
    *({1: "a"}, {1: "a", "1": "b"}, {None: 1}, {True: 1}, {1.5: 1}, {(1,): 1}, {Text("x"): 1}, {Shop.A: 1}),
    *(math.nan, math.inf, -math.inf, 2**64, -(2**63) - 1, 10**400, "\ud800", {"\ud800": 1}),
]


@pytest.mark.parametrize("value", CHANGED, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize(
    "inside",
    [lambda v: v, lambda v: [None, {"a": (v,)}], lambda v: Point(1, v)],
    ids=["alone", "deep", "named"],
)
def test_what_would_come_back_as_another_value_is_refused(value: object, inside: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        ENCODER.encode(inside(value))


def test_tuples_come_back_as_lists_and_nothing_else_changes() -> None:
    value = {"": [], "t": (1, (2,)), "p": Point(1, Point(2, {"q": (3,)})), "z": -0.0, "n": None, "b": True}
    back = ENCODER.decode(ENCODER.encode(value))
    assert back == {"": [], "t": [1, [2]], "p": [1, [2, {"q": [3]}]], "z": -0.0, "n": None, "b": True}
    assert math.copysign(1, back["z"]) == -1


@pytest.mark.parametrize("build", [lambda v: [v], lambda v: {"a": v}, lambda v: Point(1, v)])
def test_what_is_nested_too_deeply_is_refused(build: Any) -> None:
    value: Any = 1
    for _ in range(10_000):
        value = build(value)
    with pytest.raises((TypeError, ValueError)):
        ENCODER.encode(value)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"))
)
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner)
)


def typed(value: Any) -> Any:
    """The value with the type of each part: in Python, ``True == 1 == 1.0``."""
    if isinstance(value, dict):
        return [(name, typed(child)) for name, child in value.items()]
    return [typed(child) for child in value] if isinstance(value, list) else (type(value), repr(value))


@settings(max_examples=50, deadline=None)
@given(TREES)
def test_plain_values_come_back_exactly(value: Any) -> None:
    assert typed(ENCODER.decode(ENCODER.encode(value))) == typed(value)
