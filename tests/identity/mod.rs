//! Whose a stored value is. Fixtures: `tests/payloads`.

use std::fs;
use std::path::Path as FilePath;

use sessgate::session::identity::{Format, Identity, Path, Raw, Rule};

mod encode;
mod fuzz;
mod hostile;
mod known;
mod models;
mod payloads;

/// One of `tests/payloads`.
struct Payload {
    file: String,
    bytes: Vec<u8>,
    format: Format,
    user: Option<String>,
    ip: Option<String>,
    created_at: Option<i64>,
}

fn payloads() -> Vec<Payload> {
    let directory = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("tests/payloads");
    let index = fs::read_to_string(directory.join("INDEX.tsv")).expect("the index is there");
    let payloads: Vec<_> = index
        .lines()
        .skip(1)
        .map(|line| {
            let columns: Vec<_> = line.split('\t').collect();
            let [file, _, format, user, ip, created_at] = columns[..] else { panic!("six columns: {line}") };
            let given = |column: &str| Some(column.to_owned()).filter(|column| column != "-");
            Payload {
                file: file.to_owned(),
                bytes: fs::read(directory.join(file)).expect("every file of the index is there"),
                format: format.parse().expect("a format"),
                user: given(user),
                ip: given(ip),
                created_at: given(created_at).map(|ms| ms.parse().expect("milliseconds")),
            }
        })
        .collect();
    let files = fs::read_dir(directory).expect("it is there").map(|entry| entry.expect("it can be read").path());
    let values = files.filter(|file| file.extension().is_some_and(|extension| extension == "bin")).count();
    assert_eq!(values, payloads.len(), "every value is in the index");
    payloads
}

/// A rule that looks for the user at a path, and for nothing else.
fn user_at(format: Format, path_of_user: &str) -> Rule {
    let path = |text: &str| text.parse::<Path>().expect("a path");
    let nowhere = path("/no such key");
    Rule::new(format, Some(&path(path_of_user)), Some(&nowhere), Some(&nowhere))
}

/// What any rule says of a value: the user's name; or why there is none.
fn user_of(rule: &Rule, bytes: &[u8]) -> Result<String, NoUser> {
    user_in(&rule.extract(Raw::Value(bytes)))
}

fn user_in(identity: &Identity) -> Result<String, NoUser> {
    match &identity.user {
        Some(user) if identity.known => Ok(user.as_str().to_owned()),
        Some(_) => panic!("a value with a user is known"),
        None if identity.known => Err(NoUser::Anonymous),
        None => Err(NoUser::Unknown),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoUser {
    Anonymous,
    Unknown,
}
