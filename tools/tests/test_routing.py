"""Where alerts go, as amtool reads the example for Alertmanager."""

from __future__ import annotations

import re
import tempfile
import unittest
from pathlib import Path

import yaml

from tools.rules import ALERTMANAGER, RULES, programs

RECEIVERS = {"critical": "page", "warning": "team", "info": "nobody"}


def alerts() -> list[dict]:
    """The alerts of the rules."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


class Routing(unittest.TestCase):
    """Of the shipped example."""

    def test_amtool_accepts_it(self) -> None:
        self.assertIn("SUCCESS", programs.check_alertmanager(ALERTMANAGER))

    def test_every_alert_reaches_the_receiver_of_its_severity(self) -> None:
        for rule in alerts():
            severity = rule["labels"]["severity"]
            labels = {"alertname": rule["alert"], "namespace": "shop", "job": "sessgate", **rule["labels"]}
            with self.subTest(**labels):
                self.assertEqual(programs.receivers(ALERTMANAGER, labels), [RECEIVERS[severity]])

    def test_what_is_not_of_sessgate_pages_nobody(self) -> None:
        labels = {"alertname": "Other", "severity": "critical"}
        self.assertEqual(programs.receivers(ALERTMANAGER, labels), ["team"])

    def test_inhibitions_name_alerts_that_exist_and_keep_to_one_job(self) -> None:
        names = {rule["alert"] for rule in alerts()}
        for rule in yaml.safe_load(ALERTMANAGER.read_text())["inhibit_rules"]:
            self.assertLessEqual({"namespace", "job"}, set(rule["equal"]))
            for matcher in [*rule["source_matchers"], *rule["target_matchers"]]:
                name = re.fullmatch(r'alertname(=~?)"(.+)"', matcher)
                for part in name[2].split("|") if name else []:
                    self.assertTrue(any(re.fullmatch(part, known) for known in names), f"{part} is no alert")

    def test_the_check_can_fail(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            broken = Path(directory, "alertmanager.yml")
            broken.write_text(ALERTMANAGER.read_text().replace("receiver: page", "receiver: nowhere"))
            with self.assertRaises(programs.ProgramError):
                programs.check_alertmanager(broken)
            broken.write_text(ALERTMANAGER.read_text().replace('severity="critical"', 'severity="page"', 1))
            labels = {"alertname": "SessgateDown", "severity": "critical"}
            self.assertNotEqual(programs.receivers(broken, labels), ["page"])


if __name__ == "__main__":
    unittest.main()
