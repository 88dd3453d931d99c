"""Traffic shapes and faults, played against the real sidecar: by tests, by demonstrations, by hand.

python3 -m tools.scenarios --list
asyncio.run(play(SCENARIOS["flood"], Frame(seed=1, timing=Timing.of(60)), place=sidecar))
"""

from tools.scenarios.catalogue import SCENARIOS, Scenario
from tools.scenarios.place import FoundPlace, Place
from tools.scenarios.plan import Frame, Timing
from tools.scenarios.player import Report, play

__all__ = ["SCENARIOS", "FoundPlace", "Frame", "Place", "Report", "Scenario", "Timing", "play"]
