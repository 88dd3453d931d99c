"""Real apps keep their sessions in the sidecar, and all their checks pass: unchanged, but for the URL."""

import unittest
from functools import partial

from tools.clients import apps

LEAST = {"express-connect-redis": 29, "koa-session": 27, "django-rediscache": 28, "php-session-locking": 27}
"""Checks that there are, revocation included: a driver that leaves some out has not passed."""


class Apps(unittest.TestCase):
    def check(self, outcomes: list[apps.Outcome]) -> None:
        for outcome in outcomes:
            with self.subTest(app=outcome.app):
                self.assertEqual((outcome.code, outcome.failed), (0, []))
                self.assertGreaterEqual(outcome.passed, LEAST[outcome.app], outcome.output)

    def test_all_checks_of_all_apps_pass(self) -> None:
        self.check(apps.run_all())

    def test_with_a_password_and_another_database(self) -> None:
        self.check(apps.run_all(partial(apps.sidecar, password="s3cret", database=3)))


if __name__ == "__main__":
    unittest.main()
