"""Pieces of PromQL that every panel is built from.

Three things are easy to get wrong, so they stand here once:

- *Which series are ours.* With `job` at "All" a selector such as `up{job=~".+"}` matches every job of that Prometheus.
  Metrics that others export too (`up`, `process_*`) go through `ours`.
- *Which gauges add up.* A store of a sidecar's own (`scope="local"`) is summed over sidecars; a store that all of them
  see (`scope="shared"`) would be counted once per sidecar, so its figures are taken with max. `tiered` and `scoped`
  do that for each job before they add the jobs up.
- *NaN and +Inf.* A quantile of nothing and a share of nothing are NaN; `quantile` and `ratio` drop them. A limit that
  is off is +Inf; `finite` drops it, so that its line vanishes.
"""

from __future__ import annotations

SELECTED = 'namespace=~"$namespace", job=~"$job", instance=~"$instance"'
"""The matchers of every selector: what the variables at the top of a dashboard say."""
SELECTED_JOBS = 'namespace=~"$namespace", job=~"$job"'
"""The same for recorded series and alerts, which stand for a whole job."""
RATE = "$__rate_interval"
"""A range that holds at least four scrapes; Grafana fills it in."""
NO_LIMIT = 1e18
"""What a limit of +Inf is shown as, where a value is needed; a value mapping turns it into words."""


def series(name: str, matchers: str = "") -> str:
    """A selector: the metric, some matchers of its own, and what is selected."""
    return f"{name}{{{matchers + ', ' if matchers else ''}{SELECTED}}}"


def recorded(name: str, matchers: str = "") -> str:
    """A selector of a recorded series, of `ALERTS`, or of whatever has no instance."""
    return f"{name}{{{matchers + ', ' if matchers else ''}{SELECTED_JOBS}}}"


def ours(name: str) -> str:
    """Series of a metric that other programs export too, for the sidecars that are running."""
    return f"({series(name)} and on (namespace, job, instance) {series('sessgate_build_info')})"


def rate(name: str, by: str = "", matchers: str = "") -> str:
    """Events a second of a counter, summed by labels."""
    return total(f"rate({series(name, matchers)}[{RATE}])", by)


def total(expression: str, by: str = "") -> str:
    """The sum by labels."""
    return f"sum by ({by}) ({expression})" if by else f"sum({expression})"


def tiered(name: str, matchers: str = "") -> str:
    """A gauge with a scope, of all selected sidecars together."""
    own = series(name, ", ".join(part for part in (matchers, 'scope="local"') if part))
    shared = series(name, ", ".join(part for part in (matchers, 'scope="shared"') if part))
    return f"sum(max by (namespace, job) ({shared}) or sum by (namespace, job) ({own}))"


def scoped(name: str) -> str:
    """A gauge about the store that has no scope of its own: it follows that of the stored bytes."""
    shared = series("sessgate_storage_bytes", 'scope="shared"')
    own = f"sum by (namespace, job) ({series(name)} unless on (namespace, job, instance) {shared})"
    return f"sum({own} or max by (namespace, job) ({series(name)}))"


def finite(expression: str) -> str:
    """Without limits that are off."""
    return f"{expression} < +Inf"


def ratio(part: str, whole: str) -> str:
    """A share; nothing where the whole is nothing."""
    return f"{part} / ({whole} > 0)"


def quantile(share: float, name: str, by: str = "", matchers: str = "") -> str:
    """A quantile of a histogram, in the histogram's unit; nothing where nothing was observed."""
    labels = "le" + (f", {by}" if by else "")
    return f"histogram_quantile({share:g}, {rate(name + '_bucket', labels, matchers)}) >= 0"
