"""Real clients of the Redis door: apps on session libraries, and Redis's own tools."""
