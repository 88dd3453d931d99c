"""Ends all sessions of a user of the apps: `python3 -m tools.clients.revoke API-URL APP USER`."""

import sys
import urllib.request

DJANGO = {"alice": "1", "bob": "2", "carol": "3"}
OTHERS = {"alice": "u-1001", "bob": "u-1002", "carol": "u-1003"}


def user_id(app: str, name: str) -> str:
    """What the app's sessions call the user."""
    return (DJANGO if app.startswith("django") else OTHERS)[name]


def main() -> None:
    api, app, name = sys.argv[1:4]
    url = f"{api}/v1/users/{user_id(app, name)}/sessions"
    with urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=10) as answer:
        print(answer.read().decode())


if __name__ == "__main__":
    main()
