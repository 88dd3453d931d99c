"""Writes the pickled and signed payloads of this directory: `python3 make.py`, with Python 3.11."""

import base64
import collections
import datetime
import json
import pickle
import zlib


class User:
    def __init__(self):
        self.id = "u-1001"
        self.tags = {"a", "b"}


def write(name, data):
    with open(name + ".bin", "wb") as file:
        file.write(data)


shared = ["tea", "café ☕"]
session = {
    "none": None,
    "yes": True,
    "no": False,
    "small": 7,
    "large": 2**40,
    "larger": 2**70,
    "negative": -5,
    "real": 1.5,
    "bytes": b"raw",
    "when": datetime.datetime(2026, 1, 2, 3, 4, 5),
    "tuple": (1, 2, 3, 4),
    "set": {1, 2},
    "cart": shared,
    "again": {"cart": shared, "none": None},
    "_auth_user_id": "u-1001",
    "created": 1700000000.25,
    "ip": "192.0.2.7",
}
session["self"] = session
for protocol in range(6):
    write(f"python-pickle-{protocol}", pickle.dumps(session, protocol))
write("python-ordered", pickle.dumps(collections.OrderedDict(user_id=1001), 4))
write("python-defaultdict", pickle.dumps(collections.defaultdict(list, user_id=1001), 2))
for protocol in (0, 2, 5):
    write(f"python-object-{protocol}", pickle.dumps({"user": User()}, protocol))


def signed(value, compress):
    data = json.dumps(value, separators=(",", ":")).encode("latin-1")
    packed = zlib.compress(data)
    text = base64.urlsafe_b64encode(packed if compress else data).rstrip(b"=")
    return (b"." if compress else b"") + text + b":1tYxyz:U8kGm0oS0mQ3l6bUc2kF1oO3b0"


write("django-signed", signed({"_auth_user_id": "u-1001", "cart": ["tea"]}, False))
write("django-signed-zlib", signed({"_auth_user_id": "u-1001", "cart": ["tea"] * 40}, True))
