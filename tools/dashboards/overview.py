"""The dashboard to open first: is it up, is a cap near, who grows, what is evicted, and do sweep, look-ups and hooks work?"""

from __future__ import annotations

from tools.dashboards.bounds import (
    BURN_FAST,
    BURN_SLOW,
    CAP_IMMINENT,
    CAP_REACHED,
    HOARDING,
    HOOK_FAILURES,
    NEAR_CAP,
    STORAGE_FULL_SOON,
    SWEEP_STUCK,
)
from tools.dashboards.layout import Column, Dashboard, Row
from tools.dashboards.panels import (
    BLUE,
    GREEN,
    NO_LIMIT_IN_WORDS,
    ORANGE,
    RED,
    Bars,
    Lines,
    Query,
    Stat,
    Steps,
    Table,
    colored,
    limit_line,
    override,
    words,
)
from tools.dashboards.promql import NO_LIMIT, finite, quantile, rate, recorded, series, tiered, total
from tools.dashboards.shared import (
    BAD_SHARE,
    BYTES_FULL,
    BYTES_LIMIT,
    BYTES_TIME_TO_CAP,
    CREATED,
    DROPPED_SHARE,
    EXPECTED,
    MEMORY_FULL,
    MEMORY_LIMIT,
    MEMORY_SESSIONS,
    SESSIONS_TIME_TO_CAP,
    STORED_BYTES,
    STORED_FULL,
    STORED_LIMIT,
    STORED_SESSIONS,
    SWEEPS_AGO,
)

OUTCOMES = {
    "created": GREEN, "user_limit": "#f2cc0c", "creation_rate": ORANGE, "storage_full": RED, "too_large": "#b877d9",
    "store_error": "dark-red",
}
REASONS = {
    "idle": "#73bf69", "absolute": "#37872d", "stale": BLUE, "user_limit": "#f2cc0c", "storage_cap": RED, "revoked": "#b877d9",
    "admin": "#8ab8ff",
}
SEEN = f"group by (namespace, job) (last_over_time({series('sessgate_build_info')}[1d]))"
UP = f"({series('up')} and on (namespace, job) {SEEN})"
FIRING = 'alertname=~"Sessgate.+", alertstate="firing"'


def firing(severity: str) -> str:
    """How many alerts of a severity fire, 0 if none."""
    which = f'{FIRING}, severity="{severity}"'
    return f"count({recorded('ALERTS', which)}) or vector(0)"


IS_IT_UP = Row("Is it up?", [
    Stat(
        "Sidecars", "How many sidecars answer Prometheus, and how many of the jobs seen in the last day do not. One that is "
        "down: look at the process or pod and its last log lines; exit code 74 is the store, 78 the configuration.",
        [Query(f"sum({UP})", "up"), Query(f"sum({UP} == bool 0)", "down")], runbook="SessgateDown",
        steps=Steps(GREEN, [(1, RED)]), overrides=[override("up", thresholds=Steps(RED, [(1, GREEN)]).json())],
    ),
    Stat(
        "Store", "Whether the last call of every sidecar to its store was answered. Down: what memory holds is still served, "
        "all else fails. Look at the store's own health, its disk, and the sidecars' log.",
        [Query(f"min({series('sessgate_store_up')})", "store")], runbook="SessgateStoreDown",
        steps=Steps(RED, [(1, GREEN)]), mappings=words({0: ("DOWN", RED), 1: ("answers", GREEN)}),
    ),
    Stat(
        "Alerts", "Sessgate's alerts that fire now; a critical one means that users are harmed or soon will be. Which ones: the "
        "table below. Needs alerts/sessgate.rules.yml in Prometheus.",
        [Query(firing("critical"), "critical"), Query(firing("warning"), "warning")],
        steps=Steps(GREEN, [(1, RED)]), overrides=[override("warning", thresholds=Steps(GREEN, [(1, ORANGE)]).json())],
    ),
    Stat(
        "Configuration file", "Whether every sidecar has taken the file as it is now. Refused: it runs on the last good one, and "
        "would not start with this one. Run `sessgate check` on the file: it names line and column.",
        [Query(f"min({series('sessgate_config_last_reload_successful')})", "file")], runbook="SessgateConfigReloadFailed",
        steps=Steps(ORANGE, [(1, GREEN)]), mappings=words({0: ("REFUSED", ORANGE), 1: ("in force", GREEN)}),
    ),
    Stat(
        "Configurations in one job", "How many different configurations the sidecars of one job run; it should be 1, except while "
        "a new one is rolled out. More: limits depend on which sidecar a client meets. Which differs: Internals.",
        [Query(
            f'max(count by (namespace, job) (count by (namespace, job, hash) (count_values by (namespace, job) ("hash", '
            f"{series('sessgate_config_hash')}))))", "different",
        )],
        runbook="SessgateConfigInconsistent", steps=Steps(GREEN, [(2, ORANGE)]),
    ),
    Stat(
        "Last good sweep", "How many sweep intervals ago the last sweep succeeded, at the sidecar where it is longest. From 3 on "
        "sessions whose time is over stay stored. Look at failed sweeps and their duration in Internals, and at the store.",
        [Query(SWEEPS_AGO, "intervals ago")], decimals=1, runbook="SessgateSweepStuck",
        steps=Steps(GREEN, [(SWEEP_STUCK.value, ORANGE)]),
    ),
    Table(
        "Alerts that fire", "What fires now, and where. Each has an entry of its name in the runbook: what it means, what to look "
        "at, what to turn.",
        [Query(f"sum by (alertname, severity, namespace, job, instance) ({recorded('ALERTS', FIRING)})")],
        columns={"alertname": "Alert", "severity": "Severity", "namespace": "Namespace", "job": "Job", "instance": "Instance"},
        width=12, missing="none",
        overrides=[
            override("Alert", custom_width=250),
            override(
                "Severity", custom_width=90, custom_cellOptions={"type": "color-text"},
                mappings=words({"critical": ("critical", RED), "warning": ("warning", ORANGE), "info": ("info", BLUE)}),
            ),
        ],
    ),
    Lines(
        "Requests", "Requests a second, by how they ended. Refused: the request was at fault or met a limit. Failed: the sidecar "
        "or its store was; look at the store.",
        [Query(rate("sessgate_requests_total", "outcome", 'door="api"'), "{{outcome}}")], "reqps", 12, stack=True,
        overrides=colored(ok=GREEN, refused=ORANGE, failed=RED),
    ),
])

FULL = Steps(GREEN, [(NEAR_CAP.value, ORANGE), (CAP_REACHED.value, RED)])
ROOM = Row("Is a cap near?", [
    Bars(
        "How full", "How full the fullest sidecar is. Storage: above 80 % plan, above 98 % newcomers are refused; raise "
        "`limits.stored_sessions` or `limits.stored_bytes`, or limit who fills it. Memory may be full: who leaves it stays stored, "
        "but look-ups get slower. A limit that is off has no bar.",
        [Query(BYTES_FULL, "stored bytes"), Query(STORED_FULL, "stored sessions"), Query(MEMORY_FULL, "memory sessions")],
        "percentunit", 6, 8, steps=FULL, low=0, high=1, decimals=0, runbook="SessgateNearCap", names="top",
        overrides=[override("memory sessions", thresholds=Steps(GREEN, [(NEAR_CAP.value, ORANGE)]).json())],
    ),
    Column([Stat(
        "Sessions: time to the cap", "When `limits.stored_sessions` is reached if the growth of the last 15 minutes goes on. Under "
        "an hour: see who creates sessions (next row), then limit them or raise the cap.",
        [Query(SESSIONS_TIME_TO_CAP, "to the cap")], "dtdurations", 4, 4, runbook="SessgateCapImminent",
        steps=Steps(RED, [(CAP_IMMINENT.value, ORANGE), (4 * CAP_IMMINENT.value, GREEN)]), missing="over a month",
    ), Stat(
        "Bytes: time to the cap", "When `limits.stored_bytes` is reached if the growth of the last hour goes on. Under four hours: "
        "see who creates sessions (next row) and how large they are (Capacity), then limit them or raise the cap.",
        [Query(BYTES_TIME_TO_CAP, "to the cap")], "dtdurations", 4, 4, runbook="SessgateStorageFullSoon",
        steps=Steps(RED, [(STORAGE_FULL_SOON.value, ORANGE), (4 * STORAGE_FULL_SOON.value, GREEN)]), missing="over a month",
    )]),
    Lines(
        "Sessions held", "Sessions in each tier, and their limits where there are any. A session in memory is stored, too. Storage "
        "that rises towards its limit ends sessions when it gets there.",
        [Query(STORED_SESSIONS, "stored"), Query(MEMORY_SESSIONS, "in memory"), Query(finite(STORED_LIMIT), "limit stored"),
         Query(finite(MEMORY_LIMIT), "limit in memory")],
        width=7, overrides=[*colored(stored=BLUE), *colored(**{"in memory": GREEN}), limit_line("limit stored"),
                            override("limit in memory", custom_lineStyle={"fill": "dash", "dash": [2, 6]}, custom_fillOpacity=0,
                                     color={"mode": "fixed", "fixedColor": GREEN})],
    ),
    Lines(
        "Bytes stored", "Size of the storage tier, and `limits.stored_bytes`. From 90 % on it is brought back to 85 % by ending "
        "sessions: expired, anonymous and stale ones first.",
        [Query(STORED_BYTES, "stored"), Query(finite(BYTES_LIMIT), "limit")], "bytes", 7,
        overrides=[*colored(stored=BLUE), limit_line("limit")], low=0,
    ),
])

GROWTH = Row("Who is growing?", [
    Lines(
        "Attempts to create a session", "Attempts a second, by outcome. All but created and store_error are limits at work: "
        "creation_rate is one address that creates too fast, user_limit one user with too many, storage_full is harm.",
        [Query(rate("sessgate_session_creations_total", "outcome"), "{{outcome}}")], "ops", 8, stack=True,
        overrides=colored(**OUTCOMES), runbook="SessgateCannotStore",
    ),
    Lines(
        "Created, and expected", "Sessions created a second, beside the larger of the same hour yesterday and a week ago. Far above "
        "it: a campaign or an attack; look at the heaviest users and at refusals by address in Capacity. Needs the recording "
        "rules, and a day of them for the second line.",
        [Query(total(CREATED), "created"), Query(total(EXPECTED), "expected")], "ops", 8, runbook="SessgateCreationAnomalous",
        overrides=[*colored(created=GREEN), override(
            "expected", color={"mode": "fixed", "fixedColor": BLUE}, custom_lineStyle={"fill": "dash", "dash": [8, 6]})], low=0,
    ),
    Bars(
        "Heaviest users", "Sessions of the users who have the most; names are hashed unless `top_users.label` says otherwise, and in "
        "clear in `sessgate top`. One far ahead of the others: a leaking app or a stolen password; set `limits.per_user`.",
        [Query(f"topk(10, max by (user) ({series('sessgate_top_user_sessions')}))", "{{user}}")],
        width=8, steps=Steps(BLUE, [(HOARDING.value, ORANGE)]), runbook="SessgateUserHoarding", missing="nobody, or not exported", low=0,
    ),
])

EVICTIONS = Row("What is being evicted?", [
    Lines(
        "Sessions ended", "Sessions that ended a second, by reason. idle, absolute, stale and revoked are life; user_limit is one "
        "user at the limit; storage_cap means that people are logged out for want of room.",
        [Query(rate("sessgate_session_evictions_total", "reason", 'tier="storage"'), "{{reason}}")], "ops", 8, stack=True,
        overrides=colored(**REASONS), runbook="SessgateSessionsDisplaced",
    ),
    Lines(
        "Left memory", "Sessions that left memory a second; they stay stored, so nobody is logged out. Much lru: memory is too small "
        "for the sessions in use, and look-ups get slower; raise `limits.memory_sessions` or `limits.memory_bytes`.",
        [Query(rate("sessgate_session_evictions_total", "reason", 'tier="memory"'), "{{reason}}")], "ops", 8, stack=True,
        overrides=colored(lru=ORANGE, memory_idle=BLUE, ended=GREEN), runbook="SessgateEvictionSpike",
    ),
    Lines(
        "Stale sessions", "Stored sessions not used for `lifetimes.stale_after`. They cost room until their time is over, or until "
        "the sweep closes them under `on_stale: close`. A line that only rises: an app does not end its sessions.",
        [Query(tiered("sessgate_sessions_stale", 'tier="storage"'), "stale"), Query(STORED_SESSIONS, "stored")],
        width=8, overrides=colored(stale=ORANGE, stored=BLUE), runbook="SessgateStaleBuildup", low=0,
    ),
])

SERVICE = Row("Are look-ups fast, and is the app told?", [
    Lines(
        "Look-ups", "Look-ups a second by where the answer was found: memory, storage, or nowhere (none). Less from memory than usual: "
        "memory is too small, or a sidecar has just started.",
        [Query(rate("sessgate_lookup_duration_seconds_count", "tier"), "{{tier}}")], "ops", 8, stack=True,
        overrides=colored(memory=GREEN, storage=BLUE, none=ORANGE),
    ),
    Lines(
        "Slow or failed look-ups", "The share of look-ups that failed or took more than 5 ms. The objective is 0.1 % in a month; the "
        "lines are where the alerts burn it fast. Look at the hit ratio and the store's times in Internals, and at the processor.",
        [Query(BAD_SHARE, "slow or failed")], "percentunit", 8, threshold=True, low=0,
        steps=Steps(GREEN, [(BURN_SLOW.value, ORANGE), (BURN_FAST.value, RED)]), runbook="SessgateLookupBurn",
        overrides=colored(**{"slow or failed": BLUE}),
    ),
    Lines(
        "Time of a look-up", "Half of all look-ups, and all but one in a hundred, take at most so long.",
        [Query(quantile(0.5, "sessgate_lookup_duration_seconds"), "half"),
         Query(quantile(0.99, "sessgate_lookup_duration_seconds"), "99 %")],
        "s", 8, logarithm=10, runbook="SessgateLookupBurn",
    ),
    Lines(
        "Notices to the app", "Attempts a second to tell the app that a session ended. retried: the endpoint fails, and nothing is lost "
        "yet; dropped: given up. Look at the endpoint of `hooks.session_closed`: its answers, its time-outs, its log.",
        [Query(rate("sessgate_hook_deliveries_total", "result"), "{{result}}")], "ops", 8, stack=True,
        overrides=colored(ok=GREEN, retried=ORANGE, dropped=RED), runbook="SessgateHooksUndelivered",
    ),
    Column([Stat(
        "Notices given up", "The share of notices that were dropped. Above 5 % the app keeps what it should release.",
        [Query(DROPPED_SHARE, "dropped")], "percentunit", runbook="SessgateHookFailures", missing="none to send",
        steps=Steps(GREEN, [(HOOK_FAILURES.value, ORANGE)]), decimals=1,
    ), Stat(
        "Notices that wait", "Notices that wait for delivery. Rising: the endpoint is slow or down; they are kept for "
        "`hooks.session_closed.max_age`.",
        [Query(total(series("sessgate_hook_queue_length")), "waiting")], background=False, steps=Steps(BLUE),
    )]),
    Stat(
        "Limits in force", "What the sidecars enforce now. All of them are live: edit config.yaml, and they hold within a second.",
        [Query(f"clamp_max({MEMORY_LIMIT}, {NO_LIMIT:g})", "memory sessions"),
         Query(f"clamp_max({STORED_LIMIT}, {NO_LIMIT:g})", "stored sessions"),
         Query(f"clamp_max({BYTES_LIMIT}, {NO_LIMIT:g})", "stored bytes"),
         Query(f"clamp_max(max({series('sessgate_user_sessions_limit')}), {NO_LIMIT:g})", "sessions of a user"),
         Query(f"max({series('sessgate_sweep_interval_seconds')})", "sweep every")],
        "locale", width=12, height=8, background=False, size=26, steps=Steps(BLUE), mappings=NO_LIMIT_IN_WORDS,
        overrides=[override("stored bytes", unit="bytes"), override("sweep every", unit="s")],
    ),
])

OVERVIEW = Dashboard(
    "sessgate-overview", "Sessgate / Overview",
    "Open this first: health, room, growth, evictions, look-ups and notices of the selected sidecars, from top to bottom.",
    [IS_IT_UP, ROOM, GROWTH, EVICTIONS, SERVICE],
)
