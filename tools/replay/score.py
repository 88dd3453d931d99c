"""Episodes, precision, recall and time to page.

An *episode* is a firing run of one alert, gaps under 30 minutes merged. *Precision* of an alert: the share of its
episodes that touch a label. *Recall* of a shape: the share of its labels that an expected alert hits. *Time to page*:
first firing minus onset. *Lead*: minute in which the cap is reached minus first page.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from tools.replay.engine import Fired
from tools.replay.shapes import Label, Played

GAP = 30        # minutes
AFTERMATH = 30  # an alert looks back so far, and may still begin when the cause has just gone
LEAD = 10       # minutes that a page must leave before the cap is reached


@dataclass(frozen=True)
class Episode:
    """A firing run of one alert in one scenario."""

    shape: str
    seed: int
    alert: str
    severity: str
    first: int
    last: int
    true: bool      # touches a label


@dataclass(frozen=True)
class Hit:
    """What became of one label."""

    shape: str
    seed: int
    label: Label
    onset: int
    first: int | None       # first firing of an expected alert
    first_page: int | None  # the same, of a critical one
    cap_hit: int | None     # the cap was reached in this minute
    counts: bool            # harm came about: only then a page is owed

    @property
    def lead(self) -> int | None:
        """Minutes between the page and the cap; negative: the page came late."""
        if self.cap_hit is None or self.first_page is None:
            return None
        return self.cap_hit - self.first_page

    @property
    def hit(self) -> bool:
        """Whether an expected alert fired, and before the cap if it is about that."""
        if self.label.pages:
            return self.first_page is not None and self.cap_hit is not None and self.first_page < self.cap_hit
        return self.first is not None


def episodes(played: Iterable[Played], fired: Iterable[Fired]) -> list[Episode]:
    """Merges firing minutes into episodes."""
    scenarios = {one.recorder.job: one for one in played}
    minutes: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for one in fired:
        if one.minute < scenarios[one.job].minutes:     # beyond its end a job only looks absent
            minutes[one.job, one.alert, one.severity].append(one.minute)
    found = []
    for (job, alert, severity), all_minutes in sorted(minutes.items()):
        for first, last in runs(sorted(all_minutes)):
            scenario = scenarios[job]
            true = any(first <= label.last + AFTERMATH and last >= label.first for label in scenario.labels)
            found.append(Episode(scenario.shape, scenario.seed, alert, severity, first, last, true))
    return found


def runs(minutes: list[int]) -> list[tuple[int, int]]:
    """First and last minutes of runs whose gaps are under `GAP`."""
    found: list[tuple[int, int]] = []
    for minute in minutes:
        if found and minute - found[-1][1] <= GAP:
            found[-1] = (found[-1][0], minute)
        else:
            found.append((minute, minute))
    return found


def hits(played: Iterable[Played], fired: Iterable[Fired]) -> list[Hit]:
    """What became of every label."""
    by_job: dict[str, list[Fired]] = defaultdict(list)
    for one in fired:
        by_job[one.job].append(one)
    result = []
    for scenario in played:
        mine = sorted(by_job[scenario.recorder.job], key=lambda one: one.minute)
        for label in scenario.labels:
            inside = [one for one in mine
                      if one.alert in label.expected and label.first <= one.minute <= label.last + AFTERMATH]
            pages = [one.minute for one in inside if one.severity == "critical"]
            cap = scenario.cap_hit
            result.append(Hit(
                scenario.shape, scenario.seed, label, label.first,
                inside[0].minute if inside else None, pages[0] if pages else None, cap,
                counts=cap is not None or not label.pages))
    return result


def quantile(values: list[int], part: float) -> int | None:
    """The nearest-rank quantile."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
