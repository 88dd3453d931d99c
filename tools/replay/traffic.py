"""How many sessions people want to create: synthetic weeks and recorded traces, in sessions a minute.

A rate is a list with one value a minute from minute 0, a Monday at 00:00. Nothing here knows of limits or attacks.
"""

from __future__ import annotations

import csv
import json
import math
import random
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

DAY = 1440
WEEK = 7 * DAY


@dataclass(frozen=True)
class Week:
    """The form of a week: what the average minute has, how far nights and weekends fall, and how noisy it is."""

    mean: float          # sessions a minute
    night: float         # the lowest hour as a share of the highest
    weekend: float       # a day of the weekend as a share of a working day
    peak_hour: float     # hour of the day
    noise: float         # standard deviation of the slow noise, as a share
    noise_minutes: float  # its correlation time

    @staticmethod
    def draw(source: random.Random) -> Week:
        """A plausible week: from a small intranet (6 sessions a minute) to a busy shop (300)."""
        return Week(
            mean=math.exp(source.uniform(math.log(6), math.log(300))),
            night=source.uniform(0.08, 0.4),
            weekend=source.choice([source.uniform(0.3, 0.7), source.uniform(0.8, 1.4)]),
            peak_hour=source.uniform(9, 21),
            noise=source.uniform(0.05, 0.15),
            noise_minutes=source.uniform(30, 180),
        )

    def rates(self, minutes: int, source: random.Random) -> list[float]:
        """Rates for so many minutes: day curve x week curve x autocorrelated noise (an AR(1) of the logarithm)."""
        keep = math.exp(-1 / self.noise_minutes)
        push = self.noise * math.sqrt(1 - keep * keep)
        level = source.gauss(0, self.noise)
        rates = []
        for minute in range(minutes):
            level = keep * level + source.gauss(0, push)
            rates.append(self.curve(minute) * math.exp(level))
        return rates

    def curve(self, minute: int) -> float:
        """The rate without noise."""
        hour = minute % DAY / 60
        wave = (1 + math.cos((hour - self.peak_hour) / 24 * 2 * math.pi)) / 2
        day = self.night + (1 - self.night) * wave
        return self.mean * day * 2 / (1 + self.night) * (self.weekend if minute % WEEK >= 5 * DAY else 1.0)


@dataclass(frozen=True)
class Trace:
    """Recorded traffic: one rate a minute, and the spans (first and last minute) that people called anomalous."""

    name: str
    rates: list[float]
    labels: list[tuple[int, int]]

    @staticmethod
    def read(counts: Path, labels: Path | None, mean: float) -> Trace:
        """Reads `timestamp,value` rows in equal steps and, keyed by the file's name or a bare list, labelled windows.

        `mean`: the average the rates are scaled to, in sessions a minute; a trace counts requests, not sessions.
        Gaps are filled with the value before them.
        """
        rows = []
        with counts.open(newline="") as file:
            for row in csv.DictReader(file):
                rows.append((datetime.fromisoformat(row["timestamp"]), float(row["value"])))
        rows.sort(key=lambda row: row[0])
        if len(rows) < 2:
            raise ValueError(f"{counts}: a trace needs at least two rows")
        start, end = rows[0][0], rows[-1][0]
        rates: list[float] = []
        last = rows[0][1]
        for (at, value), (after, _) in zip(rows, [*rows[1:], (end + (rows[-1][0] - rows[-2][0]), 0.0)]):
            first, until = _minute(at, start), _minute(after, start)
            rates.extend([last] * (first - len(rates)))
            rates.extend([value] * (until - first))
            last = value
        scale = mean / (sum(rates) / len(rates) or 1.0)
        return Trace(counts.name, [rate * scale for rate in rates], _windows(counts.name, labels, start))


def _minute(at: datetime, start: datetime) -> int:
    return int((at - start).total_seconds() // 60)


def _windows(name: str, labels: Path | None, start: datetime) -> list[tuple[int, int]]:
    if labels is None:
        return []
    known = json.loads(labels.read_text())
    windows = known.get(name, []) if isinstance(known, dict) else known
    return [tuple(_minute(datetime.fromisoformat(at), start) for at in window) for window in windows]


def poisson(mean: float, source: random.Random) -> int:
    """A Poisson number; from 50 on by its normal approximation, which is exact enough there."""
    if mean <= 0:
        return 0
    if mean > 50:
        return max(0, round(source.gauss(mean, math.sqrt(mean))))
    limit, product, count = math.exp(-mean), source.random(), 0
    while product > limit:
        product *= source.random()
        count += 1
    return count


def binomial(tries: int, chance: float, source: random.Random) -> int:
    """A binomial number for a small chance, as a Poisson number that cannot exceed the tries."""
    return min(tries, poisson(tries * chance, source))
