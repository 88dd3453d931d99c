"""Who fills the tiers, and what the limits do about it: for planning, and for finding an abuser."""

from __future__ import annotations

from tools.dashboards.bounds import (
    CREATION_ANOMALOUS,
    CREATION_FLOOD,
    DISPLACED,
    HOARDING_SHARE,
    STORAGE_FULL_SOON,
    THRASH,
)
from tools.dashboards.layout import Column, Dashboard, Row
from tools.dashboards.overview import FULL, OUTCOMES
from tools.dashboards.panels import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    Gauge,
    Heatmap,
    Lines,
    Query,
    Stat,
    Steps,
    colored,
    limit_line,
    override,
)
from tools.dashboards.promql import RATE, finite, quantile, rate, ratio, recorded, scoped, series, tiered, total
from tools.dashboards.shared import (
    BYTES_FULL,
    BYTES_LIMIT,
    BYTES_TIME_TO_CAP,
    MEMORY_LIMIT,
    MEMORY_SESSIONS,
    STORED_BYTES,
    STORED_FULL,
    STORED_SESSIONS,
)

BY_INSTANCE = "{{instance}}"
HEAVIEST = f"max({series('sessgate_user_sessions_max')})"
USERS = scoped("sessgate_users")
REFUSED = series("sessgate_session_creations_total", 'outcome="creation_rate"')

IN_FOUR_HOURS = f"{STORED_BYTES} + {4 * 3600} * sum(deriv({series('sessgate_storage_bytes')}[1h]))"

STORAGE = Row("Storage: how much room is left?", [
    Gauge(
        "Bytes", "How full the fullest sidecar's storage is, in bytes. Above 80 % raise `limits.stored_bytes` in time; from 90 % on "
        "sessions are ended to make room.", [Query(BYTES_FULL, "bytes")], "percentunit", 4, 8, FULL, low=0, high=1, decimals=0,
        missing="no limit", runbook="SessgateNearCap",
    ),
    Gauge(
        "Sessions", "The same in sessions; `limits.stored_sessions` may be off.", [Query(STORED_FULL, "sessions")], "percentunit", 4, 8,
        FULL, low=0, high=1, decimals=0, missing="no limit", runbook="SessgateNearCap",
    ),
    Lines(
        "Bytes stored, and four hours on", "Size of the storage tier, its limit, and where it would be four hours later if the last "
        "hour went on (drawn up to a fifth above the limit). If that crosses the limit: see who creates sessions, then limit them or "
        "raise `limits.stored_bytes`.",
        [Query(STORED_BYTES, "stored"), Query(finite(BYTES_LIMIT), "limit"),
         Query(f"clamp_max({IN_FOUR_HOURS}, scalar(1.2 * {BYTES_LIMIT}))", "in 4 h")],
        "bytes", 8, runbook="SessgateStorageFullSoon", low=0,
        overrides=[*colored(stored=BLUE), limit_line("limit"), override(
            "in 4 h", color={"mode": "fixed", "fixedColor": PURPLE}, custom_lineStyle={"fill": "dash", "dash": [2, 6]},
            custom_fillOpacity=0)],
    ),
    Column([
        Stat(
            "Time to the byte cap", "When `limits.stored_bytes` is reached if the growth of the last hour goes on.",
            [Query(BYTES_TIME_TO_CAP, "to the cap")], "dtdurations", 4, 4, runbook="SessgateStorageFullSoon", missing="over a month",
            steps=Steps(RED, [(STORAGE_FULL_SOON.value, ORANGE), (4 * STORAGE_FULL_SOON.value, GREEN)]),
        ),
        Stat(
            "Bytes of a session", "The average size of a stored session, with its share of indexes. If it grows, the app keeps more in "
            "each; `limits.session_bytes` bounds that.", [Query(ratio(STORED_BYTES, STORED_SESSIONS), "average")], "bytes", 4, 4,
            background=False, steps=Steps(BLUE),
        ),
    ]),
    Column([
        Stat(
            "Displaced", "Sessions a second that were ended to make room. Anything but 0 means that people are logged out.",
            [Query(rate("sessgate_session_evictions_total", "", 'tier="storage", reason="storage_cap"'), "ended")], "ops", 4, 4,
            steps=Steps(GREEN, [(DISPLACED.value, RED)]), runbook="SessgateSessionsDisplaced", decimals=2,
        ),
        Stat(
            "Refused for want of room", "Creations a second that were refused with storage_full: people cannot log in.",
            [Query(rate("sessgate_session_creations_total", "", 'outcome="storage_full"'), "refused")], "ops", 4, 4,
            steps=Steps(GREEN, [(1e-6, RED)]), runbook="SessgateCapReached", decimals=2,
        ),
    ]),
])

MEMORY = Row("Memory: is it large enough?", [
    Lines(
        "Sessions in memory", "Sessions that memory holds, and `limits.memory_sessions`. At the limit, whoever was not used for longest "
        "leaves memory and stays stored; `limits.memory_bytes` may bind before that.",
        [Query(MEMORY_SESSIONS, "in memory"), Query(finite(MEMORY_LIMIT), "limit"),
         Query(tiered("sessgate_sessions_stale", 'tier="memory"'), "of them stale")],
        width=8, overrides=[*colored(**{"in memory": GREEN, "of them stale": ORANGE}), limit_line("limit")], low=0,
    ),
    Lines(
        "Idle time of those who leave", "How long sessions had not been used when they left memory: half of them less than the line. "
        "Under a minute at a high rate, memory is too small for the sessions in use, which come back at once: raise "
        "`limits.memory_sessions` or `limits.memory_bytes`.",
        [Query(quantile(0.5, "sessgate_evicted_idle_seconds", "", 'tier="memory"'), "half, memory"),
         Query(quantile(0.5, "sessgate_evicted_idle_seconds", "", 'tier="storage"'), "half, storage")],
        "s", 8, threshold=True, steps=Steps(RED, [(THRASH.value, GREEN)]), logarithm=10, runbook="SessgateEvictionThrash",
        overrides=colored(**{"half, memory": GREEN, "half, storage": BLUE}),
    ),
    Heatmap(
        "Idle time of those who leave memory", "The same in full: how many sessions a second left memory after how long a rest. A "
        "bright band at the bottom is a memory that is too small; at the top, one that is large enough.",
        [Query(rate("sessgate_evicted_idle_seconds_bucket", "le", 'tier="memory"'), "{{le}}", heatmap=True)], "s", 8,
        runbook="SessgateEvictionThrash",
    ),
])

USERS_ROW = Row("Users: does somebody hoard?", [
    Lines(
        "Users", "Users with at least one session, and those who have as many as they may. Many at the limit: it is too low, or an app "
        "does not end its sessions.",
        [Query(USERS, "with a session"), Query(scoped("sessgate_users_at_limit"), "at their limit")], width=6,
        overrides=colored(**{"with a session": BLUE, "at their limit": ORANGE}), runbook="SessgateUserHoarding", low=0,
    ),
    Lines(
        "The heaviest user", "Sessions of the user who has the most, and `limits.per_user.sessions`. Above that limit: a user with an "
        "override, or a limit that was lowered, whose surplus goes gently.",
        [Query(HEAVIEST, "heaviest user"), Query(finite(f"max({series('sessgate_user_sessions_limit')})"), "limit of a user")], width=6,
        overrides=[*colored(**{"heaviest user": PURPLE}), limit_line("limit of a user")], runbook="SessgateUserHoarding", low=0,
    ),
    Lines(
        "Heaviest users over time", "Sessions of the users who have the most, each under a keyed hash unless `top_users.label` says "
        "otherwise. A line that leaves the others behind is a leaking app or a stolen password.",
        [Query(f"max by (user) ({series('sessgate_top_user_sessions')})", "{{user}}")], width=8, low=0, ranked=True,
        runbook="SessgateUserHoarding",
    ),
    Column([
        Stat(
            "Share of the heaviest user", "Of all stored sessions. More than a tenth with more than 50 sessions is reported.",
            [Query(ratio(HEAVIEST, STORED_SESSIONS), "share")], "percentunit", 4, 4, steps=Steps(GREEN, [(HOARDING_SHARE.value, ORANGE)]),
            decimals=1, runbook="SessgateUserHoarding",
        ),
        Stat(
            "Sessions of a user", "The average over users with a session. Rising for weeks: an app does not end its sessions.",
            [Query(ratio(STORED_SESSIONS, USERS), "average")], "short", 4, 4, background=False, steps=Steps(BLUE), decimals=1,
        ),
    ]),
])

CREATIONS = Row("Creations: a flood?", [
    Lines(
        "Refused creations", "Creations refused a second, by the limit that did it. creation_rate: single addresses create too fast; "
        "user_limit: users at their limit, under `on_excess: reject`; storage_full: no room, which is harm.",
        [Query(rate("sessgate_session_creations_total", "outcome", 'outcome!~"created|store_error"'), "{{outcome}}")], "ops", 6, stack=True,
        overrides=colored(**{name: color for name, color in OUTCOMES.items() if name not in ("created", "store_error")}),
        runbook="SessgateCreationFlood",
    ),
    Lines(
        "Refused for their address", "The share of all attempts that `limits.creation_per_ip` refused. Above a fifth: a flood from few "
        "addresses, which the limit holds, or a proxy that hides many users: then exempt it further out or raise the limit.",
        [Query(ratio(total(f"rate({REFUSED}[{RATE}])"), rate("sessgate_session_creations_total")), "refused")], "percentunit", 6,
        threshold=True, steps=Steps(GREEN, [(CREATION_FLOOD.value, ORANGE)]), low=0, runbook="SessgateCreationFlood",
        overrides=colored(refused=BLUE),
    ),
    Lines(
        "Client addresses", "Addresses that the rate limit remembers, and those that may not create a session right now. Many "
        "remembered and few limited, while creations rise: many addresses just under the limit.",
        [Query(total(series("sessgate_rate_limiter_keys")), "remembered"),
         Query(total(series("sessgate_rate_limited_ips")), "limited now")],
        width=6, overrides=colored(**{"remembered": BLUE, "limited now": ORANGE}), runbook="SessgateCreationFlood", low=0,
    ),
    Lines(
        "How unusual creations are", "By how many times the usual spread creations exceed what is usual at this time. Above 5 for some "
        "minutes is reported. Needs the recording rules and a day of them.",
        [Query(recorded("job:sessgate_session_creations:zscore"), "{{namespace}} {{job}}")], "none", 6, threshold=True,
        steps=Steps(GREEN, [(CREATION_ANOMALOUS.value, ORANGE)]), runbook="SessgateCreationAnomalous", decimals=1,
    ),
])

STALE = Row("Stale sessions and leases", [
    Lines(
        "Stale share", "The share of stored sessions not used for `lifetimes.stale_after`. Rising for days: an app does not end its "
        "sessions; consider `on_stale: close`.",
        [Query(ratio(tiered("sessgate_sessions_stale", 'tier="storage"'), STORED_SESSIONS), "stale")], "percentunit", 8, low=0, high=1,
        overrides=colored(stale=ORANGE), runbook="SessgateStaleBuildup",
    ),
    Lines(
        "Longest unused session", "Time since the last use of the stale session that was not used for longest, of each sidecar. Under "
        "`on_stale: close` it should stay near `stale_after`; if it rises without end, sweeps leave it behind.",
        [Query(series("sessgate_stale_oldest_age_seconds"), BY_INSTANCE)], "s", 8, runbook="SessgateStaleBuildup", low=0,
    ),
    Lines(
        "Leases", "Leases held now, and requests a second: refused at `limits.leases.per_user`; expired because nobody gave them back. "
        "Many expired: an app crashes or forgets.",
        [Query(total(series("sessgate_leases_held")), "held"),
         Query(rate("sessgate_lease_requests_total", "result"), "{{result}} a second")],
        width=8, low=0, overrides=colored(**{
            "held": BLUE, "granted a second": GREEN, "refused a second": ORANGE, "expired a second": RED}),
    ),
])

CAPACITY = Dashboard(
    "sessgate-capacity", "Sessgate / Capacity and abuse",
    "For planning, and for finding who fills the tiers: storage, memory, users, creations, stale sessions and leases.",
    [STORAGE, MEMORY, USERS_ROW, CREATIONS, STALE],
)
