"""Writes `alerts/prometheusrule.yaml`: the same rules as an object of the Prometheus operator.

    python3 -m tools.rules.operator            writes it
    python3 -m tools.rules.operator --check    fails if it is not current
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.rules import OPERATOR, RULES

HEAD = """\
# Generated from sessgate.rules.yml: python3 -m tools.rules.operator
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: sessgate
  labels:
    app.kubernetes.io/name: sessgate
    # What the ruleSelector of your Prometheus object asks for, often the name of a Helm release:
    # release: kube-prometheus-stack
spec:
"""


def rendered(rules: Path = RULES) -> str:
    """The object. The rules are taken over line by line, so that comments and layout stay."""
    lines = rules.read_text().splitlines()
    groups = lines[lines.index("groups:"):]
    return HEAD + "".join(f"  {line}\n" if line else "\n" for line in groups)


def main() -> int:
    """Writes or checks; the exit code."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--check", action="store_true", help="write nothing; fail if the file is not current")
    if not arguments.parse_args().check:
        OPERATOR.write_text(rendered())
        return 0
    if OPERATOR.is_file() and OPERATOR.read_text() == rendered():
        return 0
    print(f"{OPERATOR} is not current: run python3 -m tools.rules.operator", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
