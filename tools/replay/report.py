"""alerts/REPLAY.md: what the rules did, by shape and by alert, against the bars."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tools.replay.score import LEAD, quantile
from tools.replay.shapes import SHAPES
from tools.replay.store import Outcome

# Shapes for which the bar is a recall of 0.95; the others are reported.
BAR = ("flood", "ramp", "hoarder", "many_ips", "leaking_app", "thrash", "frozen_sweep")
RECALL = 0.95


@dataclass(frozen=True)
class Verdict:
    """One bar, and whether it is met."""

    bar: str
    met: bool
    figure: str


def verdicts(outcomes: Sequence[Outcome]) -> list[Verdict]:
    """The bars that these outcomes say something about."""
    by_shape = _by_shape(outcomes)
    found = [_no_page("no critical page on a month of plain traffic, in any seed", by_shape.get("plain"))]
    traces = [one for shape, ones in by_shape.items() if shape.startswith("trace") for one in ones]
    found.append(_no_page("no critical page on the trace outside its labels", traces))
    found.append(_no_page("a flash crowd at most warns", by_shape.get("flash_crowd")))
    for shape in BAR:
        owed = [hit for one in by_shape.get(shape, ()) for hit in one.hits if hit.counts]
        if owed:
            share = sum(hit.hit for hit in owed) / len(owed)
            found.append(Verdict(f"recall on {shape} ≥ {RECALL}", share >= RECALL, f"{share:.2f} of {len(owed)}"))
    leads = [hit.lead for one in by_shape.get("ramp", ()) for hit in one.hits if hit.lead is not None]
    if leads:
        late = sum(lead < LEAD for lead in leads)
        found.append(Verdict(f"a page on a ramp leaves ≥ {LEAD} min before the cap", late == 0,
                             f"least {min(leads)} min, median {quantile(leads, 0.5)} min; {late} of {len(leads)} less"))
    return [verdict for verdict in found if verdict is not None]


def _no_page(bar: str, outcomes: Sequence[Outcome] | None) -> Verdict | None:
    if not outcomes:
        return None
    pages = [one for outcome in outcomes for one in outcome.episodes if one.severity == "critical" and not one.true]
    days = sum(outcome.minutes for outcome in outcomes) / 1440
    which = "".join(f"; seed {one.seed}: {one.alert} at minute {one.first}" for one in pages[:5])
    return Verdict(bar, not pages, f"{len(pages)} in {days:.0f} days of {len(outcomes)} seeds{which}")


WHY = {
    ("plain", 16, "SessgateStorageFullSoon"): "At a day's peak the noise makes the traffic swell as it does once in six hundred days: what "
    "is stored rises from 0.43 to 0.72 of the cap in four and a half hours, at four times the pace of yesterday and a week ago. When it "
    "pages, at 0.60, three more hours of that would have reached 0.9; it turned instead. Nothing yet tells such a day from an app that has "
    "begun to leak. To wait until 0.7 would have kept still, and would take up to two hours from the warning of a real leak.",
    ("trace elb_request_count.csv", 11, "SessgateCapImminent"): "Requests swell within minutes to twice those of the day "
    "before, in a place that nobody has labelled and in the first week, which has none before it to be compared with; as short sessions, "
    "of which this installation is full, what is stored goes from 0.34 to 0.57 of the cap in eighteen minutes, and at that pace would be at "
    "0.9 in twenty-five more. It turns there, and the page goes after four "
    "minutes. An alert that is to leave ten minutes before a cap cannot wait to see that.",
}
"""What somebody who looked into a page without harm has to say, by shape, seed and alert."""


def _misses(outcomes: Sequence[Outcome]) -> str:
    pages = [one for outcome in outcomes for one in outcome.episodes if one.severity == "critical" and not one.true]
    looked_into = [(one, WHY[key]) for one in pages if (key := (one.shape, one.seed, one.alert)) in WHY]
    return "".join(f"\n**{one.alert}, {one.shape}, seed {one.seed}.** {why}\n" for one, why in looked_into)


def _by_shape(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    found: dict[str, list[Outcome]] = defaultdict(list)
    for one in outcomes:
        found[one.shape].append(one)
    return found


def render(outcomes: Sequence[Outcome], command: str) -> str:
    """The whole report."""
    seeds = len({one.seed for one in outcomes})
    days = sum(one.minutes for one in outcomes) / 1440
    parts = [HEAD.format(seeds=seeds, days=f"{days:,.0f}", command=command)]
    parts.append("## Bars\n\n| bar | met | measured |\n|---|---|---|\n" + "".join(
        f"| {one.bar} | {'yes' if one.met else '**no**'} | {one.figure} |\n" for one in verdicts(outcomes)) + _misses(outcomes))
    parts.append(BY_SHAPE + "".join(_shape_row(shape, ones) for shape, ones in _by_shape(outcomes).items()))
    parts.append("## By alert\n\n*Precision*: episodes that touch a label, of all.\n\n" + _alert_table(outcomes))
    parts.append("## What the shapes are\n\n" + "".join(
        f"- **{name}**: {(shape.__doc__ or '').strip()}\n" for name, shape in SHAPES.items()))
    return "\n".join(parts)


def _shape_row(shape: str, outcomes: list[Outcome]) -> str:
    hits = [hit for one in outcomes for hit in one.hits]
    owed = [hit for hit in hits if hit.counts]
    recall = f"{sum(hit.hit for hit in owed) / len(owed):.2f}" if owed else "–"
    alert = [hit.first - hit.onset for hit in owed if hit.first is not None]
    page = [hit.first_page - hit.onset for hit in owed if hit.first_page is not None]
    leads = [hit.lead for hit in owed if hit.lead is not None and hit.label.pages]
    false = [one for outcome in outcomes for one in outcome.episodes if not one.true]
    weeks = sum(one.minutes for one in outcomes) / 1440 / 7
    warnings = sum(one.severity == "warning" for one in false) / weeks
    lead = f"{min(leads)} ({quantile(leads, 0.5)})" if leads else "–"
    pages = sum(one.severity == "critical" for one in false)
    cells = (shape, len(outcomes), len(owed), recall, _pair(alert), _pair(page), lead, pages, f"{warnings:.1f}")
    return f"| {' | '.join(map(str, cells))} |\n"


def _pair(values: list[int]) -> str:
    return f"{quantile(values, 0.5)} ({quantile(values, 0.9)})" if values else "–"


def _alert_table(outcomes: Sequence[Outcome]) -> str:
    episodes = [one for outcome in outcomes for one in outcome.episodes]
    rows = ["| alert | severity | episodes | precision | false ones, by shape |\n|---|---|---|---|---|\n"]
    for alert, severity in sorted({(one.alert, one.severity) for one in episodes}):
        mine = [one for one in episodes if (one.alert, one.severity) == (alert, severity)]
        false: dict[str, int] = defaultdict(int)
        for one in mine:
            false[one.shape] += not one.true
        where = ", ".join(f"{shape} {count}" for shape, count in sorted(false.items()) if count) or "–"
        precision = sum(one.true for one in mine) / len(mine)
        rows.append(f"| {alert} | {severity} | {len(mine)} | {precision:.2f} | {where} |\n")
    return "".join(rows)


BY_SHAPE = """\
## By shape

Times in minutes: the median, and in brackets the nine-tenths quantile. *Labels*: those under which harm came about (an app
that leaks slowly does not fill storage in two days). *Recall*: labels that an expected alert hits; for `ramp` and
`leaking_app` with a page before the cap. *Lead*: from the page to the cap, the least, and in brackets the median. *False*:
episodes that touch no label.

| shape | seeds | labels | recall | time to alert | time to page | lead | false pages | false warnings a week |
|---|---|---|---|---|---|---|---|---|
"""

HEAD = """\
# Replay: what the rules do with weeks of traffic

Generated by `{command}`. {days} days of simulated traffic with {seeds} seeds went through
[`sessgate.rules.yml`](sessgate.rules.yml), as shipped, in `promtool test rules`: the real rule manager, every minute.

The traffic is drawn from the seed (a week's curve with noise, an installation with its lifetimes and caps), or is the
recorded [trace](../tools/replay/traces). A model of the sidecar, which follows `src/gateway`, turns it into the series a Prometheus
would have scraped; see [`tools/replay`](../tools/replay). Every scenario begins with a Prometheus without history, and what
fires then counts.

An *episode* is a firing run of one alert, gaps under 30 minutes merged. `seed` in a line below repeats it:
`python3 -m tools.replay --shapes SHAPE --first SEED --seeds 1`.
"""
