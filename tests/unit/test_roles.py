"""Which queues a worker takes."""

import pytest

from lockstep.errors import InvalidSettings
from lockstep.roles import OWNERS, Choice, Role, owner_of
from lockstep.settings import Settings

DECLARED = ["reports", "messages", "notification", "email", "broadcast"]


def choice(**environment: str) -> Choice:
    return Choice.of(Settings.load(environment, env_file=""))


@pytest.mark.parametrize(
    ("environment", "taken"),
    [
        ({}, ["broadcast", "email", "messages", "notification", "reports"]),
        ({"WORKER_ROLE": "all"}, ["broadcast", "email", "messages", "notification", "reports"]),
        ({"WORKER_ROLE": "Messages"}, ["messages", "reports"]),
        ({"WORKER_ROLE": "email"}, ["email"]),
        ({"WORKER_ROLE": "notification"}, ["notification"]),
        ({"WORKER_ROLE": "broadcast"}, ["broadcast"]),
        ({"START_EMAIL_WORKER": "false"}, ["broadcast", "messages", "notification", "reports"]),
        ({"START_EMAIL_WORKER": "false", "WORKER_ROLE": "email"}, ["email"]),
        ({"WORKER_QUEUES": "reports,email", "WORKER_ROLE": "broadcast"}, ["email", "reports"]),
        ({"WORKER_QUEUES": "email", "START_EMAIL_WORKER": "false"}, ["email"]),
        ({"WORKER_QUEUES": "none.such"}, []),
    ],
)
def test_what_is_taken(environment: dict[str, str], taken: list[str]) -> None:
    assert choice(**environment).among(DECLARED) == taken


def test_a_choice_is_no_empty_set_to_dramatiq() -> None:
    assert choice(WORKER_QUEUES="none.such")
    assert choice(WORKER_ROLE="messages")


def test_each_queue_belongs_to_one_role_and_is_taken_by_it_and_by_all() -> None:
    for queue in (*OWNERS, "messages", "anything"):
        takers = [role for role in Role if queue in Choice(role)]
        assert takers == [Role.ALL, owner_of(queue)]


def test_the_queues_that_a_choice_names() -> None:
    assert choice(WORKER_QUEUES="b,a").names == ["a", "b"]
    assert choice(WORKER_ROLE="email").names == ["email"]
    assert choice(WORKER_ROLE="messages").names == choice().names == []


def test_a_role_that_is_none_is_named() -> None:
    with pytest.raises(InvalidSettings, match="WORKER_ROLE: expected one of all, messages, email"):
        choice(WORKER_ROLE="mails")
