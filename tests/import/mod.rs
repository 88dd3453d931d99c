//! `sessgate import`: what a real redis-server or a file holds arrives in a real sidecar, whole, once, under its rules.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use crate::support::once::Ended;
use crate::support::redis_server::Connection;
use crate::support::sidecar::Place;

mod files;
mod interrupted;
mod limits;
mod servers;

/// No limit that an import could hit.
const FREE: &str = "limits: { per_user: { sessions: null }, creation_per_ip: null }\n";

/// A place whose sidecar has all its doors on sockets in it.
fn place(config: &str) -> Place {
    let place = Place::new("");
    let directory = place.path().display();
    let listen = format!(
        "listen: {{ api: 'unix:{directory}/api.sock', admin: 127.0.0.1:0, redis: 'unix:{directory}/redis.sock' }}\n"
    );
    place.write_config(&(listen + config));
    place
}

fn door_of(place: &Place) -> PathBuf {
    place.path().join("redis.sock")
}

fn door(place: &Place) -> Connection {
    Connection::to(&door_of(place))
}

fn url(socket: &Path) -> String {
    format!("unix:{}", socket.display())
}

/// Runs an import to its end.
#[track_caller]
fn import(place: &Place, arguments: &[&str]) -> Ended {
    place.once(["import"].iter().chain(arguments))
}

/// Starts one, to be interrupted.
fn start(place: &Place, arguments: &[&str]) -> Child {
    let mut command = place.command();
    command.arg("import").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}

/// How it ended by itself.
fn ended(child: Child) -> Ended {
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("it writes text");
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// The figures of a summary, by their names.
#[track_caller]
fn figures(summary: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let (name, figure) = match line.strip_prefix("  ") {
            Some(line) => line.split_once("  ").map(|(figure, name)| (name, figure)),
            None => line.rsplit_once(' '),
        }?;
        Some((name.trim().to_owned(), figure.parse().ok()?))
    };
    summary.lines().map(|text| line(text).unwrap_or_else(|| panic!("no figure in: {text}"))).collect()
}

/// Insists on figures of a summary, in the order: moved, there already, expired, refused.
#[track_caller]
fn expect_figures(ended: &Ended, expected: [u64; 4]) {
    let figures = figures(&ended.out);
    let got = ["moved", "there already", "expired", "refused"].map(|name| figures[name]);
    assert_eq!(got, expected, "{}{}", ended.out, ended.err);
}
