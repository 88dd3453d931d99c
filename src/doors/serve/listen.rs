//! Listening sockets.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, thread};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::runtime::LocalOptions;
use tokio::sync::oneshot;

use super::event_loop::Open;
use super::permits::Permits;
use super::{Protocol, Serving, Surroundings, event_loop};
use crate::config::settings::Address;
use crate::metrics::labels::Label;

/// Connections that the kernel completes ahead of `accept`: the usual cap of Linux (`net.core.somaxconn`).
pub(super) const BACKLOG: u16 = 4_096;

/// Rights on a Unix socket: who may connect is decided by its owner and group.
const SOCKET_MODE: u32 = 0o660;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody listens there already.
    #[error("another process already does; stop it, or change the key")]
    Taken,
    /// A file that is no socket stands in the way.
    #[error("there is a file of that name, and it is not a socket")]
    NotASocket,
    /// Anything else that the system says.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// An accept queue.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(std::net::TcpListener),
    Unix(UnixListener),
}

/// Sockets that clients can already connect to, and nobody serves yet.
#[derive(Debug)]
pub struct Bound {
    queues: Vec<Listener>,
    address: Address,
    socket_file: Option<SocketFile>,
}

/// Listens on `address`, for so many event loops. Port 0 means any free port: [`Bound::address`] tells which.
///
/// # Errors
/// If the address is taken or not usable.
pub fn bind(address: &Address, event_loops: usize) -> Result<Bound, BindError> {
    let event_loops = event_loops.max(1);
    match address {
        Address::Tcp(address) => bind_tcp(*address, event_loops).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => BindError::Taken,
            _ => BindError::Io(error),
        }),
        Address::Unix(path) => bind_unix(path, event_loops),
    }
}

impl Bound {
    /// Where clients find it, with the port that was chosen.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Starts one event loop for each accept queue.
    ///
    /// # Errors
    /// If a thread or a runtime cannot be started; what was started before then drains with the signal.
    pub fn serve<P: Protocol>(self, protocol: &Arc<P>, surroundings: &Surroundings) -> io::Result<Serving> {
        let limits = surroundings.limits;
        let permits = Arc::new(Permits::new(limits.connections, limits.connections_per_peer));
        let open = Open::new();
        let mut loops = Vec::with_capacity(self.queues.len());
        for (number, queue) in self.queues.into_iter().enumerate() {
            let (protocol, surroundings, permits) = (Arc::clone(protocol), surroundings.clone(), Arc::clone(&permits));
            let open = open.clone();
            let (finished, is_finished) = oneshot::channel();
            let (started, is_started) = std::sync::mpsc::sync_channel(1);
            let run = move || {
                let mut builder = tokio::runtime::Builder::new_current_thread();
                let runtime = match builder.enable_all().build_local(LocalOptions::default()) {
                    Ok(runtime) => runtime,
                    Err(error) => return drop(started.send(Err(error))),
                };
                let _ = started.send(Ok(()));
                runtime.block_on(event_loop::run(queue, protocol, surroundings, permits, open));
                let _ = finished.send(());
            };
            thread::Builder::new().name(format!("{}-{number}", P::DOOR.as_str())).spawn(run)?;
            is_started.recv().map_err(io::Error::other)??;
            loops.push(is_finished);
        }
        Ok(Serving { loops, address: self.address, socket_file: self.socket_file })
    }
}

fn bind_tcp(address: SocketAddr, event_loops: usize) -> io::Result<Bound> {
    let shared = event_loops > 1;
    if shared && address.port() != 0 {
        // With SO_REUSEPORT the kernel would let a second process of the same user share the port, and hand it half
        // of the clients. A socket without the option meets the refusal.
        tcp_socket(address, false)?;
    }
    let first = tcp_socket(address, shared)?;
    let chosen = first.local_addr()?.as_socket().unwrap_or(address);
    let mut sockets = vec![first];
    for _ in 1..event_loops {
        sockets.push(tcp_socket(chosen, shared)?);
    }
    for socket in &sockets {
        socket.listen(BACKLOG.into())?;
    }
    let queues = sockets.into_iter().map(|socket| Listener::Tcp(socket.into())).collect();
    Ok(Bound { queues, address: Address::Tcp(chosen), socket_file: None })
}

fn tcp_socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // Connections of a former run that are still in TIME_WAIT do not count as taken.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    // Like what follows, its connections get it from their listener: one system call less for each.
    socket.set_tcp_nodelay(true)?;
    if address.ip().is_loopback() {
        // On loopback nothing is ever congested, and what the usual algorithms keep count
        // of is in vain: without BBR a look-up costs 4 to 6 % less. Reno is in every kernel, and where it may not be
        // chosen, things are just as they would be.
        let _ = socket.set_tcp_congestion(b"reno");
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A socket file of ours. It is removed when this is dropped, unless another process has replaced it.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn bind_unix(path: &Path, event_loops: usize) -> Result<Bound, BindError> {
    remove_stale(path)?;
    let (listener, socket_file) = unix_listener(path)?;
    // A Unix socket has one queue; the loops take turns at it.
    let mut queues = Vec::with_capacity(event_loops);
    for _ in 1..event_loops {
        queues.push(Listener::Unix(listener.try_clone()?));
    }
    queues.push(Listener::Unix(listener));
    Ok(Bound { queues, address: Address::Unix(path.to_owned()), socket_file: Some(socket_file) })
}

fn unix_listener(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = fs::symlink_metadata(path)?;
    let socket_file = SocketFile { path: path.to_owned(), identity: (file.dev(), file.ino()) };
    // Nobody can connect before `listen`, so nobody slips in under wider rights.
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    socket.listen(BACKLOG.into())?;
    Ok((socket.into(), socket_file))
}

/// Removes a socket file that a killed process left behind. One that somebody listens on stays.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if !file.file_type().is_socket() {
        return Err(BindError::NotASocket);
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(fs::remove_file(path)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error.into()),
        _ => Err(BindError::Taken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_do_not_wait_for_more_to_send() {
        let listener = tcp_socket("127.0.0.1:0".parse().unwrap(), false).unwrap();
        listener.listen(1).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap().as_socket().unwrap()).unwrap();
        assert!(listener.accept().unwrap().0.tcp_nodelay().unwrap());
    }

    #[test]
    fn only_on_loopback_congestion_is_not_reckoned_with() {
        let algorithm = |address: &str| {
            let socket = tcp_socket(address.parse().unwrap(), false).unwrap();
            let name = socket.tcp_congestion().unwrap();
            String::from_utf8(name).unwrap().trim_end_matches('\0').to_owned()
        };
        let usual = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap().tcp_congestion().unwrap();
        assert_eq!(algorithm("127.0.0.1:0"), "reno");
        assert_eq!(algorithm("0.0.0.0:0"), String::from_utf8(usual).unwrap().trim_end_matches('\0'));
    }
}
