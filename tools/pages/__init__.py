"""End to end: a scenario against the real sidecar, real Prometheus, real Alertmanager, and what the pager gets."""
