"""Runs an unpacked image as a container runtime would, and checks what the image promises.

Called by scripts/container-test as root in fresh namespaces: run.py IMAGE.json ROOT VOLUME VERSION
"""

import errno
import fcntl
import json
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

# Whatever proxy this machine uses, loopback is reached directly.
HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))

MIB = 1024 * 1024
# A distroless base with glibc has 25 MiB, and the binary, even built without optimisation, stays below 64 MiB.
# What is over that is no longer libraries, certificates and one program.
SIZE_LIMIT = 96 * MIB
# Container runtimes kill what has not stopped 10 s after the stop signal.
STOP_LIMIT_S = 10
START_LIMIT_S = 30

SHELLS = {"sh", "ash", "bash", "busybox", "csh", "dash", "fish", "ksh", "mksh", "rbash", "tcsh", "toybox", "zsh"}


def check(holds, claim):
    """Reports one promise; the first broken one ends the test."""
    print(f"{'ok' if holds else 'FAILED':6} {claim}", flush=True)
    if not holds:
        sys.exit(1)


class Image:
    """The image's unpacked root and its configuration."""

    def __init__(self, described, root):
        self.config = described["config"]
        self.root = root
        self.user, _, self.group = self.config["User"].partition(":")
        self.entry = self.config["Entrypoint"]

    def command(self, arguments):
        """The host command that runs the image's program as its user, unable to gain privileges, as process 1."""
        return [
            *("unshare", "--pid", "--fork", "--kill-child", f"--mount-proc={self.root}/proc"),
            *("setpriv", "--no-new-privs"),
            *("chroot", "--groups=", f"--userspec={self.user}:{self.group}", str(self.root)),
            *self.entry,
            *arguments,
        ]

    def environment(self):
        return dict(entry.split("=", 1) for entry in self.config.get("Env") or [])

    def start(self, arguments, **options):
        # `unshare` is found by the host's PATH, the program by its own absolute path.
        return subprocess.Popen(
            self.command(arguments), env={**self.environment(), "PATH": os.environ["PATH"]}, **options
        )

    def run(self, *arguments):
        """Runs a subcommand to its end and returns the exit code and all it printed."""
        process = self.start(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output, _ = process.communicate(timeout=START_LIMIT_S)
        return process.returncode, output.decode()

    def health(self):
        """The exit code of the image's own health check."""
        kind, program, *arguments = self.config["Healthcheck"]["Test"]
        assert kind == "CMD" and [program] == self.entry, "health check in exec form, by the entry point"
        return self.run(*arguments)[0]


class Serving:
    """The image's default command, running."""

    def __init__(self, image):
        self.image = image
        self.process = image.start(image.config["Cmd"], stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_LIMIT_S
        while image.health() != 0:
            if self.process.poll() is not None:
                check(False, f"starts (it ended with exit code {self.process.returncode})")
            check_time(deadline, f"is healthy within {START_LIMIT_S} s of its start")

    def status(self):
        """/proc/PID/status of the program itself, the only child of `unshare`."""
        lines = Path(f"/proc/{self.pid()}/status").read_text().splitlines()
        return {name: value.split() for name, _, value in (line.partition(":") for line in lines)}

    def pid(self):
        wrapper = self.process.pid
        return int(Path(f"/proc/{wrapper}/task/{wrapper}/children").read_text())

    def stop(self):
        """Sends the image's stop signal; returns the exit code and the seconds it took."""
        started = time.monotonic()
        os.kill(self.pid(), signal.Signals[self.image.config["StopSignal"]])
        try:
            code = self.process.wait(timeout=STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            code = None
        return code, time.monotonic() - started


def check_time(deadline, claim):
    if time.monotonic() > deadline:
        check(False, claim)


def call(method, path, token=None, body=None):
    """One call of the session API; returns the status and the parsed answer."""
    request = urllib.request.Request(f"http://127.0.0.1:8480{path}", method=method)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    if body is not None:
        request.add_header("Content-Type", "application/json")
        request.data = json.dumps(body).encode()
    try:
        with HTTP.open(request, timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


def mount(*arguments):
    subprocess.run(["mount", *map(str, arguments)], check=True)


def bring_up_loopback():
    """A new network namespace has its loopback interface down."""
    siocgifflags, siocsifflags, iff_up = 0x8913, 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(control, siocgifflags, request))[1]
        fcntl.ioctl(control, siocsifflags, struct.pack("16sh14x", b"lo", flags | iff_up))


def prepare(root, volume, state):
    """Mounts the root read-only, with the volume and the few kernel files that every runtime gives."""
    inside = root / state.relative_to("/")
    # A runtime gives a new volume the owner and mode of the directory it covers.
    owner = inside.stat()
    os.chown(volume, owner.st_uid, owner.st_gid)
    volume.chmod(stat.S_IMODE(owner.st_mode))

    mount("--make-rprivate", "/")
    mount("--bind", root, root)
    mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", root / "dev")
    for device in ("null", "zero", "random", "urandom"):
        (root / "dev" / device).touch()
        mount("--bind", f"/dev/{device}", root / "dev" / device)
    mount("-o", "remount,ro", root / "dev")
    mount("--bind", volume, inside)
    mount("-o", "remount,bind,rw,nosuid,nodev", inside)
    mount("-o", "remount,bind,ro,nosuid,nodev", root)


def check_files(image):
    """What the image holds, before anything is mounted over it."""
    total, programs, privileged, owned = 0, [], [], []
    for folder, folders, files in os.walk(image.root):
        for name in folders + files:
            path = Path(folder, name)
            found = path.lstat()
            total += found.st_size if stat.S_ISREG(found.st_mode) else 0
            inside = "/" + str(path.relative_to(image.root))
            if found.st_uid == int(image.user) or found.st_gid == int(image.group):
                owned.append((inside, oct(stat.S_IMODE(found.st_mode))))
            if name in SHELLS and not path.is_dir():
                check(False, f"no shell (found {inside})")
            if stat.S_ISREG(found.st_mode):
                if found.st_mode & 0o111 and ".so" not in name:
                    programs.append(inside)
                if found.st_mode & (stat.S_ISUID | stat.S_ISGID):
                    privileged.append(inside)
    check(programs == image.entry, f"one program and no shell: {' '.join(programs)}")
    check(not privileged, "no file gives its runner another user's rights")
    store = next(iter(image.config["Volumes"]))
    check(owned == [(store, "0o700")], f"its user owns the store, which is closed to others, and nothing else: {owned}")
    binary = (image.root / image.entry[0].lstrip("/")).stat()
    check(not binary.st_mode & 0o022, "the program cannot be changed by the user it runs as")
    check(total <= SIZE_LIMIT, f"{total / MIB:.1f} MiB, the program {binary.st_size / MIB:.1f} (limit {SIZE_LIMIT // MIB})")


def check_description(image, version):
    """What the image tells a runtime about itself."""
    config = image.config
    check(image.user.isdigit() and int(image.user) > 0 and image.group.isdigit(), f"runs as {config['User']}, a number")
    check(set(config["ExposedPorts"]) == {"8480/tcp", "9480/tcp"}, "exposes the ports of api and admin")
    check(config["StopSignal"] == "SIGTERM", "is stopped by SIGTERM")
    check(list(config["Volumes"]) == ["/var/lib/sessgate"], "keeps its store in a volume")
    labels = config["Labels"]
    check(labels["org.opencontainers.image.version"] == version, f"says it is version {version}")
    check(labels["org.opencontainers.image.revision"] == "container-test", "names the revision it was built from")


def check_isolation(image, serving):
    status = serving.status()
    check(status["Uid"] == [image.user] * 4 and status["Gid"] == [image.group] * 4, f"runs as user {image.user}")
    check(not status["Groups"], "is in no other group")
    check(status["CapPrm"] == status["CapEff"] == ["0" * 16] and status["NoNewPrivs"] == ["1"], "has no privilege")
    check(status["NSpid"][-1] == "1", "is process 1, as in a container")
    mounts = [line.split() for line in Path(f"/proc/{serving.pid()}/mountinfo").read_text().splitlines()]
    writable = sorted(entry[4] for entry in mounts if entry[4] != "/proc" and "rw" in entry[5].split(","))
    check(writable and all(place.startswith(("/dev/", "/var/lib/sessgate")) for place in writable),
          f"can write to nothing but devices and its volume: {' '.join(writable)}")
    try:
        (image.root / "usr/local/bin/another").touch()
        refused = None
    except OSError as error:
        refused = error.errno
    check(refused == errno.EROFS, "its root is read-only, for root too")


def main():
    described, root, volume, version = sys.argv[1:]
    image = Image(json.loads(Path(described).read_text())["Docker"], Path(root))
    os.umask(0o022)
    bring_up_loopback()
    check_description(image, version)
    check_files(image)
    prepare(image.root, Path(volume), Path(next(iter(image.config["Volumes"]))))

    code, output = image.run("check", *image.config["Cmd"][1:])
    check(code == 0, f"its configuration is valid {output if code else ''}")
    check(image.health() != 0, "is not healthy while nothing serves")

    serving = Serving(image)
    check(True, "is healthy when it serves")
    check_isolation(image, serving)
    status, created = call("POST", "/v1/sessions", body={"user": "ada", "data": {"cart": 3}})
    check(status == 201, f"creates a session {created if status != 201 else ''}")
    status, found = call("GET", "/v1/session", token=created["token"])
    check(status == 200 and found["id"] == created["id"] and found["data"] == {"cart": 3}, "finds the session")
    code, seconds = serving.stop()
    check(code == 0, f"stops cleanly: exit code {code} after {seconds:.1f} s")
    check(image.health() != 0, "is not healthy after the stop")

    serving = Serving(image)
    status, found = call("GET", "/v1/session", token=created["token"])
    check(status == 200 and found["id"] == created["id"], "finds the session after a restart on the same volume")
    code, seconds = serving.stop()
    check(code == 0, f"stops cleanly again: exit code {code} after {seconds:.1f} s")


if __name__ == "__main__":
    main()
