"""What a PromQL expression asks for, and whether the product has it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import promql_parser as promql

from lockstep.metrics import METRICS

#: What Grafana and Prometheus add to the labels of a sample.
ADDED = {"instance", "job"}


@dataclass(frozen=True)
class Selector:
    """One series selector."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]  #: label, operator, value

    def selects(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether a sample is among what it selects."""
        return name == self.name and all(_holds(labels.get(label, ""), o, v) for label, o, v in self.matchers)


def exported() -> dict[str, set[str]]:
    """The labels of every series that the product exports, by its name."""
    found: dict[str, set[str]] = {}
    for metric in METRICS:
        if metric.kind == "histogram":
            found[f"{metric.name}_bucket"] = {*metric.labels, "le"}
            found[f"{metric.name}_count"] = found[f"{metric.name}_sum"] = set(metric.labels)
        else:
            found[metric.name] = set(metric.labels)
    return found


def selectors(expression: str) -> list[Selector]:
    """Every selector of an expression.

    Raises:
      ValueError: it does not parse.
    """
    return [_selector(node) for node in _nodes(promql.parse(expression)) if _is_selector(node)]


def unknown(expression: str) -> list[str]:
    """Names and labels of an expression that the product does not export; empty: all is well."""
    known = exported()
    problems = []
    for selector in selectors(expression):
        if selector.name not in known:
            problems.append(selector.name)
            continue
        problems += [
            f"{selector.name}{{{label}}}"
            for label, _, _ in selector.matchers
            if label not in known[selector.name] | ADDED
        ]
    for node in _nodes(promql.parse(expression)):
        wanted = _grouping(node)
        problems += [
            f"{selector.name} by {label}"
            for selector in map(_selector, filter(_is_selector, _nodes(node)))
            for label in wanted - known.get(selector.name, set()) - ADDED
        ]
    return problems


def _nodes(expression: promql.Expr) -> Iterator[promql.Expr]:
    found: list[promql.Expr] = []
    promql.walk(expression, found.append)
    yield from found


def _is_selector(node: promql.Expr) -> bool:
    return isinstance(node, promql.VectorSelector)


def _selector(node: Any) -> Selector:
    operators = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}
    return Selector(
        node.name,
        tuple((m.name, operators[str(m.op).rpartition(".")[2]], m.value) for m in node.matchers.matchers),
    )


def _grouping(node: Any) -> set[str]:
    if isinstance(node, promql.AggregateExpr):
        return set(node.modifier.labels) if node.modifier else set()
    if isinstance(node, promql.BinaryExpr) and node.modifier and node.modifier.matching:
        return set(node.modifier.matching.labels)
    return set()


def _holds(value: str, operator: str, wanted: str) -> bool:
    found = value == wanted if operator in {"=", "!="} else re.fullmatch(wanted, value) is not None
    return found is not operator.startswith("!")
