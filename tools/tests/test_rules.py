"""The rules, their tests, their style, the runbook and the operator's form agree with each other."""

from __future__ import annotations

import re
import tempfile
import unittest
from pathlib import Path

import yaml

from tools.rules import OPERATOR, README, RULES, RUNBOOK, TESTS, programs
from tools.rules.operator import rendered

TARGET_LABELS = ("namespace", "job")
SEVERITIES = {"critical", "warning", "info"}
_COMPARISON = re.compile(r"(?<![=!~<>])(==|!=|<=|>=|<|>)(?![=~])(?!\s*\")")
_SELECTORS = re.compile(r"\{[^{}]*\}")


def style_problems(rules: Path, runbook: Path) -> list[str]:
    """What is not as the style of these rules asks."""
    anchors = {line.removeprefix("## ").strip().lower() for line in runbook.read_text().splitlines()
               if line.startswith("## ")}
    found = []
    for group in yaml.safe_load(rules.read_text())["groups"]:
        for rule in group["rules"]:
            name = rule.get("record") or rule["alert"]
            found.extend(f"{name}: {problem}" for problem in (
                _record(rule) if "record" in rule else _alert(rule, anchors)))
    alerts = {rule["alert"].lower() for group in yaml.safe_load(rules.read_text())["groups"]
              for rule in group["rules"] if "alert" in rule}
    return [*found, *(f"runbook: no alert is called {anchor}" for anchor in anchors - alerts)]


def _record(rule: dict) -> list[str]:
    parts = rule["record"].split(":")
    return [] if len(parts) == 3 and parts[0] in ("job", "instance") else ["is not called level:metric:operation"]


def _alert(rule: dict, anchors: set[str]) -> list[str]:
    name, expression, annotations = rule["alert"], rule["expr"], rule.get("annotations", {})
    summary, description = annotations.get("summary", ""), annotations.get("description", "")
    url, _, anchor = annotations.get("runbook_url", "").partition("#")
    rules = {
        "its name is not in CamelCase after Sessgate": re.fullmatch(r"Sessgate([A-Z][a-z]+)+", name),
        "its severity is none of three": rule["labels"].get("severity") in SEVERITIES,
        "a label is templated": not any("{{" in str(value) for value in rule["labels"].values()),
        "it uses topk": "topk" not in expression,
        "it has no comparison": _COMPARISON.search(_SELECTORS.sub("", expression)),
        "its summary is not one plain sentence": re.fullmatch(r"[A-Z][^{}.]*\.", summary),
        "its description has no template": "{{" in description,
        "its description does not name the job": "$labels.job" in description,
        "its description does not say what to look at": re.search(r"\b[Ll]ook at\b", description),
        "a number is not humanised": not re.search(r"\{\{\s*\$value\s*\}\}", description),
        "its runbook has no such section":
            url.endswith("/alerts/runbook.md") and anchor in anchors and anchor == name.lower(),
        "it has more than the three annotations": set(annotations) == {"summary", "description", "runbook_url"},
    }
    return [problem for problem, kept in rules.items() if not kept]


def cases(tests: Path) -> dict[str, set[str]]:
    """Of each alert, the states that some test asks for: silent, pending, firing, and the situations it is asked in."""
    found: dict[str, set[str]] = {}
    for path in sorted(tests.glob("*.yml")):
        for test in yaml.safe_load(path.read_text())["tests"]:
            for check in test.get("alert_rule_test", []):
                states = found.setdefault(check["alertname"], set())
                states.add("firing" if check.get("exp_alerts") else "not firing")
                title = test["name"].split(":")[0]
                states.update(word for word in ("cold start", "restart", "replicas", "shared store") if word in title)
            for check in test.get("promql_expr_test", []):
                alert = re.search(r'alertname="(\w+)"', check["expr"])
                if alert:
                    found.setdefault(alert[1], set()).add("pending" if check.get("exp_samples") else "silent")
    return found


class Rules(unittest.TestCase):
    """Of the shipped files."""

    def test_promtool_accepts_them(self) -> None:
        programs.check_rules(RULES)

    def test_promtool_accepts_the_scrape_configuration_of_the_readme(self) -> None:
        example = README.read_text().split("    scrape_configs:\n")[1].split("\n\n")[0]
        with tempfile.TemporaryDirectory() as directory:
            configuration = Path(directory) / "prometheus.yml"
            configuration.write_text(f"    scrape_configs:\n{example}\n")
            programs.check_prometheus(configuration)
            self.assertIn("credentials_file", example)

    def test_their_tests_pass(self) -> None:
        programs.test_rules(*sorted(TESTS.glob("*.yml")))

    def test_their_style(self) -> None:
        self.assertEqual(style_problems(RULES, RUNBOOK), [])

    def test_every_alert_is_tested_in_every_state_and_situation(self) -> None:
        alerts = {rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"]
                  for rule in group["rules"] if "alert" in rule}
        tested = cases(TESTS)
        for alert, rule in alerts.items():
            with self.subTest(alert):
                wanted = {"firing", "silent", "cold start", "restart"} | ({"pending"} if rule.get("for") else set())
                self.assertEqual(wanted - tested.get(alert, set()), set())
                self.assertTrue(tested[alert] & {"replicas", "shared store"}, "several replicas")

    def test_the_operators_form_is_current(self) -> None:
        self.assertEqual(OPERATOR.read_text(), rendered(), "run python3 -m tools.rules.operator")
        self.assertEqual(yaml.safe_load(OPERATOR.read_text())["spec"], yaml.safe_load(RULES.read_text()))


class Checks(unittest.TestCase):
    """The checks above can fail."""

    def test_a_rule_against_the_style_is_found(self) -> None:
        annotations = {"summary": "bad {{ $value }}", "description": "{{ $value }}", "runbook_url": "#nowhere"}
        rule = {"alert": "Sessgate_bad", "expr": "topk(3, sessgate_users)", "annotations": annotations,
                "labels": {"severity": "page", "v": "{{ $value }}"}}
        group = {"name": "g", "rules": [rule, {"record": "bad", "expr": "1"}]}
        with tempfile.TemporaryDirectory() as directory:
            rules = Path(directory, "rules.yml")
            rules.write_text(yaml.safe_dump({"groups": [group]}))
            found = style_problems(rules, RUNBOOK)
        for problem in ("CamelCase", "severity", "templated", "topk", "comparison", "summary", "job", "look at",
                        "humanised", "section", "level:metric:operation", "no alert is called"):
            self.assertTrue(any(problem in one for one in found), problem)

    def test_a_changed_threshold_fails_the_tests(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            tests = Path(directory, "tests")
            tests.mkdir()
            changed = RULES.read_text().replace("> 0.05\n        for: 10m", "> 0.5\n        for: 10m")
            Path(directory, RULES.name).write_text(changed)
            hooks = tests / "hooks.yml"
            hooks.write_text((TESTS / "hooks.yml").read_text())
            with self.assertRaises(programs.ProgramError):
                programs.test_rules(hooks)

    def test_a_broken_rule_is_refused(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            rules = Path(directory, "rules.yml")
            rules.write_text(RULES.read_text().replace("for: 10m", "for: soon", 1))
            with self.assertRaises(programs.ProgramError):
                programs.check_rules(rules)


if __name__ == "__main__":
    unittest.main()
