"""The demo starts, everything in it is up, and Ctrl-C leaves neither a process nor a directory."""

import os
import re
import signal
import sys
import tempfile
import unittest
from pathlib import Path

from tools.processes import Process, wait_until
from tools.servers import REPOSITORY, http_text

ENDS = 60.0


def with_marker(marker: str) -> list[int]:
    """The processes that were started with this in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and marker.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


class Demo(unittest.TestCase):
    def start(self, directory: Path) -> tuple[Process, dict[str, str]]:
        """A demo whose processes can be told by their environment, and the addresses that it prints."""
        program = [sys.executable, "-m", "tools.demo", "--free-ports", "--seed", "1", "--factor", "30"]
        demo = Process(program, REPOSITORY, {"TMPDIR": str(directory)})
        self.addCleanup(demo.stop)
        demo.wait_line("Ctrl-C stops everything")
        return demo, dict(
            re.findall(r"^  (status page|alerts|Alertmanager) +(http://[\d.:]+)", demo.log(), re.MULTILINE)
        )

    def test_it_shows_everything_and_leaves_nothing(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            demo, at = self.start(directory)
            created = wait_until(
                "traffic is scraped",
                lambda: (
                    "sessgate_session_creations_total"
                    in http_text(at["alerts"] + "/api/v1/query?query=sessgate_session_creations_total%3E0")
                ),
            )
            self.assertTrue(created)
            self.assertIn("sessgate", http_text(at["status page"] + "/").lower())
            self.assertIn("SessgateCapReached", http_text(at["alerts"] + "/api/v1/rules"))
            self.assertIn("page", http_text(at["Alertmanager"] + "/api/v2/receivers"))
            self.assertEqual(len(with_marker(str(directory))), 4, "the demo and its three servers")
            demo.signal(signal.SIGINT)
            self.assertEqual(demo.wait(ENDS), 0)
            self.assertIn("nothing is left", demo.log())
            self.assertEqual(with_marker(str(directory)), [])
            self.assertEqual(os.listdir(directory), [])

    def test_an_impatient_stop_leaves_nothing_either(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            demo, _ = self.start(Path(name))
            demo.signal(signal.SIGTERM)
            demo.wait_line("stopping", ENDS)
            demo.signal(signal.SIGINT)
            self.assertEqual(demo.wait(ENDS), 0)
            self.assertIn("nothing is left", demo.log())
            self.assertEqual((with_marker(name), os.listdir(name)), ([], []))


if __name__ == "__main__":
    unittest.main()
