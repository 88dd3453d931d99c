"""Flask-Session: `flask_app.py msgpack|json`, the format of its values."""

import os
import sys

import redis
from flask import Flask, session
from flask_session import Session
from werkzeug.serving import make_server

app = Flask(__name__)
app.config.update(
    SESSION_TYPE="redis",
    SESSION_REDIS=redis.Redis.from_url(os.environ["REDIS_URL"]),
    SESSION_SERIALIZATION_FORMAT=sys.argv[1],
)
Session(app)


@app.get("/login/<user>")
def login(user: str) -> str:
    session["_user_id"] = user
    return me()


@app.get("/me")
def me() -> str:
    session["visits"] = session.get("visits", 0) + 1
    return f"{session.get('_user_id', '-')} {session['visits']}"


@app.get("/logout")
def logout() -> str:
    session.clear()
    return "bye"


server = make_server("127.0.0.1", 0, app, threaded=True)
print(f"listening on {server.port}", flush=True)
server.serve_forever()
