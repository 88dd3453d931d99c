"""The catalogue, the rules and the dashboards name the same metrics."""

from __future__ import annotations

import unittest

from tools.rules import coverage
from tools.rules.coverage import Family

FAMILIES = [
    Family("sessgate_users", "gauge"),
    Family("sessgate_door_total", "counter", {"door": frozenset({"api", "admin"}), "user": frozenset()}),
    Family("sessgate_time_seconds", "histogram"),
]


def problems(*expressions: str, internal: dict[str, str] | None = None) -> list[str]:
    """Of expressions that stand somewhere."""
    uses = [("x", text) for text in expressions]
    return coverage.problems(uses, FAMILIES, {"job:sessgate_users:sum"}, internal or {})


class Repository(unittest.TestCase):
    """What is shipped."""

    def test_both_ways(self) -> None:
        self.assertEqual(coverage.check(), [])

    def test_the_catalogue_is_read_whole(self) -> None:
        families = {family.name: family for family in coverage.catalogue()}
        self.assertGreater(len(families), 35)
        self.assertIn("storage_cap", families["sessgate_session_evictions_total"].labels["reason"])
        self.assertEqual(families["sessgate_sweep_duration_seconds"].kind, "histogram")
        self.assertIn("process_open_fds", families)


class Checks(unittest.TestCase):
    """They can fail."""

    ALL = ('sum(sessgate_users) > job:sessgate_users:sum', 'rate(sessgate_door_total{door=~"api|admin",user="x"}[5m])',
           'rate(sessgate_time_seconds_bucket{le="1"}[5m])')

    def test_all_is_well(self) -> None:
        self.assertEqual(problems(*self.ALL), [])

    def test_an_unused_metric(self) -> None:
        self.assertEqual(problems(*self.ALL[1:]),
                         ["sessgate_users is in no rule, on no dashboard, and not listed as internal with a reason"])
        self.assertEqual(problems(*self.ALL[1:], internal={"sessgate_users": "a reason"}), [])
        self.assertEqual(len(problems(*self.ALL[1:], internal={"sessgate_users": ""})), 1)

    def test_an_internal_metric_that_is_used_or_does_not_exist(self) -> None:
        internal = {"sessgate_users": "a reason", "sessgate_no": "a reason"}
        self.assertEqual(len(problems(*self.ALL, internal=internal)), 2)

    def test_a_name_a_label_and_a_value_that_do_not_exist(self) -> None:
        self.assertIn("x: there is no metric sessgate_usrs", problems(*self.ALL, "sessgate_usrs"))
        self.assertIn("x: there is no metric sessgate_time_seconds", problems(*self.ALL, "sessgate_time_seconds"))
        self.assertIn("x: sessgate_users has no label door", problems(*self.ALL, 'sessgate_users{door="api"}'))
        wrong = 'sessgate_door_total{door=~"apis|admin"}'
        self.assertIn("x: sessgate_door_total has no door apis", problems(*self.ALL, wrong))
        self.assertIn("x: nothing records job:sessgate_users:max", problems(*self.ALL, "job:sessgate_users:max"))


if __name__ == "__main__":
    unittest.main()
