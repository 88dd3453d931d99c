"""The servers start on free ports, answer, and leave neither process nor directory."""

import os
import unittest
import unittest.mock
from pathlib import Path

from tools.processes import Process, ServerError, wait_until
from tools.servers import Alertmanager, Prometheus, ScrapeJob, Sidecar, WebhookReceiver, http_text, webhook_config

RULES = """
groups:
  - name: t
    rules:
      - alert: Sessions
        expr: sessgate_sessions{tier="storage"} > 0
        annotations: { summary: "{{ $value }} sessions" }
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Servers(unittest.TestCase):
    def test_from_a_session_to_a_page_and_back(self) -> None:
        with (
            Sidecar({"lifetimes": {"sweep_interval": "1s"}}) as sidecar,
            WebhookReceiver() as pager,
            Alertmanager(webhook_config(pager.url + "hook")) as alertmanager,
        ):
            rules = sidecar.directory / "rules.yml"
            rules.write_text(RULES)
            job = ScrapeJob("gate", [sidecar.target], {"namespace": "shop"})
            with Prometheus([job], [rules], alertmanagers=[alertmanager.target]) as prometheus:
                seen = prometheus.wait_for('up{job="gate"} == 1')
                self.assertEqual(seen[0].labels["namespace"], "shop")
                http_text(sidecar.api + "/v1/sessions", data=b'{"user": "ada"}')
                page = pager.await_page(lambda page: bool(page.firing), 30)
                self.assertEqual(page.path, "/hook")
                self.assertEqual(page.firing[0]["annotations"]["summary"], "1 sessions")
                http_text(sidecar.api + "/v1/users/ada/sessions", method="DELETE")
                pager.await_page(lambda page: bool(page.resolved), 30)
                start = page.at - 10
                ranged = prometheus.query_range('sessgate_sessions{tier="storage"}', start, start + 12, 1)
                self.assertTrue(all(value in (0.0, 1.0) for _, value in ranged[0].points))
                with self.assertRaisesRegex(ServerError, "parse error"):
                    prometheus.query("sum(")
                pids = [server.running.pid for server in (sidecar, alertmanager, prometheus)]
                places = [server.directory for server in (sidecar, alertmanager, prometheus)]
                self.assertTrue(all(alive(pid) for pid in pids))
        self.assertFalse([pid for pid in pids if alive(pid)])
        self.assertFalse([place for place in places if place.exists()])

    def test_a_sidecar_comes_back_where_it_was(self) -> None:
        with Sidecar() as sidecar:
            before = (sidecar.api, sidecar.admin)
            http_text(sidecar.api + "/v1/sessions", data=b'{"user": "ada"}')
            self.assertEqual(sidecar.stop(), 0)
            sidecar.start()
            self.assertEqual((sidecar.api, sidecar.admin), before)
            self.assertEqual(sidecar.metric('sessgate_sessions{tier="storage",scope="local"}'), 1)
            sidecar.kill()
            sidecar.start()
            self.assertEqual((sidecar.api, sidecar.admin), before)

    def test_a_new_configuration_is_taken_and_a_bad_one_is_not(self) -> None:
        taken = "sessgate_config_last_reload_successful"
        with Sidecar() as sidecar:
            sidecar.configure({"limits": {"per_user": {"sessions": 3}}})
            wait_until("the limit is 3", lambda: sidecar.metric("sessgate_user_sessions_limit") == 3, 10)
            sidecar.write_config("limits: {")
            wait_until("the file is refused", lambda: sidecar.metric(taken) == 0, 10)

    def test_what_fails_says_so_and_leaves_nothing(self) -> None:
        sidecar = Sidecar({"limits": {"memory_sessions": "many"}})
        with self.assertRaisesRegex(ServerError, "exit code 78"), sidecar:
            self.fail("it started")
        self.assertFalse(sidecar.directory.exists())
        with WebhookReceiver() as pager, self.assertRaisesRegex(ServerError, "no page within 0.1 s; 0 pages came"):
            pager.await_page(lambda _: True, 0.1)
        with self.assertRaisesRegex(ServerError, "waited 0.1 s in vain: never"):
            wait_until("never", lambda: False, 0.1)

    def test_who_does_not_listen_is_killed(self) -> None:
        with unittest.mock.patch("tools.processes.STOP_DEADLINE", 0.2):
            process = Process(["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"], Path("/"))
            process.wait_line("up")
            self.assertEqual(process.stop(), -9)


if __name__ == "__main__":
    unittest.main()
