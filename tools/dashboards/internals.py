"""How the sidecar works inside: look-ups, store, sweep, notices, configuration, doors and process, by instance."""

from __future__ import annotations

from tools.dashboards.bounds import BURN_FAST, BURN_MEDIUM, BURN_SLOW, SWEEP_STUCK
from tools.dashboards.layout import Dashboard, Row
from tools.dashboards.panels import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    Heatmap,
    Lines,
    Query,
    Steps,
    Table,
    colored,
    limit_line,
    override,
)
from tools.dashboards.promql import RATE, ours, quantile, rate, ratio, recorded, series, total

BY_INSTANCE = "{{instance}}"
HITS = series("sessgate_lookup_duration_seconds_count", 'tier="memory", result="hit"')
ALL_HITS = series("sessgate_lookup_duration_seconds_count", 'result="hit"')
OPERATION = "sessgate_store_operation_duration_seconds"
EACH_SWEEP = f"time() - ({series('sessgate_sweep_last_success_timestamp_seconds')} > 0)"

LOOKUPS_ROW = Row("Look-ups", [
    Heatmap(
        "Times of look-ups", "How many look-ups a second took how long. Two bands are healthy: memory in microseconds, storage below a "
        "millisecond. Anything above 5 ms counts against the objective.",
        [Query(rate("sessgate_lookup_duration_seconds_bucket", "le"), "{{le}}", heatmap=True)], "s", 8, runbook="SessgateLookupBurn",
    ),
    Lines(
        "Slow end by tier", "All but one in a hundred look-ups take at most so long, by where the answer was found. Storage slow: see the "
        "operations of the store below. Memory slow: see the processor.",
        [Query(quantile(0.99, "sessgate_lookup_duration_seconds", "tier"), "{{tier}}")], "s", 8, logarithm=10,
        overrides=colored(memory=GREEN, storage=BLUE, none=ORANGE), runbook="SessgateLookupBurn",
    ),
    Lines(
        "How fast the error budget burns", "The share of slow or failed look-ups over each window of the alerts. Above the red line a "
        "month's budget is gone in two days, above the orange one in five, above the yellow one in ten. Needs the recording rules.",
        [Query(recorded(f"job:sessgate_lookups_bad:ratio_rate{window}"), f"{window} {{{{job}}}}") for window in ("5m", "1h", "6h", "1d")],
        "percentunit", 8, threshold=True, runbook="SessgateLookupBurn", low=0,
        steps=Steps(GREEN, [(BURN_SLOW.value, "yellow"), (BURN_MEDIUM.value, ORANGE), (BURN_FAST.value, RED)]),
    ),
    Lines(
        "Look-ups by result", "Look-ups a second. miss: a token that nobody has, as after a logout; many may be somebody who guesses. "
        "expired: found, but its time was over. error: the store failed.",
        [Query(rate("sessgate_lookup_duration_seconds_count", "result"), "{{result}}")], "ops", 8, stack=True,
        overrides=colored(hit=GREEN, miss=ORANGE, expired=BLUE, error=RED),
    ),
    Lines(
        "Answered from memory", "The share of successful look-ups that memory answered. Lower than usual: memory is too small, "
        "or a sidecar has just started and fills it.",
        [Query(ratio(f"sum by (instance) (rate({HITS}[{RATE}]))", f"sum by (instance) (rate({ALL_HITS}[{RATE}]))"), BY_INSTANCE)],
        "percentunit", 8, low=0, high=1, runbook="SessgateEvictionThrash",
    ),
    Lines(
        "Look-ups by sidecar", "Look-ups a second of each sidecar. One far from the others: its app or its load balancer treats it "
        "differently.",
        [Query(rate("sessgate_lookup_duration_seconds_count", "instance"), BY_INSTANCE)], "ops", 8, stack=True,
    ),
])

STORE = Row("Store", [
    Lines(
        "Store answers", "Whether the last call to the store was answered: 1 yes, 0 no. At 0 look at the store's own health, its disk, and "
        "the sidecar's log.",
        [Query(series("sessgate_store_up"), "{{instance}} {{store}}")], "bool_yes_no", 6, low=0, high=1, decimals=0,
        runbook="SessgateStoreDown",
    ),
    Lines(
        "Operations", "Calls to the store a second, by operation. Look-ups that memory answers make none.",
        [Query(rate(f"{OPERATION}_count", "op"), "{{op}}")], "ops", 6, stack=True,
    ),
    Lines(
        "Slow end of operations", "All but one in a hundred calls take at most so long, waiting for their turn included. One operation "
        "slow: its work. All of them slow: the disk, or a long sweep step before them.",
        [Query(quantile(0.99, OPERATION, "op"), "{{op}}")], "s", 6, logarithm=10, runbook="SessgateLookupBurn",
    ),
    Lines(
        "Failed operations", "Calls to the store a second that failed. Any: look at the disk (full? read-only?) and the sidecar's log.",
        [Query(rate(f"{OPERATION}_count", "op", 'result="error"'), "{{op}}")], "ops", 6, stack=True, runbook="SessgateStoreDown",
    ),
])

SWEEP = Row("Sweep", [
    Lines(
        "Time since the last good sweep", "Of each sidecar, and three of its intervals: above that line the clean-up is stuck. Look at the "
        "failed sweeps, their duration, and the store.",
        [Query(EACH_SWEEP, BY_INSTANCE), Query(f"{SWEEP_STUCK.value:g} * max({series('sessgate_sweep_interval_seconds')})", "stuck above")],
        "s", 8, overrides=[limit_line("stuck above")], runbook="SessgateSweepStuck", low=0,
    ),
    Lines(
        "Sweeps", "Sweeps a minute, by whether every step worked.",
        [Query(f"60 * {rate('sessgate_sweep_runs_total', 'result')}", "{{result}}")], "cpm", 8, stack=True,
        overrides=colored(ok=GREEN, error=RED), runbook="SessgateSweepStuck",
    ),
    Lines(
        "Duration of a sweep", "How long sweeps take. One that takes longer than the interval delays the next.",
        [Query(ratio(rate("sessgate_sweep_duration_seconds_sum"), rate("sessgate_sweep_duration_seconds_count")), "average"),
         Query(quantile(0.99, "sessgate_sweep_duration_seconds"), "99 %")],
        "s", 8, runbook="SessgateSweepStuck", low=0,
    ),
])

NOTICES = Row("Notices to the app", [
    Lines(
        "Attempts", "Attempts a second to tell the app that a session ended. retried: the endpoint fails, nothing is lost yet; dropped: "
        "given up after `max_attempts` or `max_age`.",
        [Query(rate("sessgate_hook_deliveries_total", "result"), "{{result}}")], "ops", 8, stack=True,
        overrides=colored(ok=GREEN, retried=ORANGE, dropped=RED), runbook="SessgateHookFailures",
    ),
    Lines(
        "Time of an attempt", "All but one in a hundred attempts take at most so long, by result. Near `hooks.session_closed.timeout`: the "
        "endpoint hangs.",
        [Query(quantile(0.99, "sessgate_hook_delivery_duration_seconds", "result"), "{{result}}")], "s", 8,
        overrides=colored(ok=GREEN, retried=ORANGE, dropped=RED), runbook="SessgateHooksUndelivered",
    ),
    Lines(
        "Waiting", "Notices that wait for delivery. Rising: the endpoint is slow or down.",
        [Query(series("sessgate_hook_queue_length"), BY_INSTANCE)], width=8, runbook="SessgateHooksUndelivered", low=0,
    ),
])

CONFIGURATION = Row("Configuration and doors", [
    Lines(
        "Reloads", "Attempts to read the configuration anew, by what caused them and whether it was taken.",
        [Query(f"sum by (trigger, result) (increase({series('sessgate_config_reloads_total')}[{RATE}]))", "{{trigger}} {{result}}")],
        "short", 12, stack=True, runbook="SessgateConfigReloadFailed",
    ),
    Table(
        "Configuration in force", "A number that stands for the configuration of each sidecar: those of one job should be the same. 0 is "
        "the documented defaults.",
        [Query(f"sum by (instance) ({series('sessgate_config_hash')})")], "hex", 12,
        columns={"instance": "Instance"}, value="Configuration", runbook="SessgateConfigInconsistent",
    ),
    Lines(
        "Connections", "Client connections open now, by door. Far more than usual: an app that does not reuse its connections.",
        [Query(total(series("sessgate_connections"), "door"), "{{door}}")], width=8, overrides=colored(api=BLUE, admin=PURPLE, redis=GREEN), low=0,
    ),
    Lines(
        "Requests by door", "Requests a second. failed: the sidecar or its store was at fault.",
        [Query(rate("sessgate_requests_total", "door, outcome"), "{{door}} {{outcome}}")], "reqps", 8,
        overrides=colored(**{"api ok": GREEN, "api refused": ORANGE, "api failed": RED}),
    ),
    Lines(
        "Saves through the Redis door that stand out", "Saves a second. unreadable: whose session it is cannot be told from the value, so "
        "that no user's limit counts it; if there are more and more, give the keys a rule or bind them (docs/REDIS.md). late: of a session "
        "that had just ended, dropped so that it stays ended; many, and users who say that a log-in got lost: shorten "
        "`redis_door.tombstone`.",
        [Query(rate("sessgate_unknown_values_total"), "unreadable"), Query(rate("sessgate_late_saves_total"), "late")], "ops", 8,
        overrides=colored(unreadable=ORANGE, late=BLUE),
    ),
])

PROCESS = Row("Process", [
    Lines(
        "Processor", "Processors in use, by sidecar: 1 is one whole core.",
        [Query(f"sum by (instance) (rate({series('process_cpu_seconds_total')}[{RATE}]) and on (namespace, job, instance) "
               f"{series('sessgate_build_info')})", BY_INSTANCE)], "none", 6, decimals=2, low=0,
    ),
    Lines(
        "Memory", "Resident memory of each sidecar, and on the right the largest address space. Grows with `limits.memory_bytes`; if "
        "it grows beyond that, report it.",
        [Query(ours("process_resident_memory_bytes"), BY_INSTANCE),
         Query(f"max({ours('process_virtual_memory_bytes')})", "largest address space")], "bytes", 6, low=0,
        overrides=[override("largest address space", custom_axisPlacement="right", color={"mode": "fixed", "fixedColor": GREY})],
    ),
    Lines(
        "Open files", "Files and connections that each sidecar has open, as a share of what it may have. Near 1 no client can connect: "
        "raise the limit of open files.",
        [Query(f"{ours('process_open_fds')} / {series('process_max_fds')}", BY_INSTANCE)], "percentunit", 6, low=0, threshold=True,
        steps=Steps(GREEN, [(0.8, ORANGE)]),
    ),
    Lines(
        "Threads", "Threads of each sidecar; it starts no more than a fixed number.",
        [Query(ours("process_threads"), BY_INSTANCE)], "none", 6, decimals=0, low=0,
    ),
    Table(
        "Versions", "What is running where. More than one version, except while a new one is rolled out: look at the deployment.",
        [Query(f"sum by (namespace, job, instance, version, revision, store) ({series('sessgate_build_info')})")],
        width=12, height=6,
        columns={"namespace": "Namespace", "job": "Job", "instance": "Instance", "version": "Version", "revision": "Revision",
                 "store": "Store"},
    ),
    Lines(
        "Up for", "Time since each sidecar was started. A saw-tooth is a process that crashes and is started again: look at its last log "
        "lines and its exit code.",
        [Query(f"time() - {ours('process_start_time_seconds')}", BY_INSTANCE)], "dtdurations", 12, 6, low=0, runbook="SessgateDown",
    ),
])

INTERNALS = Dashboard(
    "sessgate-internals", "Sessgate / Internals",
    "How the selected sidecars work inside: look-ups, store, sweep, notices, configuration, doors and process.",
    [LOOKUPS_ROW, STORE, SWEEP, NOTICES, CONFIGURATION, PROCESS],
)
