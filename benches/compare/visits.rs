//! Short connections, as of apps that start a process for a request: connect, AUTH, GET, close.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

use crate::Result;
use crate::exchanges::{bulk, command, compare};
use crate::load::{Answer, Load, micros};

/// What a visitor says, and what it has to hear.
pub struct Visit {
    steps: [(Vec<u8>, Vec<u8>); 2],
}

impl Visit {
    /// Gives the password and gets a key, which has this value.
    pub fn new(password: &str, key: &str, value: &[u8]) -> Arc<Self> {
        let (mut auth, mut get, mut got) = (Vec::new(), Vec::new(), Vec::new());
        command(&mut auth, &[b"AUTH", password.as_bytes()]);
        command(&mut get, &[b"GET", key.as_bytes()]);
        bulk(&mut got, value);
        Arc::new(Self { steps: [(auth, b"+OK\r\n".to_vec()), (get, got)] })
    }
}

/// Pays `each` visits from each of `visitors` who are there at the same time.
///
/// Who closes first keeps its port in `TIME_WAIT` for a minute. So every visitor comes from a loopback address of its
/// own, each of which has as many ports as one alone would.
pub fn run(target: SocketAddr, visit: &Arc<Visit>, visitors: u8, each: u64) -> Result<Load> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let started = Instant::now();
        let mut all = JoinSet::new();
        for visitor in 0..visitors {
            let (visit, from) = (Arc::clone(visit), Ipv4Addr::new(127, 0, 1, visitor + 1));
            all.spawn(async move {
                let (mut latencies, mut failed) = (Vec::new(), 0);
                for _ in 0..each {
                    let began = Instant::now();
                    if pay(target, from, &visit).await? {
                        latencies.push(micros(began));
                    } else {
                        failed += 1;
                    }
                }
                Ok::<_, crate::Failure>((latencies, failed))
            });
        }
        let (mut latencies, mut failed) = (Vec::new(), 0);
        while let Some(joined) = all.join_next().await {
            let (of_one, failed_of_one) = joined??;
            latencies.extend(of_one);
            failed += failed_of_one;
        }
        Ok(Load::of(latencies, failed, started.elapsed()))
    })
}

/// One visit; false if it heard something else than it has to.
async fn pay(target: SocketAddr, from: Ipv4Addr, visit: &Visit) -> Result<bool> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let mut connection = socket.connect(target).await?;
    connection.set_nodelay(true)?;
    let mut received = [0; 1024];
    for (request, answer) in &visit.steps {
        connection.write_all(request).await?;
        let mut length = 0;
        loop {
            match connection.read(&mut received[length..]).await? {
                0 => return Ok(false),
                more => length += more,
            }
            match compare(&received[..length], answer) {
                Answer::Incomplete => {}
                Answer::Good => break,
                Answer::Bad => return Ok(false),
            }
        }
    }
    Ok(true)
}
