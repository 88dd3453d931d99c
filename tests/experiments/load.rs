//! Workers that use sessions of their own, and know after each answer, and each missing one, what must be true.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::support::client::Reply;
use crate::support::http::{Client, Stage, Unanswered};
use crate::support::seed::Random;

/// The sessions that a worker goes on using: the youngest so many.
const RECENT: usize = 300;

/// Whether a session must be found under its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alive {
    /// It must.
    Yes,
    /// The change that decides it was not answered.
    Maybe,
    /// It must not.
    No,
}

/// What a worker knows of a session.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its handle.
    pub id: String,
    /// Its user.
    pub user: String,
    /// Its token.
    pub token: String,
    /// Whether that opens it.
    pub alive: Alive,
    /// What its data may be: the last that was acknowledged, and what was sent since without an answer.
    pub data: Vec<u64>,
    /// Its last use that was answered.
    pub last_activity: String,
    /// Whether it may live on under a token that nobody was told.
    pub adrift: bool,
    /// Whether anything about it has changed since it was last verified.
    pub changed: bool,
}

/// A worker's sessions, and what it does to them.
pub struct Worker {
    /// Its name, the beginning of its users' names.
    pub name: String,
    /// How many users it has.
    pub users: u64,
    /// Every session it has ever been told of.
    pub sessions: Vec<Known>,
    /// Creations and rotations that were not answered: the most strays there can be.
    pub unanswered: u64,
    /// The users one of whose creations was not answered since the last verification.
    pub unsure_users: Vec<String>,
    random: Random,
    version: u64,
}

/// What became of a step.
pub enum Step {
    /// It was answered.
    Answered,
    /// It was not.
    Lost(Unanswered),
}

impl Worker {
    /// A worker without sessions.
    pub fn new(name: &str, users: u64, random: Random) -> Self {
        let name = name.to_owned();
        Self { name, users, sessions: Vec::new(), unanswered: 0, unsure_users: Vec::new(), random, version: 0 }
    }

    /// The names of its users.
    pub fn user_names(&self) -> Vec<String> {
        (0..self.users).map(|user| format!("{}-{user}", self.name)).collect()
    }

    /// Does one thing: creates, looks up, updates, rotates or revokes. Counts it in `acknowledged` if it was a change
    /// and was answered.
    pub fn step(&mut self, client: &mut Client, acknowledged: &AtomicU64) -> Step {
        let choice = self.random.below(100);
        let chosen = if choice < 27 { None } else { self.choose() };
        let Some(at) = chosen else { return self.create(client, acknowledged) };
        match choice {
            27..55 => self.look_up(client, at),
            55..70 => self.update(client, at, acknowledged),
            70..75 => self.rotate(client, at, acknowledged),
            _ => self.revoke(client, at, acknowledged),
        }
    }

    fn choose(&mut self) -> Option<usize> {
        let recent = self.sessions.len().saturating_sub(RECENT)..self.sessions.len();
        let alive: Vec<usize> = recent.filter(|&at| self.sessions[at].alive == Alive::Yes).collect();
        (!alive.is_empty()).then(|| *self.random.pick(&alive))
    }

    fn create(&mut self, client: &mut Client, acknowledged: &AtomicU64) -> Step {
        self.version += 1;
        let user = format!("{}-{}", self.name, self.random.below(self.users));
        let body = json!({ "user": user, "data": { "version": self.version } }).to_string();
        match client.try_request("POST", "/v1/sessions", None, &body) {
            Ok(reply) => {
                let created = reply.expect(201).json();
                acknowledged.fetch_add(1, Ordering::Relaxed);
                for gone in created["evicted"].as_array().expect("a list") {
                    self.end(gone.as_str().expect("an id"));
                }
                self.sessions.push(Known {
                    id: text(&created, "id"),
                    user,
                    token: text(&created, "token"),
                    alive: Alive::Yes,
                    data: vec![self.version],
                    last_activity: text(&created, "created_at"),
                    adrift: false,
                    changed: true,
                });
                Step::Answered
            }
            Err(lost) => {
                // It may have been created, and the user's oldest session may have made room for it.
                if lost.stage != Stage::Connect {
                    for known in self.sessions.iter_mut().filter(|known| known.user == user) {
                        if known.alive == Alive::Yes {
                            (known.alive, known.changed) = (Alive::Maybe, true);
                        }
                    }
                    self.unsure_users.push(user);
                    self.unanswered += 1;
                }
                Step::Lost(lost)
            }
        }
    }

    fn look_up(&mut self, client: &mut Client, at: usize) -> Step {
        let known = &mut self.sessions[at];
        match client.try_request("GET", "/v1/session", Some(&known.token), "") {
            Ok(reply) => {
                let found = reply.expect(200).json();
                assert_eq!(found["data"]["version"], known.data[0], "{}", known.id);
                (known.last_activity, known.changed) = (text(&found, "last_activity"), true);
                Step::Answered
            }
            Err(lost) => Step::Lost(lost),
        }
    }

    fn update(&mut self, client: &mut Client, at: usize, acknowledged: &AtomicU64) -> Step {
        self.version += 1;
        let known = &mut self.sessions[at];
        known.changed = true;
        let body = json!({ "data": { "version": self.version } }).to_string();
        match client.try_request("PUT", "/v1/session", Some(&known.token), &body) {
            Ok(reply) => {
                known.last_activity = text(&reply.expect(200).json(), "last_activity");
                known.data = vec![self.version];
                acknowledged.fetch_add(1, Ordering::Relaxed);
                Step::Answered
            }
            Err(lost) => {
                known.data.push(self.version);
                Step::Lost(lost)
            }
        }
    }

    fn rotate(&mut self, client: &mut Client, at: usize, acknowledged: &AtomicU64) -> Step {
        let known = &mut self.sessions[at];
        known.changed = true;
        match client.try_request("POST", "/v1/session/rotate", Some(&known.token), "") {
            Ok(reply) => {
                let rotated = reply.expect(200).json();
                let fresh = Known { token: text(&rotated, "token"), ..known.clone() };
                known.alive = Alive::No;
                self.sessions.push(fresh);
                acknowledged.fetch_add(1, Ordering::Relaxed);
                Step::Answered
            }
            Err(lost) => {
                (known.alive, known.adrift) = (Alive::Maybe, true);
                self.unanswered += 1;
                Step::Lost(lost)
            }
        }
    }

    fn revoke(&mut self, client: &mut Client, at: usize, acknowledged: &AtomicU64) -> Step {
        let known = &mut self.sessions[at];
        known.changed = true;
        match client.try_request("DELETE", "/v1/session", Some(&known.token), "") {
            Ok(reply) => {
                reply.expect(204);
                known.alive = Alive::No;
                acknowledged.fetch_add(1, Ordering::Relaxed);
                Step::Answered
            }
            Err(lost) => {
                known.alive = Alive::Maybe;
                Step::Lost(lost)
            }
        }
    }

    fn end(&mut self, id: &str) {
        for known in self.sessions.iter_mut().filter(|known| known.id == id) {
            (known.alive, known.changed) = (Alive::No, true);
        }
    }

    /// Compares what it knows with what is there; all of it, or what has changed since the last time. Each doubt is
    /// settled by what is found.
    pub fn verify(&mut self, client: &mut Client, all: bool) -> Verified {
        let mut verified = Verified::default();
        let mut vanished: Vec<String> = Vec::new();
        for known in self.sessions.iter_mut().filter(|known| all || known.changed) {
            known.changed = false;
            verified.sessions += 1;
            let reply = client.request("GET", "/v1/session?touch=false", Some(&known.token), "");
            match (known.alive, reply.status) {
                (Alive::Yes | Alive::Maybe, 200) => {
                    let found = reply.json();
                    let version = found["data"]["version"].as_u64().expect("a version");
                    if !known.data.contains(&version) {
                        verified.lost_updates += 1;
                    }
                    known.data = vec![version];
                    (known.alive, known.adrift) = (Alive::Yes, false);
                    if text(&found, "last_activity") < known.last_activity {
                        verified.lost_activity += 1;
                    }
                }
                (Alive::Yes, 404) => {
                    verified.lost += 1;
                    known.alive = Alive::No;
                }
                (Alive::Maybe, 404) => {
                    vanished.push(known.user.clone());
                    known.alive = Alive::No;
                }
                (Alive::No, 404) => {}
                (Alive::No, 200) => verified.undead += 1,
                _ => panic!("{}: {}", reply.status, reply.text()),
            }
        }
        self.compare_listings(client, &mut verified);
        // One creation may have ended one session at most.
        for user in std::mem::take(&mut self.unsure_users) {
            verified.lost += (vanished.iter().filter(|of| **of == user).count() as u64).saturating_sub(1);
        }
        verified
    }
}

impl Worker {
    /// Every live session is listed, and no session that has ended.
    fn compare_listings(&self, client: &mut Client, verified: &mut Verified) {
        let mut known: HashMap<&str, (bool, bool)> = HashMap::new();
        for session in &self.sessions {
            let (alive, adrift) = known.entry(&session.id).or_default();
            *alive |= session.alive == Alive::Yes;
            *adrift |= session.adrift;
        }
        let mut listed = HashSet::new();
        for user in self.user_names() {
            let ids = list(client, &user);
            if !ids.is_empty() {
                verified.listed.push((user, ids.len() as u64));
            }
            listed.extend(ids);
        }
        verified.lost += known.iter().filter(|(id, (alive, _))| *alive && !listed.contains(**id)).count() as u64;
        for id in &listed {
            match known.get(id.as_str()) {
                Some((true, _)) => {}
                Some((false, true)) | None => verified.strays += 1,
                Some((false, false)) => verified.undead += 1,
            }
        }
    }
}

/// The ids of a user's sessions.
pub fn list(client: &mut Client, user: &str) -> Vec<String> {
    let listed = client.get(&format!("/v1/users/{user}/sessions?limit=1000")).expect(200).json();
    assert!(listed["next_cursor"].is_null(), "{user} has more sessions than a page holds");
    listed["sessions"].as_array().expect("a list").iter().map(|session| text(session, "id")).collect()
}

/// What a verification has found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Tokens that were looked at.
    pub sessions: u64,
    /// Acknowledged sessions that are not there.
    pub lost: u64,
    /// Sessions whose data is not what was acknowledged.
    pub lost_updates: u64,
    /// Sessions that have forgotten their last use.
    pub lost_activity: u64,
    /// Tokens that open a session though they were revoked, replaced or evicted.
    pub undead: u64,
    /// Sessions of which nobody was told, because the answer that would have told was cut off.
    pub strays: u64,
    /// How many sessions each user has.
    pub listed: Vec<(String, u64)>,
}

impl Verified {
    /// Adds up.
    pub fn add(&mut self, other: &Self) {
        self.sessions += other.sessions;
        self.lost += other.lost;
        self.lost_updates += other.lost_updates;
        self.lost_activity += other.lost_activity;
        self.undead += other.undead;
        self.strays += other.strays;
    }
}

/// The string in a field.
#[track_caller]
pub fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no `{field}` in {value}")).to_owned()
}

/// Creates a session that must be created; its answer.
#[track_caller]
pub fn create(client: &mut Client, body: &Value) -> Value {
    let reply: Reply = client.request("POST", "/v1/sessions", None, &body.to_string());
    reply.expect(201).json()
}
