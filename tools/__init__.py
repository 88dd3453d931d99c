"""Tools that check, play and show Sessgate's observability. Each is run with `python3 -m tools.<module>`."""
