"""Packages from PyPI, at the versions of tools/requirements.txt, in target/venv; made when first asked for."""

from __future__ import annotations

import hashlib
import shutil
import site
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
REQUIREMENTS = REPOSITORY / "tools" / "requirements.txt"
VENV = REPOSITORY / "target" / "venv"


def activate() -> None:
    """Makes the pinned packages importable; installs them first if they are missing or pinned anew."""
    stamp = VENV / "installed"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()
    if not stamp.is_file() or stamp.read_text() != wanted:
        install()
        stamp.write_text(wanted)
    site.addsitedir(str(VENV / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"))


def install() -> None:
    """Makes target/venv anew."""
    shutil.rmtree(VENV, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    pip = [str(VENV / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", "--requirement", str(REQUIREMENTS)]
    subprocess.run(pip, check=True)


if __name__ == "__main__":
    activate()
