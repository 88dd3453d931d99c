//! Which places of a value are asked for: those of a rule, or those where session libraries are known to keep things.

use super::path::{Path, Step};

/// What may be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    User,
    Ip,
    Created,
}

/// Where a library keeps the user: places that mean nothing else. The first that has one counts.
const USER_OF_LIBRARY: &[&str] = &[
    "/passport/user", // passport; an object, if the app serializes one
    "/passport/user/id",
    "/passport/user/_id",
    "/_auth_user_id",               // Django
    "/_user_id",                    // Flask-Login
    "/session/AIOHTTP_SECURITY",    // aiohttp-security
    "/login_web_*",                 // Laravel, guard `web`
    "/warden.user.*.key/0/0",       // Devise: [[id], salt]
    "/warden.user.*.key/1/0",       // Devise before 2.1: [class, [id], salt]
    "/warden.user.*.key",           // Warden
    "/value/warden.user.*.key/0/0", // the same in Rails' cache
    "/value/warden.user.*.key/1/0",
    "/value/warden.user.*.key",
    "/actix_identity.user_id",                // actix-identity
    "/1/axum-login.data/user_id",             // axum-login on tower-sessions
    "/message/auth_web",                      // AdonisJS
    "/__id",                                  // Yii 2
    "/Auth/User/id",                          // CakePHP 2 and 3
    "/Auth/id",                               // CakePHP 4 and 5
    "/_sf2_attributes/_security_*/2/0/email", // Symfony: the user within the token
    "/_sf2_attributes/_security_*/2/0/username",
    "/_sf2_attributes/_security_*/2/0/id",
];

/// Below which a library keeps what the app gives it.
const BASES: &[&str] = &[
    "",
    "/_sf2_attributes", // Symfony, Drupal
    "/session",         // aiohttp-session
    "/data",
    "/1",            // tower-sessions: [id, data, expiry]
    "/managed_dict", // pyramid_redis_sessions
    "/m",            // pyramid_session_redis
    "/item",         // hapi's yar, on catbox-redis
    "/value",        // keyv, and Rails' cache as a session store
];

/// What apps call their user.
const USER_OF_APP: &[&str] = &[
    "/user_id",
    "/userId",
    "/userID",
    "/user/id",
    "/user/_id",
    "/user/user_id",
    "/user/userId",
    "/user/sub",
    "/user",
    "/uid",
    "/account_id",
    "/user/username",
    "/user/email",
    "/username",
];

/// What apps call the client's address.
const IP_OF_APP: &[&str] =
    &["/ip", "/ip_address", "/ipAddress", "/client_ip", "/clientIp", "/remote_addr", "/REMOTE_ADDR"];

/// Where a library keeps the time of creation.
const CREATED_OF_LIBRARY: &[&str] = &[
    "/_sf2_meta/c",    // Symfony
    "/_creation_time", // Beaker
];

/// What apps, and some libraries, call the time of creation.
const CREATED_OF_APP: &[&str] = &["/created_at", "/createdAt", "/created"];

/// The places asked for, as a tree of their steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Places {
    nodes: Vec<Node>,
}

/// A step, after all those that lead to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    children: Vec<(Step, usize)>,
    /// What is here, if a path ends here.
    ends: Vec<End>,
}

/// What is at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub wanted: Wanted,
    /// Of several places that have something, the one of the lowest rank counts.
    pub rank: usize,
    /// Of several values at this place, the first counts: the path has a pattern. Otherwise the last does, since a key
    /// that is there twice takes the place of itself.
    pub first: bool,
}

impl Places {
    /// The root of the tree: the value itself.
    pub(super) const ROOT: usize = 0;

    /// These places, and the known ones for what has none.
    pub(super) fn new(user: Option<&Path>, ip: Option<&Path>, created: Option<&Path>) -> Self {
        let mut places = Self { nodes: vec![Node::default()] };
        for (wanted, path, library, app) in [
            (Wanted::User, user, USER_OF_LIBRARY, USER_OF_APP),
            (Wanted::Ip, ip, &[][..], IP_OF_APP),
            (Wanted::Created, created, CREATED_OF_LIBRARY, CREATED_OF_APP),
        ] {
            let known = || known(library, app);
            let paths = path.map_or_else(known, |path| vec![path.clone()]);
            for (rank, path) in paths.iter().enumerate() {
                places.add(path, End { wanted, rank, first: path.is_pattern() });
            }
        }
        places
    }

    fn add(&mut self, path: &Path, end: End) {
        let mut at = Self::ROOT;
        for step in path.steps() {
            let there = self.nodes[at].children.iter().find(|(known, _)| known == step).map(|&(_, node)| node);
            at = there.unwrap_or_else(|| {
                let new = self.nodes.len();
                self.nodes.push(Node::default());
                self.nodes[at].children.push((step.clone(), new));
                new
            });
        }
        self.nodes[at].ends.push(end);
    }

    /// The steps from here on.
    pub(super) fn children(&self, node: usize) -> &[(Step, usize)] {
        &self.nodes[node].children
    }

    /// What is here.
    pub(super) fn ends(&self, node: usize) -> &[End] {
        &self.nodes[node].ends
    }
}

/// The known places, the surest first.
fn known(library: &[&str], app: &[&str]) -> Vec<Path> {
    let of_app = BASES.iter().flat_map(|base| app.iter().map(move |name| format!("{base}{name}")));
    let all = library.iter().map(|&place| place.to_owned()).chain(of_app);
    // A test reads every one of them.
    all.filter_map(|place| place.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_place_is_a_path() {
        for (library, app) in [(USER_OF_LIBRARY, USER_OF_APP), (&[], IP_OF_APP), (CREATED_OF_LIBRARY, CREATED_OF_APP)] {
            assert_eq!(known(library, app).len(), library.len() + BASES.len() * app.len());
        }
    }

    #[test]
    fn paths_share_their_steps() {
        let path = |text: &str| Some(text.parse().unwrap());
        let places = Places::new(path("/a/b").as_ref(), path("/a/*").as_ref(), path("/a/b").as_ref());
        assert_eq!(places.nodes.len(), 4);
        let ends: Vec<_> = places.nodes.iter().map(|node| node.ends.len()).collect();
        assert_eq!(ends, [0, 0, 2, 1]);
    }
}
