//! The status page: what a person wants to know first, and where to go on.

use std::fmt::Write;

use hyper::StatusCode;

use crate::metrics::{Snapshot, TierFigures, Totals};

const HEAD: &str = "<!doctype html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>Sessgate</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { text-align: right; padding: .2rem 1rem .2rem 0; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; }
.state { padding: .1rem .6rem; border-radius: .3rem; color: #fff; background: #2a7d3f; }
.state.off { background: #b3261e; }
@media (prefers-color-scheme: dark) { body { background: #181818; color: #ddd; } th, td { border-color: #444; } a { color: #8ab4f8; } }
</style>
</head>
<body>
";

const FOOT: &str = "<p><a href=\"/metrics\">Metrics</a> · <a href=\"/-/config\">Configuration in force</a> ·
<a href=\"/readyz\">Readiness</a> · <a href=\"/livez\">Liveness</a></p>
</body>
</html>
";

/// The page for this readiness and these figures, which are at most a few seconds old.
pub(super) fn render(readiness: &(StatusCode, &str), figures: &Snapshot) -> String {
    let (status, said) = readiness;
    let off = if *status == StatusCode::OK && said.starts_with("ready") { "" } else { " off" };
    let mut page = String::from(HEAD);
    line(&mut page, format_args!("<h1>Sessgate <span class=\"state{off}\">{}</span></h1>", said.trim_end()));
    page.push_str("<table>\n<tr><th>Tier</th><th>Sessions</th><th>Limit</th><th>Stale</th></tr>\n");
    for (name, TierFigures { sessions, limit, stale }) in [("Memory", figures.memory), ("Storage", figures.storage)] {
        let (limit, stale) = (or_none(limit), stale.map_or_else(|| "–".to_owned(), |stale| stale.to_string()));
        line(&mut page, format_args!("<tr><td>{name}</td><td>{sessions}</td><td>{limit}</td><td>{stale}</td></tr>"));
    }
    page.push_str("</table>\n");
    let (bytes, limit) = (figures.storage_bytes, or_none(figures.storage_limit_bytes));
    line(&mut page, format_args!("<p>Storage: {bytes} bytes of {limit}.</p>"));
    let (users, at_limit) = (figures.users, figures.users_at_limit);
    line(&mut page, format_args!("<p>Users: {users}, of whom {at_limit} are at their limit.</p>"));
    if !figures.top_users.is_empty() {
        page.push_str("<table>\n<tr><th>Heaviest users</th><th>Sessions</th></tr>\n");
        for (user, sessions) in figures.top_users.iter().take(SHOWN_USERS) {
            line(&mut page, format_args!("<tr><td>{}</td><td>{sessions}</td></tr>", escape(user.as_str())));
        }
        page.push_str("</table>\n");
    }
    page.push_str(FOOT);
    page
}

/// As many as fit on a screen.
const SHOWN_USERS: usize = 10;

fn or_none(limit: Option<u64>) -> String {
    limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string())
}

fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(page, "{text}");
}

/// A user's name is the app's input, so it must not become markup.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(c),
        }
    }
    safe
}

/// The same figures for machines, users by name.
pub(super) fn stats(figures: &Snapshot, totals: Totals) -> String {
    let tier =
        |tier: TierFigures| serde_json::json!({"sessions": tier.sessions, "limit": tier.limit, "stale": tier.stale});
    let top_users = figures.top_users.iter().take(SHOWN_USERS);
    serde_json::json!({
        "memory": tier(figures.memory),
        "storage": tier(figures.storage),
        "storage_bytes": figures.storage_bytes,
        "storage_limit_bytes": figures.storage_limit_bytes,
        "users": figures.users,
        "users_at_limit": figures.users_at_limit,
        "since_start": totals,
        "top_users": top_users.map(|(user, sessions)| serde_json::json!({"user": user.as_str(), "sessions": sessions})).collect::<Vec<_>>(),
    })
    .to_string()
}
