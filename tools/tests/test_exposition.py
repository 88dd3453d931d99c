"""What Prometheus scrapes is well-formed, and little enough to scrape from every sidecar of a fleet."""

import json
import re
import subprocess
import unittest

from tools.processes import wait_until
from tools.servers import Sidecar, http_text

MOST_SERIES = 400
TOP_USERS = 10
"""`top_users.count`, unless it is set."""


class Exposition(unittest.TestCase):
    def test_promtool_finds_nothing_and_the_series_are_few(self) -> None:
        with Sidecar({"limits": {"creation_per_ip": None}}) as sidecar:
            for number in range(TOP_USERS + 2):
                body = json.dumps({"user": f"user-{number}"}).encode()
                for _ in range(1 + number // 4):
                    http_text(sidecar.api + "/v1/sessions", data=body)
            shown = re.compile("^sessgate_top_user_sessions{", re.MULTILINE)
            wait_until("all places are taken", lambda: len(shown.findall(sidecar.metrics())) == TOP_USERS, 30)
            text = sidecar.metrics()
        checked = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True, check=False)
        self.assertEqual((checked.returncode, checked.stdout + checked.stderr), (0, ""))
        series = [line for line in text.splitlines() if line and not line.startswith("#")]
        self.assertEqual(len(series), len({line.rsplit(" ", 1)[0] for line in series}))
        self.assertLessEqual(len(series), MOST_SERIES)
        self.assertGreater(len(series), MOST_SERIES // 2)


if __name__ == "__main__":
    unittest.main()
