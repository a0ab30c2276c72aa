"""The manual lists what there is, and nothing else."""

import re
from pathlib import Path

from lockstep.checks import RESERVED
from lockstep.metrics import BUCKETS, METRICS
from lockstep.requests import FIELDS
from web.routes import ENDPOINTS

DOCS = Path(__file__).parents[2] / "docs"
HTTP = (DOCS / "http.md").read_text()
METRICS_PAGE = (DOCS / "metrics.md").read_text()


def test_http_lists_every_route_with_its_scope() -> None:
    rows = re.findall(r"^\| `(\w+) (/[^`]+)` \| (\S+)", HTTP, re.MULTILINE)
    assert [(method, path) for method, path, _ in rows] == [(e.method, e.template) for e in ENDPOINTS]
    for (_, _, scope), endpoint in zip(rows, ENDPOINTS, strict=True):
        assert scope.strip("`,") == (endpoint.scope or "none")


def test_http_lists_every_field() -> None:
    table = HTTP.split("| field | type | meaning |")[1].split("\n\n")[0]
    listed = [name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(listed) == sorted(FIELDS)
    assert all(f"`{name}`" in HTTP for name in RESERVED)


def test_metrics_lists_every_metric_as_it_is() -> None:
    rows = [line for line in METRICS_PAGE.splitlines() if line.startswith("| `lockstep_")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert cells == [
        [f"`{m.name}`", m.kind, ", ".join(f"`{label}`" for label in m.labels), m.help] for m in METRICS
    ]


def test_metrics_lists_the_bounds() -> None:
    listed = re.search(r"Bounds of the histograms, in seconds: ([\d., \n]+)\.\n", METRICS_PAGE)
    assert listed
    assert tuple(float(bound) for bound in listed[1].split(",")) == BUCKETS
