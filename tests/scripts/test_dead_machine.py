"""Deaths, redrives and skips of one group in whatever order: the scripts and the model of them agree after each."""

from collections.abc import Callable

import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep.states import Verb
from tests.scripts.test_machine import Machine

Step = tuple[str, int, bool]


def _step(machine: Machine, step: Step) -> None:
    """Take one step, unless there is nothing to take it with."""
    name, pick, flag = step
    steps: dict[str, tuple[bool, Callable[[], object]]] = {
        "enqueue": (True, lambda: machine.enqueue([("a", False, flag)] * (pick % 3 + 1))),
        "die": (
            bool(machine.model.ready) and not machine.held,
            lambda: machine.heads_die(wanted=1, heads=pick % 2 + 1),
        ),
        "claim": (True, lambda: machine.claim(1)),
        "complete": (bool(machine.held), lambda: machine.settle(0, False, Verb.COMPLETE)),
        "retry": (bool(machine.held), lambda: machine.settle(0, flag, Verb.RETRY)),
        "release": (bool(machine.held), lambda: machine.settle(0, flag, Verb.RELEASE)),
        "crash": (bool(machine.held), lambda: machine.worker_dies(0, flag)),
        "due": (bool(machine.model.in_backoff()), lambda: machine.falls_due(0, flag)),
        "redrive one": (bool(machine.model.dead), lambda: machine.redrive([pick], flag, True)),
        "redrive all": (bool(machine.model.dead), lambda: machine.redrive([pick], flag, False)),
        "discard": (bool(machine.model.dead), lambda: machine.discard([pick])),
        "skip": (True, lambda: machine.skip("a")),
        "switch": (bool(machine.model.messages), lambda: machine.switches_group(0, flag)),
    }
    possible, take = steps[name]
    if possible:
        take()


NAMES = (
    *("enqueue", "enqueue", "die", "die", "die", "claim", "claim", "complete", "retry", "release", "crash"),
    *("due", "redrive one", "redrive one", "redrive all", "discard", "skip", "switch"),
)


def test_the_scripts_do_what_the_model_does(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url, protocol=2)

    @settings(max_examples=50, deadline=None, database=None)
    @given(st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 9), st.booleans()), max_size=40))
    def agree(steps: list[Step]) -> None:
        machine = Machine(client)
        try:
            machine.enqueue([("a", False, False)] * 3 + [("a", False, True)] * 2)
            machine.heads_die(wanted=1, heads=2)
            for step in steps:
                _step(machine, step)
                machine.agrees()
                machine.tells_the_same()
        finally:
            machine.teardown()

    agree()
    client.close()
