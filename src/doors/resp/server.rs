//! What a client may ask about the server: `HELLO`, `INFO`, `COMMAND`.

use std::io::Write as _;

use super::command::Name;
use super::frame::Arguments;
use super::reply::{Protocol, REDIS_VERSION, Writer};

/// The figures of the server that clients and their operators look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Our own version.
    pub version: String,
    /// Which store it has.
    pub store_id: String,
    /// The process.
    pub process_id: u32,
    /// The port of this door; 0 if it is no TCP port.
    pub port: u16,
    /// How long it has been running.
    pub uptime_seconds: u64,
    /// Connections there are.
    pub clients: u64,
    /// Bytes that the process has in memory.
    pub memory_bytes: u64,
    /// Connections there were.
    pub connections_received: u64,
    /// Commands there were.
    pub commands_processed: u64,
    /// Each key space in use: its number, how many keys it has, and how many of them have a time to live.
    pub databases: Vec<(i32, u64, u64)>,
}

/// A part of `INFO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Versions, process, uptime.
    Server,
    /// Connections.
    Clients,
    /// Memory.
    Memory,
    /// That nothing is being loaded: some clients wait for it.
    Persistence,
    /// What has been done so far.
    Stats,
    /// That this is no replica.
    Replication,
    /// That this is no cluster.
    Cluster,
    /// How many keys there are.
    Keyspace,
}

impl Section {
    /// Every one, in the order of `INFO`.
    pub const ALL: [Self; 8] = [
        Self::Server,
        Self::Clients,
        Self::Memory,
        Self::Persistence,
        Self::Stats,
        Self::Replication,
        Self::Cluster,
        Self::Keyspace,
    ];

    const fn title(self) -> &'static str {
        match self {
            Self::Server => "Server",
            Self::Clients => "Clients",
            Self::Memory => "Memory",
            Self::Persistence => "Persistence",
            Self::Stats => "Stats",
            Self::Replication => "Replication",
            Self::Cluster => "Cluster",
            Self::Keyspace => "Keyspace",
        }
    }

    /// Whether a client wants it that asks for these sections. Those we do not have are left out, as Redis does.
    fn is_wanted(self, asked: Arguments<'_>) -> bool {
        let names = [self.title(), "default", "all", "everything"];
        let fits = |asked: &[u8]| names.iter().any(|name| asked.eq_ignore_ascii_case(name.as_bytes()));
        asked.is_empty() || asked.iter().any(fits)
    }

    fn write(self, about: &About, out: &mut Vec<u8>) -> std::io::Result<()> {
        write!(out, "# {}\r\n", self.title())?;
        match self {
            Self::Server => {
                write!(out, "redis_version:{REDIS_VERSION}\r\nredis_mode:standalone\r\n")?;
                write!(out, "process_id:{}\r\ntcp_port:{}\r\n", about.process_id, about.port)?;
                write!(out, "executable:sessgate {}\r\nstore_id:{}\r\n", about.version, about.store_id)?;
                let days = about.uptime_seconds / (24 * 60 * 60);
                write!(out, "uptime_in_seconds:{}\r\nuptime_in_days:{days}\r\n", about.uptime_seconds)
            }
            Self::Clients => write!(out, "connected_clients:{}\r\nblocked_clients:0\r\n", about.clients),
            Self::Memory => write!(out, "used_memory:{}\r\nmaxmemory_policy:noeviction\r\n", about.memory_bytes),
            Self::Persistence => write!(out, "loading:0\r\n"),
            Self::Stats => {
                write!(out, "total_connections_received:{}\r\n", about.connections_received)?;
                write!(out, "total_commands_processed:{}\r\n", about.commands_processed)
            }
            Self::Replication => write!(out, "role:master\r\nconnected_slaves:0\r\n"),
            Self::Cluster => write!(out, "cluster_enabled:0\r\n"),
            Self::Keyspace => {
                let line = |(number, keys, expires): &(i32, u64, u64)| {
                    write!(out, "db{number}:keys={keys},expires={expires},avg_ttl=0\r\n")
                };
                about.databases.iter().try_for_each(line)
            }
        }
    }
}

/// Answers `INFO` for these sections.
pub fn info(to: &mut Writer<'_>, about: &About, sections: Arguments<'_>) {
    to.verbatim_by(|out| {
        let begin = out.len();
        for section in Section::ALL.into_iter().filter(|section| section.is_wanted(sections)) {
            if out.len() > begin {
                out.extend_from_slice(b"\r\n");
            }
            // Writing to a vector cannot fail.
            let _ = section.write(about, out);
        }
    });
}

/// Answers `HELLO`, in the protocol that it has agreed to.
pub fn hello(to: &mut Writer<'_>, connection: i64) {
    let version = if to.protocol() == Protocol::Resp3 { 3 } else { 2 };
    to.map(7);
    for (key, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        to.bulk(key.as_bytes());
        to.bulk(value.as_bytes());
    }
    for (key, value) in [("proto", version), ("id", connection)] {
        to.bulk(key.as_bytes());
        to.integer(value);
    }
    for (key, value) in [("mode", "standalone"), ("role", "master")] {
        to.bulk(key.as_bytes());
        to.bulk(value.as_bytes());
    }
    to.bulk(b"modules");
    to.array(0);
}

/// Answers `COMMAND COUNT`: how many commands there are, those with subcommands counted once.
pub fn command_count(to: &mut Writer<'_>) {
    to.count(Name::ALL.iter().filter(|name| !name.full_name().contains('|')).count());
}

/// Answers `COMMAND INFO`: nothing is told about any command. Clients that look do well without.
pub fn command_info(to: &mut Writer<'_>, names: Arguments<'_>) {
    to.array(names.len());
    for _ in names.iter() {
        to.null_array();
    }
}
