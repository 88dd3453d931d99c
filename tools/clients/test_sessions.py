"""More session libraries, each in the smallest app that uses it: a user logs in, comes back, is ended, and logs out."""

import http.cookiejar
import json
import os
import shutil
import subprocess
import sys
import unittest
import urllib.request
from pathlib import Path

from tools.clients import apps
from tools.processes import Process
from tools.servers import Sidecar

SOURCE = Path(__file__).parent / "sessions"
PLACE = apps.COPIES / "sessions"
PYTHON = PLACE / "venv/bin/python"


class Browser:
    """Keeps its cookies."""

    def __init__(self, app: str) -> None:
        self._app = app
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))

    def get(self, path: str) -> str:
        """What the app answers."""
        with self._opener.open(self._app + path, timeout=30) as answer:
            return str(answer.read().decode())


class Sessions(unittest.TestCase):
    """Each app has a door of its own."""

    @classmethod
    def setUpClass(cls) -> None:
        shutil.copytree(SOURCE, PLACE, dirs_exist_ok=True)
        wanted = "".join((PLACE / name).read_text() for name in ("requirements.txt", "package-lock.json"))
        installed = PLACE / "installed"
        if installed.exists() and installed.read_text() == wanted:
            return
        for command in (
            [sys.executable, "-m", "venv", "venv"],
            [PYTHON, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", "requirements.txt"],
            ["npm", "ci", "--no-audit", "--no-fund", "--silent"],
        ):
            subprocess.run(command, cwd=PLACE, check=True, stdout=subprocess.DEVNULL)
        installed.write_text(wanted)

    def story(self, *command: str | Path) -> None:
        with Sidecar({"listen": {"redis": "127.0.0.1:0"}}) as sidecar:
            environment = {**os.environ, "REDIS_URL": f"redis://{sidecar.redis_target}"}
            with Process([str(word) for word in command], PLACE, environment) as app:
                port = app.wait_line(r"^listening on (\d+)$")[1]
                self.tell(f"http://127.0.0.1:{port}", f"{sidecar.api}/v1/users/u-5/sessions")

    def tell(self, app: str, of_user: str) -> None:
        """The story: browsers of one user, and what the sidecar's API makes of them."""

        def sessions() -> int:
            with urllib.request.urlopen(of_user, timeout=10) as answer:
                return len(json.load(answer)["sessions"])

        here, there, other = Browser(app), Browser(app), Browser(app)
        self.assertEqual([here.get("/me"), here.get("/me"), here.get("/login/u-5")], ["- 1", "- 2", "u-5 3"])
        self.assertEqual([here.get("/me"), there.get("/login/u-5"), other.get("/login/u-6")], ["u-5 4", "u-5 1", "u-6 1"])
        self.assertEqual(sessions(), 2)
        with urllib.request.urlopen(urllib.request.Request(of_user, method="DELETE"), timeout=10) as answer:
            self.assertEqual(json.load(answer), {"revoked": 2})
        self.assertEqual(sessions(), 0)
        self.assertEqual([here.get("/me"), there.get("/me"), other.get("/me")], ["- 1", "- 1", "u-6 2"])
        self.assertRegex(here.get("/login/u-5"), r"^u-5 \d$")
        self.assertRegex(here.get("/me"), r"^u-5 \d$")
        self.assertEqual(sessions(), 1)
        self.assertEqual([here.get("/logout"), here.get("/me")], ["bye", "- 1"])
        self.assertEqual(sessions(), 0)

    def test_flask_session(self) -> None:
        for form in ("msgpack", "json"):
            with self.subTest(form):
                self.story(PYTHON, "flask_app.py", form)

    def test_aiohttp_session(self) -> None:
        self.story(PYTHON, "aiohttp_app.py")

    def test_fastify_session(self) -> None:
        self.story("node", "fastify_app.mjs")

    def test_redis_rack(self) -> None:
        self.story("ruby", "rack_app.rb")


if __name__ == "__main__":
    unittest.main()
