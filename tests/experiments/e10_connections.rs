//! E10: clients who do nothing, who send a byte now and then, and who do not read, through the Redis door. Others hardly
//! notice, memory stays bounded, and they are shown the door.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::door::{Client, address};
use super::{p99, sized, until};
use crate::resp::request;
use crate::support::sidecar::{Place, Sidecar};

const CONFIG: &str = "
listen: { api: 127.0.0.1:0, admin: 127.0.0.1:0, redis: 127.0.0.1:0 }
limits: { creation_per_ip: null }
log: { level: info }
";

/// What one connection may cost in memory: its buffers, and those of who does not read, with room for the allocator.
const BYTES_A_CONNECTION: f64 = 24.0 * 1024.0;
/// Answers that one who does not read has asked for: far more than the kernel's buffers take.
const UNREAD: usize = 400;
/// A request is to be whole within 30 s, and an answer to be taken within 10 s.
const REAPED: Duration = Duration::from_secs(45);

/// Times look-ups one after another; the median of the 99th percentiles of five rounds.
fn look_ups(client: &mut Client) -> Duration {
    let mut rounds: Vec<_> = (0..5)
        .map(|_| {
            let mut times: Vec<_> = (0..sized(400, 4_000))
                .map(|_| {
                    let began = Instant::now();
                    assert!(client.call(&[b"GET", b"sess:1"]).ends_with(b"here\r\n"));
                    began.elapsed()
                })
                .collect();
            p99(&mut times)
        })
        .collect();
    rounds.sort_unstable();
    rounds[2]
}

fn resident(sidecar: &Sidecar) -> f64 {
    sidecar.metric("process_resident_memory_bytes")
}

#[test]
fn idle_slow_and_deaf_clients_cost_others_little_and_are_closed() {
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files })
        .expect("a process may use what it is allowed");
    let (idle, slow, deaf): (u32, u32, u32) = (sized(300, 10_000), sized(100, 2_000), sized(10, 100));
    let sidecar = Place::new(CONFIG).start();
    let door = address(&sidecar);
    let mut client = Client::connect(door);
    assert_eq!(client.call(&[b"SET", b"sess:1", b"here"]), b"+OK\r\n");
    let large = vec![b'x'; 60_000];
    assert_eq!(client.call(&[b"SET", b"sess:large", &large]), b"+OK\r\n");
    let alone = look_ups(&mut client);
    let before = resident(&sidecar);

    let connect = || TcpStream::connect(door).expect("there is room");
    let idlers: Vec<_> = (0..idle).map(|_| connect()).collect();
    let mut dribblers: Vec<_> = (0..slow).map(|_| connect()).collect();
    for dribbler in &mut dribblers {
        dribbler.write_all(b"*2\r\n$3\r\nGE").expect("it is read");
    }
    let mut deafs: Vec<_> = (0..deaf).map(|_| connect()).collect();
    let look_up = request(&["GET", "sess:large"]);
    for one in &mut deafs {
        one.write_all(&look_up.repeat(UNREAD)).expect("it is read");
    }
    // One byte more, so that the time of a request is seen to run from its first.
    for dribbler in &mut dribblers {
        dribbler.write_all(b"T").expect("it is read");
    }
    let crowded = look_ups(&mut client);
    let grown = (resident(&sidecar) - before) / f64::from(idle + slow + deaf);

    let open = || sidecar.count("sessgate_connections{door=\"redis\"}");
    let ((), took) =
        until(REAPED, "slow and deaf clients are closed", || (open() <= u64::from(idle) + 1).then_some(()));
    for mut one in dribblers.into_iter().chain(deafs) {
        one.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout can be set");
        let mut rest = Vec::new();
        // Whatever had been sent may still be there; then comes the end, or a reset.
        let _ = one.read_to_end(&mut rest);
    }
    let ((), _) =
        until(Duration::from_secs(5), "those who only wait stay", || (open() == u64::from(idle) + 1).then_some(()));
    drop(idlers);
    println!(
        "E10 idle={idle} slow={slow} deaf={deaf} p99_alone={alone:.0?} p99_crowded={crowded:.0?} bytes_a_connection={grown:.0} \
         reaped_after={took:.1?}"
    );
    // Below a few milliseconds it is the machine that is measured.
    assert!(crowded <= (alone * 2).max(Duration::from_millis(5)), "{crowded:?} beside {alone:?}");
    assert!(grown <= BYTES_A_CONNECTION, "{grown:.0} bytes a connection");
    assert_eq!(client.call(&[b"PING"]), b"+PONG\r\n");
    drop(client);
    sidecar.stop();
}
