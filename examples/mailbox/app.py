"""A small web mail: one mailbox connection a login, kept no longer than the login's session.

Sessgate holds the sessions: it limits them, notices which are abandoned, ends them, and calls POST /hook here for
each session that has ended, whatever ended it. This app only has to close the connection. Python's standard library
is all it needs.

    POST /login {"user": "ada"}    201 {"token", "id"}       logs in and opens a mailbox connection
    GET  /inbox                    200 {"user", "messages"}  with "Authorization: Bearer <token>"
    POST /logout                   204                       the same header
    GET  /connections              200 {"open", "users", "closed"}
    POST /hook                     204                       for Sessgate only: signed as Standard Webhooks asks
"""

import argparse
import base64
import binascii
import collections
import hashlib
import hmac
import http.client
import http.server
import json
import queue
import socket
import sys
import threading
import time

MAX_BODY = 16 * 1024
MAX_REMEMBERED = 10_000  # hook calls and ended sessions: those of the last minutes, at any load this app can serve
HOOK_TOLERANCE = 300  # seconds that a hook call's time may be off, as Standard Webhooks recommends
CLIENT_TIMEOUT = 60  # seconds that a client may stay silent; longer than Sessgate keeps an idle connection in use


class MailboxConnection:
    """Stands for an IMAP connection (imaplib.IMAP4_SSL): scarce, and leaked if nobody closes it."""

    def __init__(self, user, faulty):
        self.user = user
        self.faulty = faulty

    def fetch(self):
        return [{"from": "postmaster@example.org", "subject": f"Welcome, {self.user}"}]

    def disconnect(self):
        if self.faulty:
            raise ConnectionResetError("the mail server hung up")


class PoolExhausted(Exception):
    """The mail server allows no more connections."""


class Recent:
    """The last so many things seen: a set that forgets its oldest."""

    def __init__(self, size):
        self.size = size
        self.seen = collections.OrderedDict()

    def __contains__(self, thing):
        return thing in self.seen

    def add(self, thing):
        self.seen[thing] = None
        if len(self.seen) > self.size:
            self.seen.popitem(last=False)


class ConnectionPool:
    """Mailbox connections by the id of their session. The lock is never held while a mail server is talked to."""

    def __init__(self, limit, faulty_user):
        self.limit = limit
        self.faulty_user = faulty_user
        self.lock = threading.Lock()
        self.open_connections = {}
        self.ended = Recent(MAX_REMEMBERED)
        self.closed = collections.Counter()

    def open(self, session, user):
        with self.lock:
            if session in self.open_connections:
                return self.open_connections[session]
            # The hook may be faster than the answer to the login: a session that has ended gets no connection.
            if session in self.ended:
                raise KeyError(session)
            if len(self.open_connections) >= self.limit:
                raise PoolExhausted
            connection = MailboxConnection(user, faulty=user == self.faulty_user)
            self.open_connections[session] = connection
            return connection

    def close(self, session, reason):
        """Closes the connection of a session that has ended; does nothing if that was done before."""
        with self.lock:
            self.ended.add(session)
            connection = self.open_connections.pop(session, None)
            if connection is None:
                return
            self.closed[reason] += 1
        print(f"closed {session} of {connection.user}: {reason}", flush=True)
        try:
            connection.disconnect()
        except OSError as error:
            # It is out of the table, and that is all we can do: the server drops it by its own timeout.
            print(f"disconnect failed: {error}", file=sys.stderr, flush=True)

    def figures(self):
        with self.lock:
            users = collections.Counter(connection.user for connection in self.open_connections.values())
            return {"open": len(self.open_connections), "users": users, "closed": dict(self.closed)}


class Sessgate:
    """Sessgate's session API, at http://host:port or unix:/path."""

    def __init__(self, address):
        self.address = address

    def connect(self):
        kind, _, place = self.address.partition(":")
        if kind != "unix":
            return http.client.HTTPConnection(place.removeprefix("//"), timeout=5)
        connection = http.client.HTTPConnection("localhost", timeout=5)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(5)
        connection.sock.connect(place)
        return connection

    def call(self, method, path, token=None, body=None):
        """Makes one call; returns the status and the answer."""
        connection = self.connect()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            response = connection.getresponse()
            answer = response.read()
            return response.status, json.loads(answer) if answer else None
        finally:
            connection.close()


class Hook:
    """Takes Sessgate's calls: checks them, answers at once, and closes connections behind the caller's back."""

    def __init__(self, secret, pool):
        # Standard Webhooks writes secrets as `whsec_` and base64.
        encoded = secret.removeprefix("whsec_")
        self.key = base64.b64decode(encoded) if encoded != secret else secret.encode()
        self.lock = threading.Lock()
        self.taken = Recent(MAX_REMEMBERED)
        self.waiting = queue.Queue(maxsize=MAX_REMEMBERED)
        threading.Thread(target=self.work, args=(pool,), daemon=True).start()

    def take(self, headers, body):
        """Takes a call; returns the status to answer. Anything but 2xx, and Sessgate calls again later."""
        if not self.is_genuine(headers, body):
            return 401
        event = json.loads(body)
        with self.lock:
            # At least once means: sometimes twice.
            if headers["webhook-id"] not in self.taken:
                try:
                    self.waiting.put_nowait((event["id"], event["reason"]))
                except queue.Full:
                    return 503
                self.taken.add(headers["webhook-id"])
        return 204

    def is_genuine(self, headers, body):
        message, sent, signatures = (headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
        # An old call may be a recorded one.
        if not (sent.isdecimal() and abs(time.time() - int(sent)) <= HOOK_TOLERANCE):
            return False
        digest = hmac.digest(self.key, f"{message}.{sent}.".encode() + body, hashlib.sha256)
        expected = b"v1," + base64.b64encode(digest)
        # Several signatures: the secret is being changed.
        return any(hmac.compare_digest(expected, given.encode()) for given in signatures.split())

    def work(self, pool):
        # What waits here dies with the process, and so do the connections.
        while True:
            session, reason = self.waiting.get()
            try:
                pool.close(session, reason)
            except Exception as error:  # one connection's trouble is not the next one's
                print(f"closing failed: {error}", file=sys.stderr, flush=True)


class App(http.server.BaseHTTPRequestHandler):
    """One request. `pool`, `sessgate` and `hook` are set before the server starts."""

    protocol_version = "HTTP/1.1"
    timeout = CLIENT_TIMEOUT
    pool = sessgate = hook = None

    def do_GET(self):
        self.route({"/inbox": self.inbox, "/connections": lambda: (200, self.pool.figures())})

    def do_POST(self):
        self.route({"/login": self.login, "/logout": self.logout, "/hook": self.hooked})

    def login(self):
        user = json.loads(self.body)["user"]
        status, session = self.sessgate.call("POST", "/v1/sessions", body={"user": user, "ip": self.client_address[0]})
        if status != 201:
            return status, session
        try:
            self.pool.open(session["id"], user)
        except (PoolExhausted, KeyError):
            self.sessgate.call("DELETE", "/v1/session", session["token"])
            return 503, {"error": "no mailbox connection is free"}
        return 201, {"token": session["token"], "id": session["id"]}

    def inbox(self):
        # The look-up is the check, and counts as use: who reads mail is not stale.
        status, session = self.sessgate.call("GET", "/v1/session", self.token())
        if status != 200:
            return (503 if status >= 500 else 401), {"error": "not logged in"}
        try:
            # Opens it anew if this app was restarted since the login.
            connection = self.pool.open(session["id"], session["user"])
        except (PoolExhausted, KeyError):
            return 503, {"error": "no mailbox connection is free"}
        return 200, {"user": session["user"], "messages": connection.fetch()}

    def logout(self):
        status, session = self.sessgate.call("GET", "/v1/session?touch=false", self.token())
        if status == 200:
            self.sessgate.call("DELETE", "/v1/session", self.token())
            # The hook will say so too; why wait?
            self.pool.close(session["id"], "revoked")
        return 204, None

    def hooked(self):
        return self.hook.take(self.headers, self.body), None

    def token(self):
        return self.headers.get("Authorization", "").removeprefix("Bearer ").strip() or None

    def route(self, routes):
        try:
            length = int(self.headers.get("Content-Length", 0))
            if not 0 <= length <= MAX_BODY:
                self.close_connection = True
                return self.answer(413, {"error": "too large"})
            self.body = self.rfile.read(length)
            handler = routes.get(self.path)
            self.answer(*(handler() if handler else (404, {"error": "no such page"})))
        except (ValueError, KeyError, TypeError, binascii.Error):
            self.answer(400, {"error": "bad request"})
        except (OSError, http.client.HTTPException) as error:
            self.answer(503, {"error": f"sessgate cannot be reached: {error}"})

    def answer(self, status, body):
        encoded = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    parser = argparse.ArgumentParser(description="a small web mail behind Sessgate")
    parser.add_argument("--port", type=int, default=8090, help="where to listen on 127.0.0.1; 0: any free port")
    parser.add_argument("--sessgate", default="http://127.0.0.1:8480", help="http://host:port or unix:/path")
    parser.add_argument("--secret-file", default="hook.secret", help="the file named in Sessgate's configuration")
    parser.add_argument("--connections", type=int, default=1000, help="what the mail server allows")
    parser.add_argument("--faulty-user", help="a user whose mail server fails at every disconnect")
    options = parser.parse_args()
    with open(options.secret_file, encoding="utf-8") as file:
        secret = file.read().strip()
    App.pool = ConnectionPool(options.connections, options.faulty_user)
    App.sessgate = Sessgate(options.sessgate)
    App.hook = Hook(secret, App.pool)
    server = Server(("127.0.0.1", options.port), App)
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
