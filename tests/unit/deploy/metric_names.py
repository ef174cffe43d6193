"""Which metrics the server has, and which of them an expression of Prometheus' language asks for."""

import re

from server.metrics import Metrics

SERIES = {
    name
    for family in Metrics().registry.collect()
    for name in (
        {f"{family.name}_bucket", f"{family.name}_sum", f"{family.name}_count"}
        if family.type == "histogram"
        else {f"{family.name}_total"}
        if family.type == "counter"
        else {family.name}
    )
}
"""What `/metrics` gives, by the names that Prometheus stores."""


def asked_for(expression: str) -> set[str]:
    """Return the names of our metrics in an expression."""
    return set(re.findall(r"\bvernier_\w+", expression))
