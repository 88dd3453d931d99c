"""The Grafana dashboards: described in Python, written as JSON, and checked.

`overview`, `capacity` and `internals` say what is on each dashboard; `python3 -m tools.dashboards.build` writes
`dashboards/`. `lint`, `roundtrip` and `data` check the result; `pictures` draws it.
"""
