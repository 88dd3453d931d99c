//! What must hold between keys.

use super::problem::Problem;
use super::reader::Reader;
use super::settings::{Address, LeaseLimits, Limits, Listen, Settings};
use super::units::{show_duration, show_size};

/// Reports every contradiction.
pub(super) fn check(reader: &mut Reader<'_>, settings: &Settings) {
    listeners(reader, &settings.listen);
    limits(reader, &settings.limits);
}

fn listeners(reader: &mut Reader<'_>, listen: &Listen) {
    let Listen { api, admin, redis, redis_user, api_key, .. } = listen;
    for (key, address) in [("listen.api", api), ("listen.admin", admin)] {
        reader.require(address.is_local() || api_key.is_some(), &[key, "listen.api_key_file"], || {
            Problem::with_file(format!(
                "`{key}` is bound beyond loopback ({address}), which needs `listen.api_key_file`"
            ))
            .hint("set `listen.api_key_file`, or listen on 127.0.0.1 or a Unix socket")
        });
    }
    let password = listen.redis_password().is_some();
    let password_keys = ["listen.redis_password_file", "listen.api_key_file"];
    if let Some(redis) = redis {
        let keys = ["listen.redis", password_keys[0], password_keys[1]];
        reader.require(redis.is_local() || password, &keys, || {
            Problem::with_file(format!(
                "`listen.redis` is bound beyond loopback ({redis}), which needs `listen.redis_password_file` or \
                 `listen.api_key_file`"
            ))
            .hint("set one of them, or listen on 127.0.0.1 or a Unix socket")
        });
    }
    let keys = ["listen.redis_user", password_keys[0], password_keys[1]];
    reader.require(redis_user.is_none() || password, &keys, || {
        Problem::with_file("`listen.redis_user` needs a password to go with it")
            .hint("set `listen.redis_password_file` or `listen.api_key_file`")
    });

    let doors = [("listen.api", Some(api)), ("listen.admin", Some(admin)), ("listen.redis", redis.as_ref())];
    for (place, (key, address)) in doors.into_iter().enumerate() {
        let Some(address) = address else { continue };
        let any_free = matches!(address, Address::Tcp(address) if address.port() == 0);
        for (other, taken) in &doors[..place] {
            reader.require(any_free || *taken != Some(address), &[key, other], || {
                Problem::with_file(format!("`{other}` and `{key}` are both {address}"))
            });
        }
    }
}

fn limits(reader: &mut Reader<'_>, limits: &Limits) {
    let Limits { memory_bytes, session_bytes, stored, leases, .. } = limits;
    reader.require(session_bytes <= memory_bytes, &["limits.session_bytes", "limits.memory_bytes"], || {
        let (session, memory) = (show_size(*session_bytes), show_size(*memory_bytes));
        Problem::with_file(format!(
            "`limits.session_bytes` ({session}) must not exceed `limits.memory_bytes` ({memory})"
        ))
    });
    let stored_bytes = stored.bytes.unwrap_or(u64::MAX);
    reader.require(*session_bytes <= stored_bytes, &["limits.session_bytes", "limits.stored_bytes"], || {
        let (session, stored) = (show_size(*session_bytes), show_size(stored_bytes));
        Problem::with_file(format!(
            "`limits.session_bytes` ({session}) must not exceed `limits.stored_bytes` ({stored})"
        ))
    });
    let LeaseLimits { ttl, track_for, .. } = leases;
    reader.require(ttl <= track_for, &["limits.leases.ttl", "limits.leases.track_for"], || {
        let (ttl, track_for) = (show_duration(*ttl), show_duration(*track_for));
        Problem::with_file(format!(
            "`limits.leases.ttl` ({ttl}) must not exceed `limits.leases.track_for` ({track_for})"
        ))
        .hint("a user must not be forgotten while a lease runs")
    });
}
