"""The replay harness: its traffic, its model of the sidecar, its time machine, its arithmetic; and a short replay."""

from __future__ import annotations

import json
import random
import tempfile
import unittest
from array import array
from math import inf, nan
from pathlib import Path

from tools.replay import report, score, shapes, store
from tools.replay.__main__ import SHIPPED
from tools.replay.engine import RULES, EngineError, Fired, replay
from tools.replay.series import Recorder, notation
from tools.replay.sidecar import PLAIN, Minute, Setup, Sidecar
from tools.replay.traffic import DAY, Trace, Week, poisson

SETUP = Setup(close_after=25, closes_stale=True, active_minutes=10, logout_share=0.2, memory_sessions=300,
              stored_sessions=500, stored_bytes=1_000_000, session_bytes=1000)


def sidecar(setup: Setup = SETUP) -> Sidecar:
    """A fresh one, with a source of its own."""
    return Sidecar(setup, random.Random(1))


class Traffic(unittest.TestCase):
    """What people want."""

    def test_a_seed_gives_the_same_traffic_again(self) -> None:
        def rates() -> list[float]:
            source = random.Random(7)
            return Week.draw(source).rates(DAY, source)
        self.assertEqual(rates(), rates())

    def test_a_week_has_its_mean_and_its_night(self) -> None:
        week = Week(mean=100, night=0.2, weekend=1.0, peak_hour=14, noise=0.1, noise_minutes=60)
        curve = [week.curve(minute) for minute in range(DAY)]
        self.assertAlmostEqual(sum(curve) / DAY, 100, delta=1)
        self.assertAlmostEqual(min(curve) / max(curve), 0.2, delta=0.01)
        self.assertAlmostEqual(curve.index(max(curve)), 14 * 60, delta=1)

    def test_poisson_numbers_have_their_mean(self) -> None:
        for mean in (0.3, 8, 400):
            source = random.Random(3)
            drawn = [poisson(mean, source) for _ in range(3000)]
            self.assertAlmostEqual(sum(drawn) / len(drawn) / mean, 1, delta=0.1)

    def test_a_trace_is_scaled_filled_and_labelled(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            counts, labels = Path(directory, "t.csv"), Path(directory, "l.json")
            rows = ("timestamp,value", "2020-01-01 00:00:00,10", "2020-01-01 00:05:00,20", "2020-01-01 00:15:00,30")
            counts.write_text("\n".join(rows))
            known = [["2020-01-01 00:05:00", "2020-01-01 00:10:00.000000"]]
            for form in (known, {"t.csv": known}):
                labels.write_text(json.dumps(form))
                trace = Trace.read(counts, labels, mean=2)
                self.assertEqual(trace.labels, [(5, 10)])
            self.assertEqual(len(trace.rates), 25)
            self.assertAlmostEqual(sum(trace.rates) / 25, 2)
            self.assertEqual([round(rate / trace.rates[0]) for rate in trace.rates[::5]], [1, 2, 2, 3, 3])
            self.assertEqual(Trace.read(counts, None, mean=2).labels, [])

    def test_the_shipped_trace(self) -> None:
        trace = Trace.read(*SHIPPED, mean=60)
        self.assertEqual((len(trace.rates) // DAY, len(trace.labels)), (14, 2))


class Model(unittest.TestCase):
    """It keeps what the program promises."""

    def run_for(self, minutes: int, wanted: float, world: Minute = PLAIN, setup: Setup = SETUP) -> Sidecar:
        one = sidecar(setup)
        for now in range(minutes):
            one.step(now, wanted, world)
            ended = sum(count for name, count in one.counters.items() if name.startswith("ended."))
            self.assertEqual(one.stored, one.counters["creation.created"] - ended, "sessions are created less ended")
            self.assertLessEqual(one.stored, one.setup.capacity)
            self.assertLessEqual(one.memory, setup.memory_sessions)
        return one

    def test_plain_traffic_settles_at_arrivals_times_stay(self) -> None:
        one = self.run_for(600, 5)
        # In use for 10 minutes; four fifths stay another 25 and half a sweep.
        self.assertAlmostEqual(one.stored, 5 * (10 + 0.8 * 27.5), delta=40)
        self.assertGreater(one.counters["ended.stale"], 0)
        self.assertEqual(one.cap_hit, [])

    def test_at_the_cap_stale_ones_go_and_then_newcomers_are_refused(self) -> None:
        one = self.run_for(200, 5, Minute(held=20))
        self.assertGreater(one.counters["ended.storage_cap"], 0)
        self.assertGreater(one.counters["creation.storage_full"], 0)
        self.assertTrue(one.cap_hit)

    def test_bytes_are_cleaned_from_90_to_85_percent(self) -> None:
        setup = Setup(**{**SETUP.__dict__, "stored_sessions": None, "close_after": 10_000, "stored_bytes": 400_000})
        one = self.run_for(400, 5, setup=setup)
        self.assertLessEqual(one.stored, 0.9 * 400)
        self.assertGreater(one.counters["ended.storage_cap"], 0)

    def test_one_address_creates_its_burst_and_then_ten_an_hour(self) -> None:
        one = self.run_for(120, 0, Minute(flooded=600))
        self.assertAlmostEqual(one.counters["creation.created"], 10 + 20, delta=2)
        self.assertGreater(one.counters["creation.creation_rate"], 60_000)

    def test_a_frozen_sweep_leaves_the_stale_and_their_age(self) -> None:
        one = self.run_for(90, 2, Minute(sweep_frozen=True))
        self.assertEqual(one.counters["sweeps"], 0)
        self.assertGreater(one.oldest_stale(89), 60 * 60)
        self.assertLess(self.run_for(90, 2).oldest_stale(89), 32 * 60)

    def test_more_in_use_than_memory_holds_thrashes(self) -> None:
        one = self.run_for(120, 20, Minute(memory_share=0.2))
        self.assertGreater(one.counters["memory.lru"], 1000)
        self.assertGreater(one.counters["idle.60"], 0.9 * one.counters["memory.lru"])

    def test_an_app_that_never_closes_fills_storage_with_usual_traffic(self) -> None:
        self.assertTrue(self.run_for(200, 5, Minute(never_closed=True)).cap_hit)

    def test_a_restart_resets_counters_and_memory_but_not_storage(self) -> None:
        one = self.run_for(60, 5)
        stored = one.stored
        one.step(60, 0, Minute(starts=True))
        self.assertEqual(one.counters["creation.created"], 0)
        self.assertGreater(one.stored, stored * 0.8)


class TimeMachine(unittest.TestCase):
    """promtool, asked for every minute."""

    RULES = "groups:\n- name: sessgate-records\n  rules: []\n- name: sessgate-alerts\n  rules:\n" \
            "  - {alert: SessgateDown, expr: 'up == 0', for: 2m, labels: {severity: critical}}\n"

    def fired(self, values: list[float], rules: str = RULES) -> list[Fired]:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "rules.yml")
            path.write_text(rules)
            return replay([Recorder("one", {"up": array("d", values)})], path)

    def test_firing_minutes_are_read_exactly(self) -> None:
        self.assertEqual([one.minute for one in self.fired([1, 1, 0, 0, 0, 0, 1, 1])], [4, 5])
        late = self.fired([1.0] * (DAY + 61) + [0.0] * 5)
        self.assertEqual([one.minute for one in late], [DAY + 63, DAY + 64, DAY + 65])
        self.assertEqual(late[0], Fired("one", "SessgateDown", "critical", DAY + 63))

    def test_nothing_fires(self) -> None:
        self.assertEqual(self.fired([1, 1, 0, 1]), [])

    def test_broken_rules_are_an_error_and_not_silence(self) -> None:
        with self.assertRaises(EngineError):
            self.fired([1, 1], self.RULES.replace("up == 0", "up =="))

    def test_values_as_promtool_reads_them(self) -> None:
        self.assertEqual(notation(array("d", [1, 1, 1, 2, 2.5, nan, nan, nan, 3, inf, inf])),
                         "1+0x2 2 2.5 stale _x2 3 Inf Inf")


class Arithmetic(unittest.TestCase):
    """Episodes, hits and verdicts."""

    def scenario(self, *labels: shapes.Label, cap: int | None = None) -> shapes.Played:
        return shapes.Played("x", 1, Recorder("x-1"), list(labels), 1000, cap)

    def fired(self, *minutes: int, alert: str = "SessgateCapImminent", severity: str = "critical") -> list[Fired]:
        return [Fired("x-1", alert, severity, minute) for minute in minutes]

    def test_gaps_under_half_an_hour_are_merged_and_what_comes_after_the_end_is_not_counted(self) -> None:
        found = score.episodes([self.scenario()], self.fired(10, 11, 40, 71, 1000, 1001))
        self.assertEqual([(one.first, one.last, one.true) for one in found], [(10, 40, False), (71, 71, False)])

    def test_an_episode_that_touches_a_label_is_true(self) -> None:
        label = shapes.Label(100, 200, frozenset({"SessgateCapImminent"}))
        found = score.episodes([self.scenario(label)], self.fired(50, 95, 99, 101, 300))
        self.assertEqual([one.true for one in found], [False, True, False])

    def test_a_page_about_the_cap_must_come_before_it(self) -> None:
        label = shapes.Label(100, 200, shapes.GROWTH_PAGES, pages=True)
        hit = score.hits([self.scenario(label, cap=150)], self.fired(130))[0]
        self.assertEqual((hit.hit, hit.lead, hit.first_page), (True, 20, 130))
        self.assertFalse(score.hits([self.scenario(label, cap=150)], self.fired(160))[0].hit)
        self.assertFalse(score.hits([self.scenario(label, cap=150)], self.fired(130, severity="warning"))[0].hit)
        self.assertFalse(score.hits([self.scenario(label)], [])[0].counts, "the cap was never reached: no page is owed")

    def test_every_bar_can_be_missed(self) -> None:
        def verdict(shape: str, fired: list[Fired], *labels: shapes.Label, cap: int | None = None) -> bool:
            played = shapes.Played(shape, 1, Recorder("x-1"), list(labels), 1000, cap)
            return all(one.met for one in report.verdicts([store.outcome(played, fired)]))
        flood = shapes.Label(100, 200, frozenset({"SessgateCreationFlood"}))
        growth = shapes.Label(100, 200, shapes.GROWTH_PAGES, pages=True)
        for shape in ("plain", "flash_crowd", "trace x"):
            self.assertTrue(verdict(shape, self.fired(5, severity="warning")))
            self.assertFalse(verdict(shape, self.fired(5)))
        self.assertTrue(verdict("flood", self.fired(105, alert="SessgateCreationFlood", severity="warning"), flood))
        self.assertFalse(verdict("flood", [], flood))
        self.assertTrue(verdict("ramp", self.fired(139), growth, cap=150))
        self.assertFalse(verdict("ramp", self.fired(141), growth, cap=150))

    def test_outcomes_are_kept_and_found_again(self) -> None:
        label = shapes.Label(100, 200, shapes.GROWTH_PAGES, pages=True)
        done = store.outcome(self.scenario(label, cap=150), self.fired(130, 131))
        with tempfile.TemporaryDirectory() as directory:
            place = Path(directory, "kept")
            self.assertIsNone(store.load(place, "x-1"))
            store.save(place, "x-1", done)
            self.assertEqual(store.load(place, "x-1"), done)


class ShortReplay(unittest.TestCase):
    """Two shapes, one seed each, a few hours: the whole way in half a minute."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.played = [shapes.play(shape, 1, history=150, within=40) for shape in ("flood", "frozen_sweep")]
        print("replayed:", ", ".join(f"{one.shape} with seed {one.seed}" for one in cls.played), flush=True)

    def test_harm_is_told_and_nobody_is_paged_for_it(self) -> None:
        fired = replay([one.recorder for one in self.played])
        outcomes = [store.outcome(one, fired) for one in self.played]
        self.assertEqual([hit.hit for one in outcomes for hit in one.hits], [True, True])
        pages = [one for outcome in outcomes for one in outcome.episodes if one.severity == "critical" and not one.true]
        self.assertEqual(pages, [])
        text = report.render(outcomes, "make replay")
        self.assertIn("| recall on flood ≥ 0.95 | yes | 1.00 of 1 |", text)

    def test_rules_that_are_too_dull_miss_it(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            dull = Path(directory, "rules.yml")
            shipped = RULES.read_text()
            dull.write_text(shipped.replace('{outcome="creation_rate"}) > 1', '{outcome="creation_rate"}) > 1e9'))
            self.assertNotEqual(dull.read_text(), shipped)
            flood = self.played[0]
            hits = store.outcome(flood, replay([flood.recorder], dull)).hits
        self.assertEqual([hit.hit for hit in hits], [False])


if __name__ == "__main__":
    unittest.main()
