"""Outcomes of scenarios, kept under target/replay so that an interrupted run goes on where it stopped.

They are filed under a hash of the rules and of this package: a change of either starts anew.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tools.replay.engine import RULES, Fired
from tools.replay.score import Episode, Hit, episodes, hits
from tools.replay.shapes import Label, Played

TARGET = Path(__file__).parents[2] / "target" / "replay"


@dataclass(frozen=True)
class Outcome:
    """What the rules made of one scenario."""

    shape: str
    seed: int
    minutes: int
    episodes: list[Episode]
    hits: list[Hit]


def outcome(played: Played, fired: list[Fired]) -> Outcome:
    """Scores one scenario; `fired` may hold other jobs' alerts too."""
    own = [one for one in fired if one.job == played.recorder.job]
    return Outcome(played.shape, played.seed, played.minutes, episodes([played], own), hits([played], own))


def folder(rules: Path = RULES) -> Path:
    """Where outcomes of these rules and this harness are kept."""
    digest = hashlib.sha256(rules.read_bytes())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        if source.name not in ("report.py", "__main__.py"):
            digest.update(source.read_bytes())
    return TARGET / digest.hexdigest()[:16]


def save(place: Path, name: str, done: Outcome) -> None:
    """Keeps an outcome; whole or not at all."""
    place.mkdir(parents=True, exist_ok=True)
    part = place / f"{name}.part"
    part.write_text(json.dumps(asdict(done), default=sorted))
    part.rename(place / f"{name}.json")


def load(place: Path, name: str) -> Outcome | None:
    """An outcome kept earlier."""
    path = place / f"{name}.json"
    if not path.is_file():
        return None
    raw = json.loads(path.read_text())
    found_hits = []
    for one in raw["hits"]:
        label = one.pop("label")
        found_hits.append(Hit(label=Label(**{**label, "expected": frozenset(label["expected"])}), **one))
    return Outcome(raw["shape"], raw["seed"], raw["minutes"], [Episode(**one) for one in raw["episodes"]], found_hits)
