"""Redis's own tools, and client libraries, work with the door."""

import os
import shutil
import subprocess
import unittest
from pathlib import Path

from tools.clients import apps

LIBRARIES = Path(__file__).parent / "libraries"


class Libraries(unittest.TestCase):
    """Each has a door of its own. The libraries are those that the apps have brought along."""

    def install(self, app: str, command: list[str], mark: str) -> Path:
        place = apps.copy(app)
        if not (place / mark).exists():
            subprocess.run(command, cwd=place, check=True, stdout=subprocess.DEVNULL)
        return place

    def run_script(self, command: list[str], place: Path, password: str | None) -> None:
        with apps.sidecar("libraries", password) as door:
            environment = {**os.environ, "REDIS_URL": door.url}
            done = subprocess.run(
                command, cwd=place, env=environment, text=True, capture_output=True, check=False, timeout=120
            )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn(": fine", done.stdout)

    def node(self, app: str, script: str) -> None:
        place = self.install(app, ["npm", "install", "--no-audit", "--no-fund", "--silent"], "node_modules")
        shutil.copy2(LIBRARIES / script, place)
        for password in (None, "s3cret"):
            self.run_script(["node", script], place, password)

    def test_node_redis(self) -> None:
        self.node("express-connect-redis", "node_redis.mjs")

    def test_ioredis(self) -> None:
        self.node("koa-session", "ioredis.mjs")

    def test_redis_py(self) -> None:
        place = apps.copy("django-rediscache")
        python = place / "venv/bin/python"
        if not (place / "venv/.done").exists():
            subprocess.run(["python3", "-m", "venv", "venv"], cwd=place, check=True)
            subprocess.run([python, "-m", "pip", "install", "-q", "-r", "requirements.txt"], cwd=place, check=True)
            (place / "venv/.done").touch()
        for password in (None, "s3cret"):
            self.run_script([str(python), str(LIBRARIES / "redis_py.py")], place, password)

    def test_redis_cli(self) -> None:
        with apps.sidecar("libraries", "s3cret") as door:
            def cli(*words: str, more: str = "") -> str:
                command = ["redis-cli", "-u", door.url.replace("//app:", "//default:"), "--no-auth-warning", *words]
                return subprocess.run(command, input=more, text=True, capture_output=True, check=True, timeout=60).stdout

            self.assertEqual(cli("set", "k", "v", "ex", "100"), "OK\n")
            self.assertEqual(cli("-3", "get", "k"), "v\n")
            self.assertEqual(cli("hset", "h", "a", "1", "b", "2"), "2\n")
            self.assertEqual(cli("hgetall", "h"), "a\n1\nb\n2\n")
            self.assertEqual(sorted(cli("--scan", "--pattern", "*").split()), ["h", "k"])
            self.assertEqual(cli(more="multi\nget k\nttl h\nexec\n").split(), ["OK", "QUEUED", "QUEUED", "v", "-1"])
            self.assertIn("redis_version:7.", cli("info", "server"))
            self.assertIn("unknown command", cli("flushall"))

    def test_redis_benchmark(self) -> None:
        with apps.sidecar("libraries") as door:
            host, port = door.url.removeprefix("redis://").rsplit(":", 1)
            for pipeline in ("1", "16"):
                command = ["redis-benchmark", "-h", host, "-p", port, "-n", "4000", "-c", "20", "-P", pipeline]
                # HSET fills one hash with a thousand fields: of 16 bytes, or it would be larger than a session may be.
                command += ["-r", "1000", "-d", "16", "-q", "-t", "ping,set,get,hset"]
                done = subprocess.run(command, text=True, capture_output=True, check=False, timeout=120)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                for name in ("SET", "GET", "HSET"):
                    self.assertRegex(done.stdout, rf"{name}: [\d.]+ requests per second")


if __name__ == "__main__":
    unittest.main()
