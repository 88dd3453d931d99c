//! A port that leads to a socket, and can hold back what comes from there: to interrupt a client at a place that the
//! test chooses.

use std::io::{Read, Write, copy};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How long it may take until the client has read so much.
const DEADLINE: Duration = Duration::from_secs(60);

/// A port that leads to a socket.
pub struct Proxy {
    address: SocketAddr,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Bytes that may still come; `None`: any number.
    left: Option<usize>,
    is_holding: bool,
}

impl Proxy {
    /// Opens a port. Whatever listens on the socket is looked for anew by each connection.
    pub fn to(socket: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let gate = Arc::new(Gate::default());
        let (ours, socket) = (Arc::clone(&gate), socket.to_owned());
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (gate, socket) = (Arc::clone(&ours), socket.clone());
                thread::spawn(move || lead(&client, &socket, &gate));
            }
        });
        Self { address, gate }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets so many more bytes come, and holds the rest back.
    pub fn hold_after(&self, bytes: usize) {
        self.gate.change(|state| *state = State { left: Some(bytes), is_holding: false });
    }

    /// Waits until it holds something back.
    #[track_caller]
    pub fn await_hold(&self) {
        let state = self.gate.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.gate.changed.wait_timeout_while(state, DEADLINE, |state| !state.is_holding);
        assert!(waited.unwrap_or_else(PoisonError::into_inner).0.is_holding, "the client has not read so much");
    }

    /// Lets everything come from now on.
    pub fn open(&self) {
        self.gate.change(|state| *state = State::default());
    }
}

/// Connections that are held back end with it.
impl Drop for Proxy {
    fn drop(&mut self) {
        self.open();
    }
}

impl Gate {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    fn pass(&self, bytes: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(left) = state.left {
            if left >= bytes {
                state.left = Some(left - bytes);
                return;
            }
            state.is_holding = true;
            self.changed.notify_all();
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn lead(client: &TcpStream, socket: &PathBuf, gate: &Gate) {
    // Without a server the client sees its connection close.
    let Ok(mut server) = UnixStream::connect(socket) else { return };
    let (Ok(mut from), Ok(mut to)) = (client.try_clone(), server.try_clone()) else { return };
    thread::spawn(move || {
        let _ = copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    let mut buffer = vec![0; 16 * 1024];
    let mut client = client;
    while let Ok(count @ 1..) = server.read(&mut buffer) {
        gate.pass(count);
        if client.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
}
