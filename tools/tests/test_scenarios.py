"""The scenario driver: plans that depend on the seed alone, and plays that do to the real sidecar what they say."""

import asyncio
import contextlib
import io
import re
import signal
import socket
import sys
import unittest
import unittest.mock
from collections import Counter
from typing import Any

import yaml

from tools.processes import Process, wait_until
from tools.scenarios import SCENARIOS, FoundPlace, Frame, Report, Timing, play
from tools.scenarios.__main__ import listing, main
from tools.scenarios.gate import Gate
from tools.scenarios.place import overlaid, small_disk
from tools.scenarios.plan import Act, Call, address, arrivals, ordered
from tools.scenarios.player import MOST_WAITING
from tools.servers import REPOSITORY, Sidecar, sidecar_program

RULES = REPOSITORY / "alerts/sessgate.rules.yml"
MINUTE = Timing.of(60)
SHORT = Timing(0.5, 3.0, 0.5)


def planned(name: str, seed: int = 7, timing: Timing = MINUTE, scale: float = 1.0) -> list[Call]:
    return list(SCENARIOS[name].shape(Frame(seed, timing, scale)))


def played(name: str, sidecar: Sidecar, timing: Timing = SHORT, scale: float = 1.0) -> Report:
    return asyncio.run(play(SCENARIOS[name], Frame(7, timing, scale), place=sidecar))


class Plans(unittest.TestCase):
    def test_the_seed_alone_decides(self) -> None:
        for name in SCENARIOS:
            with self.subTest(name):
                self.assertEqual(planned(name), planned(name))
                self.assertNotEqual(planned(name), planned(name, seed=8))

    def test_calls_come_in_order_and_in_time(self) -> None:
        for name in SCENARIOS:
            with self.subTest(name):
                times = [call.at for call in planned(name)]
                self.assertEqual(times, sorted(times))
                self.assertTrue(times[0] >= 0 and times[-1] < 60)

    def test_a_session_is_created_before_it_is_used(self) -> None:
        for name in SCENARIOS:
            created: set[str] = set()
            for call in planned(name):
                if call.act is Act.CREATE:
                    self.assertNotIn(call.visitor, created, name)
                    created.add(call.visitor)
                elif call.act is not Act.LEASE:
                    self.assertIn(call.visitor, created, name)

    def test_the_scale_is_a_factor_on_the_rates(self) -> None:
        for name in ("normal-day", "flood", "many-ips", "leak"):
            once, thrice = len(planned(name)), len(planned(name, scale=3))
            self.assertAlmostEqual(thrice / once, 3, delta=0.4, msg=name)

    def test_trouble_stays_within_its_time(self) -> None:
        timing = Timing.of(60)
        for name, prefix in (("flood", "flood-"), ("many-ips", "bot-"), ("hoarder", "hoarder-"), ("leak", "task-")):
            times = [call.at for call in planned(name) if call.visitor.startswith(prefix)]
            self.assertTrue(timing.onset <= min(times) < timing.onset + 1, name)
            self.assertTrue(timing.relief - 1 < max(times) < timing.relief, name)

    def test_bots_stay_under_the_limit_of_their_address_and_the_flood_does_not(self) -> None:
        bots = Counter(call.ip for call in planned("many-ips") if call.visitor.startswith("bot-"))
        self.assertEqual(max(bots.values()), 9)
        flood = Counter(call.ip for call in planned("flood") if call.visitor.startswith("flood-"))
        self.assertEqual((len(flood), min(flood.values())), (1, 4800))

    def test_a_day_has_its_hours(self) -> None:
        hours = Counter(
            int(call.at / 25) for call in planned("normal-day", timing=Timing.of(600)) if call.act is Act.CREATE
        )
        night, afternoon = hours[3] + hours[4], hours[15] + hours[16]
        self.assertGreater(afternoon, 3 * night)

    def test_arrivals_have_their_rate(self) -> None:
        rng = Frame(1, SHORT).rng("x")
        self.assertAlmostEqual(
            sum(1 for _ in arrivals(rng, 0, 1_000, lambda at: 2 if at < 500 else 6, 6)), 4_000, delta=250
        )

    def test_visits_are_merged_by_time(self) -> None:
        visits = [[Call(1, Act.CREATE, "a"), Call(9, Act.END, "a")], [Call(2, Act.CREATE, "b"), Call(3, Act.END, "b")]]
        self.assertEqual([call.at for call in ordered(visits)], [1, 2, 3, 9])

    def test_addresses_are_addresses(self) -> None:
        self.assertEqual(
            [address(number) for number in (0, 258, (1 << 24) - 1)], ["10.0.0.0", "10.0.1.2", "10.255.255.255"]
        )


class Catalogue(unittest.TestCase):
    def test_every_alert_that_is_promised_exists(self) -> None:
        rules = yaml.safe_load(RULES.read_text())
        known = {rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
        promised = {alert for scenario in SCENARIOS.values() for alert in scenario.alerts}
        self.assertEqual(promised - known, set())

    def test_settings_are_valid_configurations(self) -> None:
        for scenario in SCENARIOS.values():
            sidecar = Sidecar(scenario.settings(Frame(1, Timing.of(600), 2.0)))
            try:
                check = Process(
                    [str(sidecar_program()), "check", "--config", str(sidecar.config_path)], sidecar.directory
                )
                self.assertEqual(check.wait(), 0, f"{scenario.name}: {check.log()}")
            finally:
                sidecar.close()

    def test_the_help_names_each_with_what_to_expect(self) -> None:
        text = listing()
        for scenario in SCENARIOS.values():
            entry = re.search(rf"^  {scenario.name} .*?(?=^  \S|\Z)", text, re.MULTILINE | re.DOTALL)
            self.assertIsNotNone(entry)
            for alert in scenario.alerts:
                self.assertIn(alert, entry[0])  # type: ignore[index]

    def test_usage_errors_have_their_exit_code(self) -> None:
        for given in (
            ["tornado"],
            [],
            ["flood", "--scale", "1000"],
            ["flood", "--duration", "0"],
            ["flood", "--api", "x", "--place", "y"],
        ):
            with contextlib.redirect_stderr(io.StringIO()) as said:
                self.assertEqual(main(given), 64, given)
            self.assertIn("usage", said.getvalue())
        with contextlib.redirect_stdout(io.StringIO()) as said:
            self.assertEqual(main(["--list"]), 0)
        self.assertIn("store-down", said.getvalue())

    def test_sections_are_merged(self) -> None:
        self.assertEqual(
            overlaid({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"c": 4}, "e": {}}),
            {"a": {"b": 1, "c": 4}, "d": 3, "e": {}},
        )


class Plays(unittest.TestCase):
    """Short plays against the real sidecar. What each provokes is shown in full by `test_pages`."""

    def test_people_are_served(self) -> None:
        with Sidecar() as sidecar:
            report = played("normal-day", sidecar, Timing(0, 4, 0), scale=5)
            print(report)
            self.assertGreater(report.count("look up", "200"), 50)
            self.assertEqual(report.count("create"), report.count("create", "201"))
            self.assertEqual(report.left_out, 0)
            self.assertEqual(
                sidecar.metric('sessgate_session_creations_total{outcome="created"}'), report.count("create")
            )

    def test_a_flood_is_refused_and_people_are_not(self) -> None:
        with Sidecar() as sidecar:
            report = played("flood", sidecar)
            self.assertEqual(sidecar.metric('sessgate_session_creations_total{outcome="creation_rate"}'), 350)
            self.assertEqual(
                report.count("create", "429 creation_rate"), 350, "all but the ten that an address may have"
            )
            self.assertEqual(report.count("create"), report.count("create", "201") + 350)

    def test_the_knob_is_turned_back_when_trouble_is_over(self) -> None:
        limit = 'sessgate_sessions_limit{tier="storage",scope="local"}'
        with Sidecar() as sidecar:
            report = played("rush", sidecar, Timing(0.5, 4, 0.5), scale=0.5)
            self.assertGreater(report.count("create", "507 storage_full"), 100)
            wait_until("there is no cap any more", lambda: sidecar.metric(limit) == float("inf"), 10)
            self.assertEqual(sidecar.config, {})

    def test_a_bad_reload_is_refused_and_mended(self) -> None:
        with Sidecar() as sidecar:
            played("bad-reload", sidecar, Timing(0.1, 2, 0.1))
            self.assertGreaterEqual(sidecar.metric('sessgate_config_reloads_total{result="error",trigger="file"}'), 1)
            wait_until("it is mended", lambda: sidecar.metric("sessgate_config_last_reload_successful") == 1, 10)

    def test_a_frozen_sweep_fails_and_thaws(self) -> None:
        with Sidecar() as sidecar:
            played("frozen-sweep", sidecar, Timing(0.2, 5, 0.2))
            self.assertGreaterEqual(sidecar.metric('sessgate_sweep_runs_total{result="error"}'), 1)
            sidecar.configure({"lifetimes": {"sweep_interval": "200ms"}})
            ok = 'sessgate_sweep_runs_total{result="ok"}'
            before = sidecar.metric(ok)
            wait_until("it sweeps again", lambda: sidecar.metric(ok) > before, 10)

    def test_a_dead_endpoint_loses_notices_and_comes_back(self) -> None:
        with Sidecar() as sidecar:
            played("hook-down", sidecar, Timing(2, 4, 3), scale=4)
            results = {
                result: sidecar.metric(f'sessgate_hook_deliveries_total{{result="{result}"}}')
                for result in ("ok", "retried", "dropped")
            }
            self.assertTrue(all(results.values()), results)

    def test_a_slow_store_fails_nothing(self) -> None:
        with Sidecar() as sidecar:
            report = played("store-slow", sidecar, Timing(3, 6, 0.2), scale=0.5)
            self.assertEqual(
                {outcome for call, outcome in report.answers if call == "look up"} - {"404 session_not_found"}, {"200"}
            )
            slow = self.slow(sidecar)
            self.assertGreater(slow, 10, "look-ups of more than 5 ms")

    @staticmethod
    def slow(sidecar: Sidecar) -> float:
        series = 'sessgate_lookup_duration_seconds_{}{{tier="storage",result="hit"{}}}'
        return sidecar.metric(series.format("count", "")) - sidecar.metric(series.format("bucket", ',le="0.005"'))

    def test_a_full_disk_is_its_own(self) -> None:
        with small_disk() as disk, Sidecar(store=disk / "store") as sidecar:
            report = played("disk-full", sidecar, Timing(0.5, 2.5, 1), scale=3)
            self.assertGreater(report.count("create", "507"), 3)
            self.assertFalse((disk / "foreign").exists())
        with Sidecar() as sidecar, self.assertRaisesRegex(RuntimeError, "not ours to fill"):
            played("disk-full", sidecar, Timing(0.1, 1, 0.1))

    def test_a_sidecar_that_is_gone_makes_nobody_wait_for_ever(self) -> None:
        with Sidecar() as sidecar:
            report = played("crash", sidecar, Timing(1, 1, 1), scale=2)
            self.assertGreater(report.count("create", "no answer"), 1)
            self.assertGreater(report.count("create", "201"), 1)
            self.assertGreater(sidecar.metric('sessgate_connections{door="api"}'), -1, "it is back")

    def test_the_driver_is_bounded_when_nobody_answers(self) -> None:
        reports: list[Report] = []

        class Watched(Report):
            def __init__(self, *given: Any, **named: Any) -> None:
                super().__init__(*given, **named)
                reports.append(self)

        async def deaf() -> None:
            with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
                url = f"http://127.0.0.1:{listener.getsockname()[1]}"
                task = asyncio.create_task(play(SCENARIOS["flood"], Frame(1, Timing(0, 2, 0), 20.0), api=url))
                while not reports or reports[0].left_out < 1_000:
                    await asyncio.sleep(0.05)
                task.cancel()
                await asyncio.wait([task])

        with unittest.mock.patch("tools.scenarios.player.Report", Watched):
            asyncio.run(asyncio.wait_for(deaf(), 30))
        self.assertLessEqual(reports[0].sent, MOST_WAITING)

    def test_a_fault_needs_a_place(self) -> None:
        with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(io.StringIO()):
            self.assertEqual(main(["store-down", "--api", "http://127.0.0.1:1"]), 1)
        self.assertIn("a sidecar of its own", said.getvalue())

    def test_what_is_interrupted_puts_everything_back(self) -> None:
        with Sidecar({"limits": {"per_user": {"sessions": 7}}}) as sidecar:
            given = ["thrash", "--place", str(sidecar.directory), "--duration", "60", "--seed", "1"]
            program = Process([sys.executable, "-u", "-m", "tools.scenarios", *given], REPOSITORY)
            self.addCleanup(program.stop)
            limit = 'sessgate_sessions_limit{tier="memory",scope="local"}'
            wait_until("the scenario's limit is in force", lambda: sidecar.metric(limit) == 100, 20)
            program.signal(signal.SIGINT)
            self.assertEqual(program.wait(), 130)
            wait_until("the old one is in force", lambda: sidecar.metric(limit) == 50_000, 20)
            self.assertEqual(sidecar.metric("sessgate_user_sessions_limit"), 7)
            self.assertEqual(FoundPlace(sidecar.directory).config["limits"], {"per_user": {"sessions": 7}})

    def test_it_is_fast_enough(self) -> None:
        """The driver itself must not be what limits a flood at the largest scale that tests use."""

        async def look_ups(api: str) -> float:
            gate = Gate(api)
            created = await gate.call("create", "POST", "/v1/sessions", body={"user": "ada"})
            token = created.json()["token"]
            loop = asyncio.get_running_loop()
            start = loop.time()
            for _ in range(20):
                await asyncio.gather(*(gate.call("look up", "GET", "/v1/session", token=token) for _ in range(50)))
            rate = 1_000 / (loop.time() - start)
            gate.close()
            self.assertEqual(gate.tally["look up", "200"], 1_000)
            return rate

        with Sidecar() as sidecar:
            rate = asyncio.run(look_ups(sidecar.api))
            print(f"the driver reaches {rate:.0f} look-ups a second")
            self.assertGreater(rate, 300)


if __name__ == "__main__":
    unittest.main()
