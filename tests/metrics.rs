//! The catalogue of metrics: what is declared is what is served and what is documented.
#![expect(clippy::float_cmp, reason = "counts and infinities are exact")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use sessgate::clock::Timestamp;
use sessgate::config::settings::{TopUserLabel, TopUsers};
use sessgate::metrics::catalogue::catalogue;
use sessgate::metrics::family::Unit;
use sessgate::metrics::labels::*;
use sessgate::metrics::top_users::{Weight, arrange, considered};
use sessgate::metrics::{BuildInfo, Metrics, Snapshot, TierFigures, docs};
use sessgate::session::{EndReason, UserName};

use crate::support::exposition::{Exposition, Sample};

fn metrics() -> Metrics {
    Metrics::with_user_key(&BuildInfo { version: "1.2.3", revision: "abcdef", store: "embedded" }, &[7; 32])
}

fn served(metrics: &Metrics) -> Exposition {
    Exposition::parse(&metrics.encode().unwrap()).unwrap()
}

fn user(name: &str) -> UserName {
    UserName::new(name).unwrap()
}

#[test]
fn the_documentation_is_the_catalogue() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/METRICS.md");
    let generated = docs::render();
    if std::env::var_os("SESSGATE_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(committed, generated, "write docs/METRICS.md anew: SESSGATE_BLESS=1 cargo test --test main metrics::");
}

#[test]
fn every_family_is_served_as_declared_and_no_other() {
    let served = served(&metrics());
    for declared in catalogue() {
        let Some(family) = served.families.get(declared.name) else {
            assert_eq!(declared.labels, ["rank", "user"], "{} is not served", declared.name);
            continue;
        };
        assert_eq!((family.kind.as_str(), family.help.as_str()), (declared.kind, declared.help), "{}", declared.name);
    }
    let families = catalogue();
    let declared: BTreeSet<_> = families.iter().map(|family| family.name).collect();
    assert_eq!(declared.len(), families.len(), "a name is declared twice");
    for name in served.families.keys().filter(|name| !name.starts_with("process_")) {
        assert!(declared.contains(name.as_str()), "{name} is served, but not declared");
    }
    assert!(served.families.contains_key("process_resident_memory_bytes"));
    for family in families {
        let own = &family.labels[family.fixed.len()..];
        for sample in served.find(family.name, &BTreeMap::new()) {
            let values: Vec<&str> = own.iter().map(|&label| sample.labels[label].as_str()).collect();
            assert!(family.series.contains(&values), "{} is not declared", sample.series());
            let labels: BTreeSet<_> = sample.labels.keys().map(String::as_str).filter(|&label| label != "le").collect();
            assert_eq!(labels, family.labels.iter().copied().collect(), "{}", family.name);
        }
    }
}

#[test]
fn only_the_catalogue_names_metrics() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("metrics/catalogue.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let named = catalogue().iter().find(|family| text.contains(family.name)).map(|family| family.name);
                assert_eq!(named, None, "{}", path.display());
            }
        }
    }
}

#[test]
fn every_series_of_a_closed_set_is_there_from_the_start_at_zero() {
    let served = served(&metrics());
    let not_zero = ["sessgate_build_info", "sessgate_config_last_reload_successful"];
    for declared in catalogue() {
        let own = &declared.labels[declared.fixed.len()..];
        for values in &declared.series {
            let labels: BTreeMap<_, _> = own.iter().copied().zip(values.iter().copied()).collect();
            if labels.get("scope") == Some(&"shared") {
                assert!(served.find(declared.name, &labels).is_empty(), "{} {labels:?} would mislead", declared.name);
                continue;
            }
            let found = served.find(declared.name, &labels);
            assert!(!found.is_empty(), "{} {labels:?} is missing", declared.name);
            let limit = declared.name.ends_with("_limit_bytes")
                || declared.name.ends_with("s_limit") && declared.name != "sessgate_users_at_limit";
            for sample in found {
                let expected = match declared.name {
                    name if not_zero.contains(&name) => 1.0,
                    _ if limit => f64::INFINITY,
                    _ => 0.0,
                };
                assert!(sample.value == expected, "{} {labels:?} starts at {}", sample.name, sample.value);
            }
        }
    }
}

#[test]
fn names_and_units_keep_the_rules_that_promtool_checks() {
    let reserved = ["_count", "_sum", "_bucket"];
    for family in catalogue() {
        let name = family.name;
        assert!(name.starts_with("sessgate_") && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
        assert_eq!(family.kind == "counter", name.ends_with("_total"), "{name}");
        assert!(!reserved.iter().any(|suffix| name.ends_with(suffix)), "{name}");
        let words: Vec<_> = name.split('_').collect();
        let units = ["milliseconds", "ms", "minutes", "hours", "days", "kilobytes", "megabytes", "percent"];
        assert!(!words.iter().any(|word| units.contains(word) || ["counter", "gauge", "histogram"].contains(word)));
        assert_eq!(matches!(family.unit, Unit::Seconds | Unit::UnixSeconds), words.contains(&"seconds"), "{name}");
        assert_eq!(family.unit == Unit::UnixSeconds, name.ends_with("_timestamp_seconds"), "{name}");
        assert_eq!(family.unit == Unit::Bytes, words.contains(&"bytes"), "{name}");
        assert_eq!(family.buckets.is_some(), family.kind == "histogram", "{name}");
        assert!(family.help.ends_with('.') && family.help.len() > 20, "{name}: {}", family.help);
        for label in &family.labels {
            assert!(!["id", "token", "ip", "path", "le", "job", "instance"].contains(label), "{name} {label}");
        }
    }
}

/// Prometheus keeps each series in memory, for each sidecar. A value more of a label of a histogram costs a dozen.
const MOST_SERIES: usize = 400;

#[test]
fn a_sidecar_with_all_its_top_users_has_few_series() {
    let metrics = metrics();
    // As config.yaml has it; each one more is one series more.
    metrics.top_user_settings(TopUsers { count: 10, label: TopUserLabel::Hash });
    let figures = TierFigures { sessions: 300, stale: Some(0), ..TierFigures::default() };
    let top_users = (0..200).map(|n| (user(&format!("{}{n}", "x".repeat(200))), 1_000 - n)).collect();
    metrics.publish(Snapshot { memory: figures, storage: figures, top_users, ..Snapshot::default() });
    let served = served(&metrics);
    let shown = served.samples.iter().filter(|sample| sample.name == "sessgate_top_user_sessions").count();
    assert_eq!(shown, 10);
    assert!(served.samples.len() <= MOST_SERIES, "{} series", served.samples.len());
}

#[test]
fn each_method_moves_its_series_and_no_other() {
    let metrics = metrics();
    let ms = Duration::from_millis;
    let at = Timestamp::from_millis(1_700_000_000_500);
    let before = served(&metrics);
    metrics.creation(CreationOutcome::UserLimit);
    metrics.memory_eviction(MemoryEviction::Lru, ms(60_000));
    metrics.session_ended(EndReason::StorageCap, Duration::from_secs(90 * 86_400));
    metrics.lookup(LookUpEnd::MemoryHit, ms(5));
    metrics.store_operation(StoreOp::Sweep, Outcome::Error, ms(1));
    metrics.store_up(true);
    metrics.rate_limiter(3, 2);
    metrics.sweep(Outcome::Ok, ms(20), at);
    metrics.sweep_interval(Duration::from_secs(300));
    metrics.reload(Outcome::Error, ReloadTrigger::Signal, at);
    metrics.config_hash(0xffff_ffff_ffff);
    metrics.hook(HookResult::Retried, ms(7));
    metrics.hooks_dropped(4);
    metrics.hook_queue(9);
    metrics.lease(LeaseResult::Refused);
    metrics.leases_held(6);
    let guard = metrics.connection_opened(Door::Api);
    drop(metrics.connection_opened(Door::Api));
    metrics.request(Door::Admin, RequestOutcome::Failed);
    let expected = [
        ("sessgate_session_creations_total{outcome=user_limit}", 1.0),
        ("sessgate_session_evictions_total{reason=lru,tier=memory}", 1.0),
        ("sessgate_session_evictions_total{reason=storage_cap,tier=storage}", 1.0),
        ("sessgate_evicted_idle_seconds_count{tier=memory}", 1.0),
        ("sessgate_evicted_idle_seconds_sum{tier=memory}", 60.0),
        ("sessgate_evicted_idle_seconds_count{tier=storage}", 1.0),
        ("sessgate_evicted_idle_seconds_sum{tier=storage}", 7_776_000.0),
        ("sessgate_lookup_duration_seconds_count{result=hit,tier=memory}", 1.0),
        ("sessgate_lookup_duration_seconds_sum{result=hit,tier=memory}", 0.005),
        ("sessgate_store_operation_duration_seconds_count{op=sweep,result=error,store=embedded}", 1.0),
        ("sessgate_store_operation_duration_seconds_sum{op=sweep,result=error,store=embedded}", 0.001),
        ("sessgate_store_up{store=embedded}", 1.0),
        ("sessgate_rate_limiter_keys{}", 3.0),
        ("sessgate_rate_limited_ips{}", 2.0),
        ("sessgate_sweep_runs_total{result=ok}", 1.0),
        ("sessgate_sweep_duration_seconds_count{result=ok}", 1.0),
        ("sessgate_sweep_duration_seconds_sum{result=ok}", 0.02),
        ("sessgate_sweep_last_success_timestamp_seconds{}", 1_700_000_000.5),
        ("sessgate_sweep_interval_seconds{}", 300.0),
        ("sessgate_config_last_reload_successful{}", 0.0),
        ("sessgate_config_reloads_total{result=error,trigger=signal}", 1.0),
        ("sessgate_config_hash{}", 281_474_976_710_655.0),
        ("sessgate_hook_deliveries_total{result=retried}", 1.0),
        ("sessgate_hook_deliveries_total{result=dropped}", 4.0),
        ("sessgate_hook_delivery_duration_seconds_count{result=retried}", 1.0),
        ("sessgate_hook_delivery_duration_seconds_sum{result=retried}", 0.007),
        ("sessgate_hook_queue_length{}", 9.0),
        ("sessgate_lease_requests_total{result=refused}", 1.0),
        ("sessgate_leases_held{}", 6.0),
        ("sessgate_connections{door=api}", 1.0),
        ("sessgate_requests_total{door=admin,outcome=failed}", 1.0),
    ];
    let after = served(&metrics);
    let own = |sample: &&Sample| !sample.name.starts_with("process_") && !sample.name.ends_with("_bucket");
    let values = |exposition: &Exposition| -> BTreeMap<String, String> {
        exposition.samples.iter().filter(own).map(|s| (s.series(), s.value.to_string())).collect()
    };
    let was = values(&before);
    let moved: BTreeMap<_, _> = values(&after).into_iter().filter(|(s, v)| was.get(s) != Some(v)).collect();
    assert_eq!(moved, expected.map(|(series, value)| (series.to_owned(), value.to_string())).into());
    drop(guard);
    assert!(served(&metrics).find("sessgate_connections", &[("door", "api")].into())[0].value == 0.0);
    assert!(metrics.evictions().contains(&("memory", "lru", 1)));
    assert_eq!(metrics.evictions().len(), 10);
    assert!(metrics.is_store_up());
}

#[test]
fn a_duration_on_a_bound_is_in_its_bucket() {
    let metrics = metrics();
    metrics.lookup(LookUpEnd::StorageHit, Duration::from_millis(5));
    metrics.lookup(LookUpEnd::StorageHit, Duration::from_nanos(5_000_001));
    metrics.lookup(LookUpEnd::StorageHit, Duration::MAX);
    let served = served(&metrics);
    let upto = |le: &str| {
        let labels = [("tier", "storage"), ("result", "hit"), ("le", le)].into();
        let found = served.find("sessgate_lookup_duration_seconds", &labels);
        assert_eq!(found.len(), 1, "{le}");
        found[0].value.to_string()
    };
    assert_eq!([upto("0.001"), upto("0.005"), upto("0.02"), upto("1"), upto("+Inf")], ["0", "1", "2", "2", "3"]);
}

#[test]
fn figures_follow_the_scope_of_the_store_and_no_limit_is_infinite() {
    let metrics = metrics();
    let tier = |sessions, limit| TierFigures { sessions, limit, stale: Some(1) };
    metrics.publish(Snapshot {
        memory: tier(10, Some(50_000)),
        storage: tier(20, None),
        storage_scope: Scope::Shared,
        storage_bytes: 99,
        ..Snapshot::default()
    });
    let served = served(&metrics);
    let shown: BTreeMap<_, _> = served
        .samples
        .iter()
        .filter(|sample| sample.labels.contains_key("scope"))
        .map(|sample| (sample.series(), sample.value))
        .collect();
    let expected = [
        ("sessgate_sessions{scope=local,tier=memory}", 10.0),
        ("sessgate_sessions{scope=shared,tier=storage}", 20.0),
        ("sessgate_sessions_limit{scope=local,tier=memory}", 50_000.0),
        ("sessgate_sessions_limit{scope=shared,tier=storage}", f64::INFINITY),
        ("sessgate_sessions_stale{scope=local,tier=memory}", 1.0),
        ("sessgate_sessions_stale{scope=shared,tier=storage}", 1.0),
        ("sessgate_storage_bytes{scope=shared}", 99.0),
        ("sessgate_storage_limit_bytes{scope=shared}", f64::INFINITY),
    ];
    assert_eq!(shown, expected.map(|(series, value)| (series.to_owned(), value)).into());
}

#[test]
fn heavy_users_are_named_as_configured_and_the_change_is_live() {
    let metrics = metrics();
    metrics.publish(Snapshot { top_users: vec![(user("bob\"\\\u{e9}"), 3), (user("eve"), 2)], ..Snapshot::default() });
    let names = || -> Vec<_> {
        let found = served(&metrics);
        let found = found.find("sessgate_top_user_sessions", &BTreeMap::new());
        found.iter().map(|sample| (sample.labels["rank"].clone(), sample.labels["user"].clone())).collect()
    };
    let hashed = names();
    assert_eq!(hashed[0].1, metrics.hash_user(&user("bob\"\\\u{e9}")).to_string());
    assert!(hashed.iter().all(|(_, name)| name.len() == 12 && name.bytes().all(|b| b.is_ascii_hexdigit())));
    metrics.top_user_settings(TopUsers { count: 10, label: TopUserLabel::Plain });
    assert_eq!(names(), [("1".into(), "bob\"\\\u{e9}".into()), ("2".into(), "eve".into())] as [(String, String); 2]);
    metrics.top_user_settings(TopUsers { count: 1, label: TopUserLabel::Plain });
    assert_eq!(names().len(), 1);
    metrics.top_user_settings(TopUsers { count: 1, label: TopUserLabel::None });
    assert_eq!(names(), []);
}

#[test]
fn a_user_has_one_hash_a_key() {
    let build = BuildInfo { version: "1", revision: "r", store: "embedded" };
    let hash = |metrics: &Metrics| metrics.hash_user(&user("alice"));
    assert_eq!(hash(&metrics()), hash(&metrics()), "the same key, the same hash, also after a restart");
    assert_ne!(hash(&metrics()), hash(&Metrics::with_user_key(&build, &[8; 32])));
    assert_ne!(hash(&Metrics::new(&build)), hash(&Metrics::new(&build)), "a key of its own unless one is given");
    // HMAC-SHA256 of "alice" under 32 bytes of 7, first 48 bits; computed with Python's hmac module.
    assert_eq!(hash(&metrics()).as_str(), "6a8851c590dd");
}

#[test]
fn scraping_never_sees_a_count_go_down_while_threads_count() {
    let metrics = Arc::new(metrics());
    let labels = [("tier", "memory"), ("result", "hit"), ("le", "+Inf")].into();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let metrics = &metrics;
                let count = || metrics.lookup(LookUpEnd::MemoryHit, Duration::from_nanos(300));
                scope.spawn(move || (0..50_000).for_each(|_| count()))
            })
            .collect();
        let mut last = 0.0;
        while !threads.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            let now = served(&metrics).find("sessgate_lookup_duration_seconds", &labels)[0].value;
            assert!(now >= last);
            last = now;
        }
    });
    assert!(served(&metrics).find("sessgate_lookup_duration_seconds", &labels)[0].value == 200_000.0);
}

/// Rankings of up to 12 users with weights close enough to each other for hysteresis to matter.
fn rankings() -> impl Strategy<Value = Vec<Vec<Weight>>> {
    let ranking = proptest::collection::btree_map(0_u8..12, 1_u64..40, 0..12).prop_map(|weights| {
        let mut ranking: Vec<Weight> =
            weights.into_iter().map(|(n, weight)| (user(&format!("u{n}")), weight)).collect();
        ranking.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
        ranking
    });
    proptest::collection::vec(ranking, 1..12)
}

/// More by over a tenth.
fn clearly_more(a: u64, b: u64) -> bool {
    a * 10 > b * 11
}

proptest! {
    #[test]
    fn the_table_is_bounded_current_and_fair(rankings in rankings(), count in 0_usize..6) {
        let mut table = Vec::new();
        for ranking in &rankings {
            table = arrange(&table, ranking, count);
            let considered = &ranking[..ranking.len().min(considered(count))];
            let distinct: BTreeSet<_> = table.iter().map(|(user, _)| user.clone()).collect();
            prop_assert_eq!(distinct.len(), table.len());
            prop_assert_eq!(table.len(), count.min(ranking.len()));
            for entry in &table {
                prop_assert!(considered.contains(entry), "everybody is shown with the current number");
            }
            for (_, outside) in considered.iter().filter(|(user, _)| !distinct.contains(user)) {
                for (_, inside) in &table {
                    prop_assert!(!clearly_more(*outside, *inside), "nobody outside has clearly more than one inside");
                }
            }
            for (at, (_, above)) in table.iter().enumerate() {
                for (_, below) in &table[at..] {
                    prop_assert!(!clearly_more(*below, *above), "nobody has clearly more than one ranked above");
                }
            }
        }
    }

    #[test]
    fn nobody_leaves_without_a_clear_reason(rankings in rankings(), count in 1_usize..6) {
        let mut table: Vec<Weight> = Vec::new();
        for ranking in &rankings {
            let next = arrange(&table, ranking, count);
            let considered = &ranking[..ranking.len().min(considered(count))];
            for (gone, _) in table.iter().filter(|(user, _)| !next.iter().any(|(other, _)| other == user)) {
                let now = considered.iter().find(|(user, _)| user == gone).map(|(_, weight)| *weight);
                let newcomers = next.iter().filter(|(user, _)| !table.iter().any(|(other, _)| other == user));
                let overtaken = now.is_none_or(|now| newcomers.clone().any(|(_, new)| clearly_more(*new, now)));
                prop_assert!(overtaken);
            }
            table = next;
        }
    }

    #[test]
    fn small_changes_change_no_series(weights in proptest::collection::vec(100_u64..105, 12), noise in proptest::collection::vec(0_u64..5, 12)) {
        let ranking = |weights: &[u64]| {
            let mut ranking: Vec<Weight> =
                weights.iter().enumerate().map(|(n, weight)| (user(&format!("u{n}")), *weight)).collect();
            ranking.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
            ranking
        };
        let first = arrange(&[], &ranking(&weights), 6);
        let shaken: Vec<_> = weights.iter().zip(&noise).map(|(weight, noise)| weight + noise).collect();
        let second = arrange(&first, &ranking(&shaken), 6);
        let users = |table: &[Weight]| table.iter().map(|(user, _)| user.as_str().to_owned()).collect::<BTreeSet<_>>();
        prop_assert_eq!(users(&first).len(), 6);
        prop_assert_eq!(users(&first), users(&second));
    }
}
