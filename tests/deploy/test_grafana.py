"""The dashboard shows what the product exports, from the data source that is provisioned."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from lockstep.metrics import METRICS
from tests.deploy.expressions import selectors, unknown

DIRECTORY = Path("deploy/grafana")
BOARD = json.loads((DIRECTORY / "lockstep.json").read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]
VARIABLE = BOARD["templating"]["list"][0]


def plain(expression: str) -> str:
    """Grafana fills these in before Prometheus sees them."""
    return expression.replace("$__rate_interval", "1m").replace("$queue", ".*")


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_panel_asks_for_what_is_exported(expression: str) -> None:
    assert "$" not in plain(expression)
    assert selectors(plain(expression))
    assert unknown(plain(expression)) == []


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_legends_name_labels_that_the_result_has(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        kept = re.search(r"by \(([^)]*)\)", target["expr"])
        used = re.findall(r"{{(\w+)}}", target["legendFormat"])
        assert set(used) <= set(kept[1].split(", ") if kept else []), target["expr"]


def test_every_metric_has_its_place() -> None:
    shown = {
        re.sub(r"_(bucket|sum|count)$", "", selector.name)
        for expression in EXPRESSIONS
        for selector in selectors(plain(expression))
    }

    assert {metric.name for metric in METRICS} - shown == set()


def test_everything_comes_from_the_provisioned_source() -> None:
    (source,) = yaml.safe_load((DIRECTORY / "provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    used = {json.dumps(found) for found in sources(BOARD)}

    assert used == {json.dumps({"type": source["type"], "uid": source["uid"]})}


def sources(part: Any) -> list[dict[str, str]]:
    if isinstance(part, list):
        return [found for each in part for found in sources(each)]
    if not isinstance(part, dict):
        return []
    own = [part["datasource"]] if "datasource" in part else []
    return own + sources([value for name, value in part.items() if name != "datasource"])


def test_the_variable_and_the_annotations_ask_for_what_is_exported() -> None:
    query = re.fullmatch(r"label_values\((\w+), (\w+)\)", VARIABLE["query"]["query"])
    (annotation,) = BOARD["annotations"]["list"]

    assert query is not None
    assert VARIABLE["name"] == query[2] == "queue"
    assert unknown(f"count by ({query[2]}) ({query[1]})") == []
    assert [selector.name for selector in selectors(annotation["expr"])] == ["ALERTS"]


def test_panels_lie_side_by_side() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])


def test_the_provider_looks_where_compose_mounts_the_dashboard() -> None:
    (provider,) = yaml.safe_load((DIRECTORY / "provisioning/dashboards/lockstep.yml").read_text())[
        "providers"
    ]
    grafana = yaml.safe_load(Path("deploy/compose.yaml").read_text())["services"]["grafana"]

    assert f"./grafana/lockstep.json:{provider['options']['path']}/lockstep.json:ro" in grafana["volumes"]
