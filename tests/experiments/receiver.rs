//! An app's endpoint for notices: up, down or hanging, as an experiment wants it.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

/// What the endpoint does with a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Takes it.
    Up,
    /// Accepts connections, reads what comes, and never answers.
    Hanging,
}

/// What was received.
#[derive(Debug, Default)]
pub struct Received {
    /// Notices, by session: how often each came.
    pub sessions: HashMap<String, u64>,
    /// The event of each session.
    pub events: HashMap<String, String>,
    /// What was wrong with a notice.
    pub faults: Vec<String>,
    /// Requests that hang.
    pub hanging: u64,
}

/// The endpoint. While it is down, its port refuses connections.
pub struct Receiver {
    address: SocketAddr,
    state: Arc<State>,
    listening: Option<(Arc<AtomicBool>, thread::JoinHandle<()>)>,
}

struct State {
    key: Vec<u8>,
    received: Mutex<Received>,
    news: Condvar,
}

impl Receiver {
    /// An endpoint that is down.
    pub fn down(key: &[u8]) -> Self {
        // The port stays ours: it was given to a listener once and is asked for again.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let state = State { key: key.to_vec(), received: Mutex::default(), news: Condvar::new() };
        Self { address, state: Arc::new(state), listening: None }
    }

    /// Where notices go.
    pub fn url(&self) -> String {
        format!("http://{}/session-closed", self.address)
    }

    /// Starts to listen.
    pub fn listen(&mut self, mode: Mode) {
        self.stop();
        let listener = TcpListener::bind(self.address).expect("the port is free");
        let open = Arc::new(AtomicBool::new(true));
        let (state, still_open) = (Arc::clone(&self.state), Arc::clone(&open));
        let thread = thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if !still_open.load(Ordering::SeqCst) {
                    return;
                }
                let (state, still_open) = (Arc::clone(&state), Arc::clone(&still_open));
                thread::spawn(move || state.serve(stream, mode, &still_open));
            }
        });
        self.listening = Some((open, thread));
    }

    /// Goes down.
    pub fn stop(&mut self) {
        if let Some((open, thread)) = self.listening.take() {
            open.store(false, Ordering::SeqCst);
            // Wakes the thread up, which then closes the port.
            let _ = TcpStream::connect(self.address);
            thread.join().expect("the endpoint has not panicked");
        }
    }

    /// What came so far.
    pub fn received(&self) -> MutexGuard<'_, Received> {
        self.state.received()
    }

    /// Waits until what came is as wanted. False if that takes too long.
    pub fn wait(&self, deadline: Duration, mut wanted: impl FnMut(&Received) -> bool) -> bool {
        let waited = self.state.news.wait_timeout_while(self.received(), deadline, |received| !wanted(received));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop();
    }
}

impl State {
    fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut stream: TcpStream, mode: Mode, open: &AtomicBool) {
        let mut bytes = Vec::new();
        while let Some((headers, body)) = read_request(&mut stream, &mut bytes) {
            if !open.load(Ordering::SeqCst) {
                return;
            }
            if mode == Mode::Hanging {
                self.received().hanging += 1;
                self.news.notify_all();
                // Until the other side gives up.
                let _ = stream.read(&mut [0; 64]);
                return;
            }
            self.take(&headers, &body);
            self.news.notify_all();
            if stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").is_err() {
                return;
            }
        }
    }

    fn take(&self, headers: &HashMap<String, String>, body: &[u8]) {
        let notice: Value = serde_json::from_slice(body).unwrap_or_default();
        let mut received = self.received();
        let field = |name: &str| notice[name].as_str().unwrap_or_default().to_owned();
        let (session, event) = (field("id"), field("event_id"));
        let header = |name: &str| headers.get(name).map_or("", String::as_str);
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).unwrap();
        mac.update([header("webhook-id"), ".", header("webhook-timestamp"), "."].concat().as_bytes());
        mac.update(body);
        let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        if header("webhook-signature") != signature {
            received.faults.push(format!("{session}: not signed: {headers:?}"));
        }
        if header("webhook-id") != event {
            received.faults.push(format!("{session}: sent as {}, not as {event}", header("webhook-id")));
        }
        let known = received.events.entry(session.clone()).or_insert_with(|| event.clone()).clone();
        if known != event {
            received.faults.push(format!("{session}: event {known} and event {event}"));
        }
        *received.sessions.entry(session).or_default() += 1;
    }
}

/// The headers and the body of the next request; `None`: there is none.
fn read_request(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<(HashMap<String, String>, Vec<u8>)> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut headers);
        if let httparse::Status::Complete(head) = request.parse(bytes).ok()? {
            let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
            let headers: HashMap<_, _> =
                request.headers.iter().map(|header| (header.name.to_lowercase(), text(header.value))).collect();
            let end = head + headers.get("content-length")?.parse::<usize>().ok()?;
            if bytes.len() >= end {
                let body = bytes[head..end].to_vec();
                bytes.drain(..end);
                return Some((headers, body));
            }
        }
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&chunk[..count]);
    }
}
