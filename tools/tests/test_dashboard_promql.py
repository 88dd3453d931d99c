"""What the expressions of the panels make of several sidecars, local and shared stores, and other programs: asked of promtool.

The store that several sidecars share does not exist yet, so no real sidecar can show that its figures are not added up.
"""

import subprocess
import tempfile
import unittest
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tools.dashboards import internals, shared
from tools.dashboards.macros import expand
from tools.dashboards.overview import UP
from tools.dashboards.promql import finite, ours, quantile, ratio, scoped, series, tiered

VALUES = {"namespace": ".*", "job": ".+", "instance": ".+", "__rate_interval": "4m"}
STORED = 'tier="storage"'


def gauge(name: str, instance: str, value: str, job: str = "gate", **labels: str) -> dict[str, str]:
    """An input series; without a namespace, as outside Kubernetes."""
    pairs = {"job": job, "instance": instance, **labels}
    return {"series": name + "{" + ", ".join(f'{key}="{text}"' for key, text in pairs.items()) + "}", "values": value}


def evaluate(given: Sequence[Mapping[str, str]], expr: str, wanted: Sequence[tuple[str, float]], at: str = "10m") -> str:
    """What promtool has to say against it; nothing if the expression gives what is wanted."""
    samples = [{"labels": labels, "value": value} for labels, value in wanted]
    test = {
        "interval": "1m", "input_series": list(given),
        "promql_expr_test": [{"expr": expand(expr, VALUES), "eval_time": at, "exp_samples": samples}],
    }
    document: dict[str, Any] = {"rule_files": [], "evaluation_interval": "1m", "tests": [test]}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "test.yml"
        path.write_text(yaml.safe_dump(document))
        run = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True)
    return "" if run.returncode == 0 else run.stdout + run.stderr


class Scopes(unittest.TestCase):
    def test_own_stores_are_added_up(self) -> None:
        given = [gauge("sessgate_sessions", f"i{n}", f"{n}x20", tier="storage", scope="local") for n in (30, 12)]
        self.assertEqual(evaluate(given, tiered("sessgate_sessions", STORED), [("{}", 42)]), "")
        self.assertIn("exp:", evaluate(given, tiered("sessgate_sessions", STORED), [("{}", 30)]))

    def test_a_shared_store_is_counted_once(self) -> None:
        given = [gauge("sessgate_sessions", f"i{n}", "42x20", tier="storage", scope="shared") for n in range(3)]
        self.assertEqual(evaluate(given, tiered("sessgate_sessions", STORED), [("{}", 42)]), "")

    def test_jobs_are_added_up_whatever_their_stores(self) -> None:
        given = [gauge("sessgate_sessions", f"i{n}", "42x20", tier="storage", scope="shared") for n in range(3)]
        given += [gauge("sessgate_sessions", f"j{n}", "10x20", job="other", tier="storage", scope="local") for n in range(2)]
        given += [gauge("sessgate_sessions", f"j{n}", "7x20", job="other", tier="memory", scope="local") for n in range(2)]
        self.assertEqual(evaluate(given, tiered("sessgate_sessions", STORED), [("{}", 62)]), "")

    def test_figures_without_a_scope_follow_the_store(self) -> None:
        given = [gauge("sessgate_users", f"i{n}", "5x20") for n in range(3)]
        own = [gauge("sessgate_storage_bytes", f"i{n}", "1x20", scope="local") for n in range(3)]
        shared_store = [gauge("sessgate_storage_bytes", f"i{n}", "1x20", scope="shared") for n in range(3)]
        self.assertEqual(evaluate([*given, *own], scoped("sessgate_users"), [("{}", 15)]), "")
        self.assertEqual(evaluate([*given, *shared_store], scoped("sessgate_users"), [("{}", 5)]), "")


class Limits(unittest.TestCase):
    def test_a_limit_that_is_off_has_no_line_and_no_bar(self) -> None:
        given = [
            gauge("sessgate_sessions", "i0", "9x20", tier="storage", scope="local"),
            gauge("sessgate_sessions_limit", "i0", "Inf Inf Inf Inf Inf Inf Inf Inf Inf Inf Inf", tier="storage", scope="local"),
        ]
        self.assertEqual(evaluate(given, finite(shared.STORED_LIMIT), []), "")
        self.assertEqual(evaluate(given, shared.STORED_FULL, []), "")

    def test_the_fullest_sidecar_counts(self) -> None:
        given = [gauge("sessgate_sessions", f"i{n}", f"{n}x20", tier="storage", scope="local") for n in (90, 10)]
        given += [gauge("sessgate_sessions_limit", f"i{n}", "100x20", tier="storage", scope="local") for n in (90, 10)]
        self.assertEqual(evaluate(given, shared.STORED_FULL, [("{}", 0.9)]), "")

    def test_time_to_the_cap(self) -> None:
        limit = gauge("sessgate_sessions_limit", "i0", "1000x60", tier="storage", scope="local")
        rising = gauge("sessgate_sessions", "i0", "100+10x60", tier="storage", scope="local")
        still = gauge("sessgate_sessions", "i0", "100x60", tier="storage", scope="local")
        falling = gauge("sessgate_sessions", "i0", "900-10x60", tier="storage", scope="local")
        self.assertEqual(evaluate([limit, rising], f"round({shared.SESSIONS_TIME_TO_CAP})", [("{}", 3600)], "30m"), "")
        for other in (still, falling):
            self.assertEqual(evaluate([limit, other], shared.SESSIONS_TIME_TO_CAP, [], "30m"), "")


class Ours(unittest.TestCase):
    """With all jobs selected, other programs' series are there, too."""

    OTHERS = [gauge("up", "db:9", "0x20", job="db"), gauge("process_open_fds", "db:9", "999x20", job="db"),
              gauge("process_start_time_seconds", "db:9", "5x20", job="db")]
    INFO = [gauge("sessgate_build_info", "i0", "1x20", version="1"), gauge("sessgate_build_info", "i1", "1x4 _x16", version="1")]

    def test_only_sidecars_are_counted_as_down(self) -> None:
        given = [*self.OTHERS, *self.INFO, gauge("up", "i0", "1x20"), gauge("up", "i1", "1x4 0x16")]
        self.assertEqual(evaluate(given, f"sum({UP})", [("{}", 1)]), "")
        self.assertEqual(evaluate(given, f"sum({UP} == bool 0)", [("{}", 1)]), "")

    def test_only_sidecars_have_files_open(self) -> None:
        given = [*self.OTHERS, *self.INFO, gauge("process_open_fds", "i0", "20x20")]
        wanted = [('process_open_fds{instance="i0", job="gate"}', 20)]
        self.assertEqual(evaluate(given, ours("process_open_fds"), wanted), "")
        self.assertIn("9.99E+02", evaluate(given, series("process_open_fds"), wanted))


class Sweeps(unittest.TestCase):
    def given(self, last: str) -> list[dict[str, str]]:
        return [gauge("sessgate_sweep_last_success_timestamp_seconds", "i0", last), gauge("process_start_time_seconds", "i0", "60x20"),
                gauge("sessgate_sweep_interval_seconds", "i0", "60x20"), *Ours.OTHERS]

    def test_since_the_last_good_one(self) -> None:
        self.assertEqual(evaluate(self.given("420x20"), shared.SWEEPS_AGO, [("{}", 3)]), "")
        self.assertEqual(evaluate(self.given("420x20"), internals.EACH_SWEEP, [('{instance="i0", job="gate"}', 180)]), "")

    def test_since_the_start_while_there_was_none(self) -> None:
        self.assertEqual(evaluate(self.given("0x20"), shared.SWEEPS_AGO, [("{}", 9)]), "")


class Shares(unittest.TestCase):
    def test_nothing_comes_of_nothing(self) -> None:
        given = [gauge("sessgate_sessions_stale", "i0", "0x20"), gauge("sessgate_sessions", "i0", "0x20")]
        self.assertEqual(evaluate(given, ratio("sum(sessgate_sessions_stale)", "sum(sessgate_sessions)"), []), "")
        buckets = [gauge("sessgate_lookup_duration_seconds_bucket", "i0", "0x20", le=le) for le in ("0.001", "+Inf")]
        self.assertEqual(evaluate(buckets, quantile(0.99, "sessgate_lookup_duration_seconds"), []), "")

    def test_slow_and_failed_look_ups_are_bad(self) -> None:
        name = "sessgate_lookup_duration_seconds"
        given = [
            gauge(f"{name}_bucket", "i0", "0+80x20", le="0.005", result="hit"),
            gauge(f"{name}_bucket", "i0", "0+90x20", le="+Inf", result="hit"),
            gauge(f"{name}_bucket", "i0", "0+10x20", le="0.005", result="error"),
            gauge(f"{name}_bucket", "i0", "0+10x20", le="+Inf", result="error"),
            gauge(f"{name}_count", "i0", "0+90x20", result="hit"), gauge(f"{name}_count", "i0", "0+10x20", result="error"),
        ]
        self.assertEqual(evaluate(given, f"round({shared.BAD_SHARE}, 0.001)", [("{}", 0.2)]), "")


if __name__ == "__main__":
    unittest.main()
