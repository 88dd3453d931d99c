//! A server that answers without looking: how far a generator lets others get.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::Result;
use crate::exchanges::{bulk, command};

/// More than a generator sends before it waits.
const RECEIVE_BUFFER: usize = 16 * 1024;

/// Serves until the process ends, on one thread: as many answers with `value` as `GET`s of keys as long as `key` fit into
/// what was received, and one at least.
pub fn serve(key: &str, value: &[u8]) -> Result<SocketAddr> {
    let (mut request, mut answer) = (Vec::new(), Vec::new());
    command(&mut request, &[b"GET", key.as_bytes()]);
    bulk(&mut answer, value);
    let answers: Arc<[u8]> = answer.repeat(RECEIVE_BUFFER / request.len()).into();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    let (request, answer) = (request.len(), answer.len());
    thread::spawn(move || {
        runtime.block_on(async {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(answer_all(client, request, answer, Arc::clone(&answers)));
            }
        });
    });
    Ok(address)
}

async fn answer_all(mut client: TcpStream, request: usize, answer: usize, answers: Arc<[u8]>) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut received = vec![0; RECEIVE_BUFFER];
    loop {
        match client.read(&mut received).await? {
            0 => return Ok(()),
            count => client.write_all(&answers[..(count / request).max(1) * answer]).await?,
        }
    }
}
