//! What holds when nothing is set.

use sessgate::config::{self, Settings};

use super::{SHIPPED, parse};

#[test]
fn an_empty_document_and_the_shipped_file_say_the_defaults() {
    for text in ["", "# only a comment\n", "---\n", "{}", SHIPPED] {
        assert_eq!(parse(text).unwrap(), Settings::default(), "{text}");
    }
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let text = config::effective(&Settings::default());
    let event_loops = Settings::default().listen.event_loops;
    let expected = format!(
        "listen:
  api: 127.0.0.1:8480
  admin: 127.0.0.1:9480
  redis: null
  redis_user: null
  redis_password_file: null
  api_key_file: null
  event_loops: {event_loops}
store:
  embedded:
    path: ./data
lifetimes:
  idle_timeout: 90d
  absolute_timeout: null
  stale_after: 25m
  on_stale: keep
  memory_idle: 30d
  sweep_interval: 5m
limits:
  memory_sessions: 50000
  memory_bytes: 256MiB
  stored_sessions: null
  stored_bytes: 1GiB
  session_bytes: 64KiB
  per_user:
    sessions: 10
    on_excess: evict_oldest
    overrides: {{}}
  creation_per_ip: {{count: 10, ipv6_prefix: 64, per: 1h}}
  leases:
    per_user: 3
    ttl: 5m
    tracked_users: 50000
    track_for: 1d
hooks:
  session_closed:
    url: null
    secret_file: null
    timeout: 3s
    max_attempts: 50
    max_age: 1d
redis_door:
  sessions: []
  tombstone: 1m
  plain_bytes: 64MiB
top_users:
  count: 10
  label: hash
log:
  level: info
  format: text
"
    );
    assert_eq!(text, expected);
}
