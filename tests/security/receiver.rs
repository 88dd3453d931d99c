//! The app's end of a hook: takes notices, and answers as it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// A listener, and every request that it was sent, as it came.
pub struct HookReceiver {
    pub address: SocketAddr,
    requests: Receiver<String>,
}

impl HookReceiver {
    /// Answers the first requests with these, the last of them for ever. An empty answer hangs up.
    pub fn new<A: Into<String>>(answers: impl IntoIterator<Item = A>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let mut answers: Vec<String> = answers.into_iter().map(Into::into).collect();
        let (seen, requests) = mpsc::channel();
        thread::spawn(move || {
            // One answer a connection.
            for stream in listener.incoming().map_while(Result::ok) {
                let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
                let Ok(request) = take(&stream) else { continue };
                let _ = (&stream).write_all(answer.as_bytes());
                if seen.send(request).is_err() {
                    return;
                }
            }
        });
        Self { address, requests }
    }

    /// The next request.
    #[track_caller]
    pub fn next(&self) -> String {
        self.requests.recv_timeout(PATIENCE).expect("a notice comes")
    }

    /// Whether there was none beside those that were taken.
    pub fn is_quiet(&self) -> bool {
        self.requests.try_recv().is_err()
    }
}

/// An answer with nothing in it.
pub fn answer(status: &str, header: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{header}Content-Length: 0\r\nConnection: close\r\n\r\n")
}

fn take(stream: &TcpStream) -> std::io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let start = head.len();
        reader.read_line(&mut head)?;
        let line = head[start..].to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(head + &String::from_utf8(body).expect("JSON is UTF-8"))
}
