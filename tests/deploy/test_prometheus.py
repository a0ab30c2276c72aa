"""Scrape and alert rules fit what the product exports: whoever renames a metric hears of it here."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from lockstep.metrics import METRICS
from tests.deploy.conftest import TOKEN, scrape
from tests.deploy.expressions import Selector, exported, selectors, unknown
from tests.support.fleet import Fleet
from tests.support.waiting import PATIENCE

DIRECTORY = Path("deploy/prometheus")
RULES = [
    rule
    for group in yaml.safe_load((DIRECTORY / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
#: What only something that has not happened here would bring about.
RARE = {Selector("lockstep_http_requests_total", (("status", "=~", "5.."),))}

each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])


def samples(text: str) -> list[tuple[str, dict[str, str]]]:
    return [(sample.name, sample.labels) for family in parse_text(text) for sample in family.samples]


@each_rule
def test_a_rule_is_whole(rule: dict[str, Any]) -> None:
    assert set(rule) - {"for"} == {"alert", "expr", "labels", "annotations"}
    assert re.fullmatch(r"Lockstep[A-Za-z]+", rule["alert"])
    assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}


@each_rule
def test_a_rule_asks_for_what_is_exported(rule: dict[str, Any]) -> None:
    assert selectors(rule["expr"])
    assert unknown(rule["expr"]) == []


@each_rule
def test_a_rule_finds_what_it_selects(rule: dict[str, Any], fleet: Fleet) -> None:
    found = samples(scrape(fleet))
    for selector in set(selectors(rule["expr"])) - RARE:
        assert any(selector.selects(*sample) for sample in found), selector


@each_rule
def test_a_rule_names_labels_that_its_result_has(rule: dict[str, Any]) -> None:
    used = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    kept = re.search(r"by \(([^)]*)\)", rule["expr"])  # the first is the outermost

    assert used <= set(kept[1].split(", ") if kept else [])


@each_rule
def test_a_rule_leads_to_its_section_of_the_runbook(rule: dict[str, Any]) -> None:
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^#+ (.+)$", Path(page).read_text(), re.MULTILINE)

    assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert rule["alert"] in Path(page).read_text()


def test_no_alert_has_the_name_of_another() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES) >= 12


def test_the_check_knows_what_is_not_exported() -> None:
    assert unknown("lockstep_nothing") == ["lockstep_nothing"]
    assert unknown('lockstep_intake{queue="a"}') == ["lockstep_intake{queue}"]
    assert unknown("sum by (actor) (lockstep_intake)") == ["lockstep_intake by actor"]
    with pytest.raises(ValueError):
        selectors("sum by (")


def test_a_scrape_parses_in_both_formats(fleet: Fleet) -> None:
    names = {metric.name.removesuffix("_total") for metric in METRICS}

    assert {family.name for family in parse_text(scrape(fleet))} == names
    assert {f.name for f in parse_openmetrics(scrape(fleet, "application/openmetrics-text"))} == names


def test_every_sample_has_the_labels_of_the_table(fleet: Fleet) -> None:
    known = exported()
    for name, labels in samples(scrape(fleet)):
        assert set(labels) == known[name], name


def test_prometheus_presents_the_token_where_web_is() -> None:
    config = yaml.safe_load((DIRECTORY / "prometheus.yml").read_text())
    compose = yaml.safe_load(Path("deploy/compose.yaml").read_text())

    (job,) = config["scrape_configs"]
    assert config["rule_files"] == ["alerts.yml"]
    assert job["authorization"] == {"type": "Bearer", "credentials_file": "/run/secrets/metrics_token"}
    (service,) = job["dns_sd_configs"][0]["names"]
    assert "metrics_token" in compose["services"][service]["secrets"]
    assert "metrics_token" in compose["services"]["prometheus"]["secrets"]
    assert TOKEN not in (DIRECTORY / "prometheus.yml").read_text()


promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on the path")


@promtool
@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "rules", "deploy/prometheus/alerts.yml"],
        ["check", "config", "--syntax-only", "deploy/prometheus/prometheus.yml"],
        ["test", "rules", "tests/deploy/alerts.test.yml"],
    ],
    ids=" ".join,
)
def test_promtool_agrees(arguments: list[str]) -> None:
    done = subprocess.run(
        ["promtool", *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
