//! `sessgate top`: tiers, rates and the heaviest users, drawn anew every second. Without a terminal, once.

use std::fmt::Write;
use std::io::{IsTerminal, Write as _, stdout};
use std::time::Duration;

use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use super::admin_client::{AdminClient, Failure};
use super::{Exit, Watched};

const INTERVAL: Duration = Duration::from_secs(1);

/// What `/-/stats` says.
#[derive(Debug, Deserialize)]
struct Stats {
    memory: Tier,
    storage: Tier,
    storage_bytes: u64,
    storage_limit_bytes: Option<u64>,
    users: u64,
    users_at_limit: u64,
    top_users: Vec<User>,
    since_start: Totals,
}

#[derive(Debug, Deserialize)]
struct Tier {
    sessions: u64,
    limit: Option<u64>,
    stale: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct User {
    user: String,
    sessions: u64,
}

/// Events since the start, or a second.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Totals {
    lookups: f64,
    memory_hits: f64,
    created: f64,
    refused: f64,
    left_memory: f64,
    ended: f64,
}

/// One figure of them.
type Figure = fn(&Totals) -> f64;

/// Draws until interrupted.
pub(super) async fn run(watched: &Watched) -> Exit {
    // Listened to from here on: a Ctrl-C counts while it draws or waits for an answer as well.
    let mut interrupt = match signal(SignalKind::interrupt()) {
        Ok(interrupt) => interrupt,
        Err(error) => {
            eprintln!("sessgate: cannot listen for signals: {error}");
            return Exit::Internal;
        }
    };
    tokio::select! {
        exit = draw(watched) => exit,
        _ = interrupt.recv() => Exit::Clean,
    }
}

async fn draw(watched: &Watched) -> Exit {
    let client = match AdminClient::new(watched) {
        Ok(client) => client,
        Err(error) => {
            eprintln!("sessgate: {error}");
            return Exit::Usage;
        }
    };
    let live = stdout().is_terminal();
    let mut before: Option<(Totals, Instant)> = None;
    loop {
        match look(&client).await {
            Ok(stats) => {
                let totals = stats.since_start;
                let rates = before.map(|(earlier, at)| totals.per_second_since(earlier, at.elapsed()));
                before = Some((totals, Instant::now()));
                let page = render(client.name(), &stats, rates);
                // Home, the page, then away with what an earlier, longer one left.
                let drawn = if live { format!("\x1b[H{}\x1b[J", page.replace('\n', "\x1b[K\n")) } else { page };
                if stdout().write_all(drawn.as_bytes()).and_then(|()| stdout().flush()).is_err() {
                    return Exit::Clean;
                }
            }
            Err(failure) => {
                eprintln!("sessgate: {}", client.told(&failure));
                return Exit::Unhealthy;
            }
        }
        if !live {
            return Exit::Clean;
        }
        sleep(INTERVAL).await;
    }
}

async fn look(client: &AdminClient) -> Result<Stats, Failure> {
    let said = client.get("/-/stats").await?;
    serde_json::from_str(&said).map_err(|error| Failure::Other(error.to_string()))
}

impl Totals {
    fn per_second_since(self, earlier: Self, passed: Duration) -> Self {
        let rate = |now: f64, then: f64| (now - then).max(0.0) / passed.as_secs_f64().max(0.001);
        Self {
            lookups: rate(self.lookups, earlier.lookups),
            memory_hits: rate(self.memory_hits, earlier.memory_hits),
            created: rate(self.created, earlier.created),
            refused: rate(self.refused, earlier.refused),
            left_memory: rate(self.left_memory, earlier.left_memory),
            ended: rate(self.ended, earlier.ended),
        }
    }
}

fn render(admin: &str, stats: &Stats, rates: Option<Totals>) -> String {
    let mut page = format!("sessgate top — {admin}\n\n");
    let limit = |limit: Option<u64>| limit.map_or_else(|| "no limit".to_owned(), |limit| limit.to_string());
    let mut line = |text: std::fmt::Arguments<'_>| {
        // Writing to a string cannot fail.
        let _ = writeln!(page, "{text}");
    };
    line(format_args!("{:<9}{:>12}{:>14}{:>12}", "tier", "sessions", "limit", "stale"));
    for (name, tier) in [("memory", &stats.memory), ("storage", &stats.storage)] {
        let stale = tier.stale.map_or_else(|| "–".to_owned(), |stale| stale.to_string());
        line(format_args!("{name:<9}{:>12}{:>14}{stale:>12}", tier.sessions, limit(tier.limit)));
    }
    line(format_args!("\nstorage bytes  {} of {}", stats.storage_bytes, limit(stats.storage_limit_bytes)));
    line(format_args!("users          {}, at their limit: {}\n", stats.users, stats.users_at_limit));
    line(format_args!("{:<26}{:>14}{:>12}", "", "since start", "per second"));
    let rows: [(&str, Figure); 6] = [
        ("look-ups", |totals| totals.lookups),
        ("  answered from memory", |totals| totals.memory_hits),
        ("sessions created", |totals| totals.created),
        ("creations refused", |totals| totals.refused),
        ("left memory, kept stored", |totals| totals.left_memory),
        ("sessions ended", |totals| totals.ended),
    ];
    for (name, figure) in rows {
        let rate = rates.as_ref().map_or_else(String::new, |rates| format!("{:.1}", figure(rates)));
        line(format_args!("{name:<26}{:>14.0}{rate:>12}", figure(&stats.since_start)));
    }
    line(format_args!("\n{:<40}{:>10}", "heaviest users", "sessions"));
    for User { user, sessions } in &stats.top_users {
        line(format_args!("{:<40}{sessions:>10}", user.chars().take(39).collect::<String>()));
    }
    page
}
