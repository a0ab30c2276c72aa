"""The load-test file asks for what the API has: each of its requests is sent once, to a real server."""

import itertools
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.deploy.conftest import KEY
from tests.support.fleet import Fleet

SCRIPT = yaml.safe_load(Path("deploy/artillery.yml").read_text())
CONFIG = SCRIPT["config"]

#: What Artillery puts in the place of what stands between the braces.
ENVIRONMENT = {"LOCKSTEP_API_KEY": KEY}
numbers = itertools.count()


def filled(part: Any, known: dict[str, str]) -> Any:
    if isinstance(part, dict):
        return {name: filled(value, known) for name, value in part.items()}
    if isinstance(part, list):
        return [filled(value, known) for value in part]
    return re.sub(r"{{ *(.*?) *}}", lambda m: value_of(m[1], known), part) if isinstance(part, str) else part


def value_of(template: str, known: dict[str, str]) -> str:
    if template.startswith("$env."):
        return ENVIRONMENT[template.removeprefix("$env.")]
    if re.fullmatch(r"\$randomNumber\(\d+, \d+\)|\$randomString\(\)", template):
        return str(next(numbers))
    return known[template]


@pytest.mark.parametrize("scenario", SCRIPT["scenarios"], ids=lambda scenario: scenario["name"])
def test_each_request_is_answered_as_it_expects(scenario: dict[str, Any], fleet: Fleet) -> None:
    known: dict[str, str] = {}
    headers = filled(CONFIG["http"]["defaults"]["headers"], known)
    for step in scenario["flow"]:
        ((method, request),) = step.items()
        answer = httpx.request(
            method,
            fleet.url + filled(request["url"], known),
            json=filled(request.get("json"), known),
            headers=headers,
            trust_env=False,
        )
        (expected,) = request["expect"]
        assert answer.status_code == expected["statusCode"], answer.text
        for capture in request.get("capture", []):
            known[capture["as"]] = answer.json()[capture["json"].removeprefix("$.")]


def test_it_is_a_script_of_artillery() -> None:
    assert CONFIG["target"] == "{{ $env.LOCKSTEP_URL }}"
    assert {"ensure", "expect"} <= set(CONFIG["plugins"])  # or thresholds and expectations would be ignored
    for phase in CONFIG["phases"]:
        assert {"name", "duration", "arrivalRate"} <= set(phase)
