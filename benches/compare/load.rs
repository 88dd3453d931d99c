//! The load generator: keep-alive connections on one thread, each with one request under way.
//!
//! It speaks to either side of a comparison in the same way, so that what it costs itself is equal for both.

use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::Result;

/// Bytes that one answer may have; every answer here is far smaller.
const RECEIVE_BUFFER: usize = 16 * 1024;

/// What one connection says, and how it understands the answers.
pub trait Exchange: Send + 'static {
    /// Appends the next request to `out`; false if there is none left.
    fn ask(&mut self, out: &mut Vec<u8>) -> bool;

    /// Judges what has been received since the request was sent.
    fn judge(&mut self, received: &[u8]) -> Answer;
}

/// What was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// There is more to come.
    Incomplete,
    /// What was asked for.
    Good,
    /// Anything else.
    Bad,
}

/// What a load came to.
pub struct Load {
    /// Requests answered as they should be.
    pub done: u64,
    /// Requests refused, or lost with their connection.
    pub failed: u64,
    /// From the first request to the last answer.
    pub took: Duration,
    /// Of each request done, sorted; microseconds.
    latencies: Vec<u32>,
}

impl Load {
    /// A load of so many microseconds for each request done.
    pub fn of(mut latencies: Vec<u32>, failed: u64, took: Duration) -> Self {
        latencies.sort_unstable();
        Self { done: latencies.len() as u64, failed, took, latencies }
    }

    /// Requests done a second.
    pub fn per_second(&self) -> f64 {
        crate::measure::per_second(self.done, self.took)
    }

    /// The latency that 99 % of the requests stay within, in seconds.
    pub fn p99(&self) -> f64 {
        let index = (self.latencies.len() * 99 / 100).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(index).map_or(f64::NAN, |micros| f64::from(*micros) / 1e6)
    }
}

/// Puts `target` under load: one connection for each of `exchanges`, until they have nothing left to ask or `limit`
/// has passed. Gives them back with what the load came to.
pub fn run<E: Exchange>(target: SocketAddr, exchanges: Vec<E>, limit: Duration) -> Result<(Load, Vec<E>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let started = Instant::now();
        let mut connections = JoinSet::new();
        for exchange in exchanges {
            connections.spawn(converse(target, exchange, started + limit));
        }
        let (mut exchanges, mut latencies, mut failed) = (Vec::new(), Vec::new(), 0);
        while let Some(joined) = connections.join_next().await {
            let (exchange, of_one, failed_of_one) = joined??;
            exchanges.push(exchange);
            latencies.extend(of_one);
            failed += failed_of_one;
        }
        Ok((Load::of(latencies, failed, started.elapsed()), exchanges))
    })
}

/// [`run`] on a thread of its own, for what is to happen meanwhile.
pub fn start<E: Exchange>(
    target: SocketAddr,
    exchanges: Vec<E>,
    limit: Duration,
) -> JoinHandle<Result<(Load, Vec<E>)>> {
    thread::spawn(move || run(target, exchanges, limit))
}

async fn converse<E: Exchange>(target: SocketAddr, mut exchange: E, end: Instant) -> Result<(E, Vec<u32>, u64)> {
    let (mut latencies, mut failed) = (Vec::new(), 0);
    let (mut request, mut received) = (Vec::new(), vec![0; RECEIVE_BUFFER]);
    let mut connection = connect(target).await?;
    while Instant::now() < end {
        request.clear();
        if !exchange.ask(&mut request) {
            break;
        }
        let asked = Instant::now();
        match one_exchange(&mut connection, &request, &mut received, &mut exchange).await {
            Ok(Answer::Good) => latencies.push(micros(asked)),
            Ok(_) => failed += 1,
            Err(_) => {
                failed += 1;
                connection = connect(target).await?;
            }
        }
    }
    Ok((exchange, latencies, failed))
}

/// Microseconds since then.
pub fn micros(then: Instant) -> u32 {
    u32::try_from(then.elapsed().as_micros()).unwrap_or(u32::MAX)
}

async fn connect(target: SocketAddr) -> Result<TcpStream> {
    let connection = TcpStream::connect(target).await?;
    connection.set_nodelay(true)?;
    Ok(connection)
}

async fn one_exchange<E: Exchange>(
    connection: &mut TcpStream,
    request: &[u8],
    received: &mut [u8],
    exchange: &mut E,
) -> std::io::Result<Answer> {
    connection.write_all(request).await?;
    let mut length = 0;
    loop {
        // A full buffer reads as an end of the stream: an error too.
        match connection.read(&mut received[length..]).await? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            more => length += more,
        }
        match exchange.judge(&received[..length]) {
            Answer::Incomplete => {}
            answer => return Ok(answer),
        }
    }
}
