//! P2: a look-up through the Redis door that memory answers, beside redis-server and Valkey; and the same by clients
//! that connect for every request.

use std::net::SocketAddr;
use std::time::Duration;

use super::{CONNECTIONS, Lab, ROOMY, sample};
use crate::Result;
use crate::exchanges::{DATA_BYTES, GetTogether, SetEach, bulk};
use crate::machine::{Program, REDIS, VALKEY};
use crate::measure::{Sample, Samples, as_f64, each, take_turns};
use crate::process::{Process, children_cpu};
use crate::report::{Bar, Row, Section, Unit, load_rows};
use crate::servers::{Durability, Redis, Sidecar, say};
use crate::{ceiling, load, redis_benchmark, visits};

/// As session libraries name them.
const KEY: &str = "sess:Zk4uQpVn0aHs2LwX9cYtRb7eGd1fMj5o";
/// The name of one of many, with a place for its number.
const ONE_OF_MANY: &str = "sess:Zk4uQpVn0aHs2LwX9cYt:__rand_int__";
/// How many there are: most of what memory holds by default.
const MANY: usize = 40_000;
/// What is asked for: what it is called in the report, the key, and how many of them there are.
const ASKED: [(&str, &str, usize); 2] = [("one key", KEY, 1), ("40,000 keys", ONE_OF_MANY, MANY)];
/// Connections that store them: many, so that many share a commit.
const LOADERS: usize = 500;
/// What they are stored by, or something is wrong.
const LOADING: Duration = Duration::from_secs(120);
const PEERS: [&Program; 2] = [&REDIS, &VALKEY];
/// Requests under way on a connection, how many a second keep a round near its length, and the bars of throughput and
/// processor time.
const PIPELINES: [(u64, u64, [Bar; 2]); 2] =
    [(1, 100_000, [Bar::AtLeast(1.0), Bar::None]), (16, 800_000, [Bar::AtLeast(1.5), Bar::AtMost(0.7)])];
/// Of the look-ups, rounds are short and there are so many times as many of them: then whatever the neighbours of a shared
/// machine do, for seconds at a time, meets all sides alike.
const SHORT: Duration = Duration::from_secs(1);
const SHORT_ROUNDS: usize = 3;
/// Threads of redis-benchmark that keep any of the servers busy.
const THREADS: usize = 2;
const PASSWORD: &str = "as long as the passwords that hosted servers make up";
/// Connections made and closed, for every second of a round: few enough for the ports that there are.
const VISITS_A_SECOND: u64 = 4_000;

/// The servers that take turns.
struct Sides {
    peers: [Redis; 2],
    ours: Vec<Sidecar>,
}

impl Sides {
    /// Starts both peers, and a sidecar for each number of event loops; stores the value in all of them.
    fn start(event_loops: &[usize], password: &str) -> Result<Self> {
        let [redis, valkey] = PEERS.map(|program| Redis::start_as(program, Durability::None, password));
        let password_of_ours = Some(password).filter(|password| !password.is_empty());
        let ours = event_loops.iter().map(|loops| Sidecar::start_with(*loops, ROOMY, password_of_ours));
        let sides = Self { peers: [redis?, valkey?], ours: ours.collect::<Result<_>>()? };
        for side in 0..sides.len() {
            sides.check(side, password, true)?;
        }
        Ok(sides)
    }

    fn len(&self) -> usize {
        self.peers.len() + self.ours.len()
    }

    /// One side: its process, and where it listens. The peers come first.
    fn get(&self, side: usize) -> (&Process, SocketAddr) {
        if let Some(peer) = self.peers.get(side) {
            return (&peer.process, peer.address);
        }
        let ours = &self.ours[side - self.peers.len()];
        (&ours.process, ours.redis)
    }

    /// Gets the value, which has to be there; stores it before, if told to.
    fn check(&self, side: usize, password: &str, store: bool) -> Result<()> {
        let value = value();
        let (mut commands, mut answer): (Vec<&[&[u8]]>, _) = (Vec::new(), Vec::new());
        let auth: [&[u8]; 2] = [b"AUTH", password.as_bytes()];
        let (set, get): ([&[u8]; 3], [&[u8]; 2]) = ([b"SET", KEY.as_bytes(), &value], [b"GET", KEY.as_bytes()]);
        if !password.is_empty() {
            commands.push(&auth);
            answer.extend_from_slice(b"+OK\r\n");
        }
        if store {
            commands.push(&set);
            answer.extend_from_slice(b"+OK\r\n");
        }
        commands.push(&get);
        bulk(&mut answer, &value);
        say(self.get(side).1, &commands, &answer)
    }
}

fn value() -> Vec<u8> {
    vec![b'x'; DATA_BYTES]
}

/// Puts ours beside each peer.
fn rows_of(case: &str, peers: [&[Sample]; 2], ours: &[Sample], bars: [Bar; 3]) -> Vec<Row> {
    let beside = |(program, peer): (&Program, &[Sample])| {
        let samples = Samples { peer: peer.to_vec(), ours: ours.to_vec() };
        let case = format!("{case}, beside {}", program.name);
        load_rows(&samples, bars).into_iter().map(move |row| row.of(&case)).collect::<Vec<_>>()
    };
    PEERS.into_iter().zip(peers).flat_map(beside).collect()
}

pub fn look_ups(lab: &mut Lab) -> Result<Section> {
    let rounds = lab.plan.rounds * if lab.plan.window > SHORT { SHORT_ROUNDS } else { 1 };
    let sides = Sides::start(&[1, 2], "")?;
    for side in 0..sides.len() {
        let (load, _) =
            load::run(sides.get(side).1, SetEach::share(ONE_OF_MANY, &value().into(), MANY, LOADERS), LOADING)?;
        if load.failed > 0 || load.done != MANY as u64 {
            return Err(format!("{} of {MANY} keys were stored, {} failed", load.done, load.failed).into());
        }
    }
    let (mut rows, mut by_redis_benchmark, mut of_two_loops) = (Vec::new(), Vec::new(), Vec::new());
    for (asked, key, keys) in ASKED {
        for (pipeline, a_second, bars) in PIPELINES {
            let case = case_of(asked, pipeline);
            let [redis, valkey, one_loop, two_loops] = take_turns(rounds, |side| {
                let (process, address) = sides.get(side);
                let clients = GetTogether::many(key, keys, &value(), usize::try_from(pipeline)?, CONNECTIONS);
                let taken = sample(process, || Ok(load::run(address, clients, SHORT)?.0))?;
                let (per_second, cpu) = (taken.per_second * as_f64(pipeline), each(taken.cpu, pipeline));
                Ok(Sample { per_second, cpu, ..taken })
            })?;
            let [throughput, cpu] = bars;
            rows.extend(rows_of(&case, [&redis, &valkey], &one_loop, [throughput, cpu, Bar::None]));
            let of_two = format!("two event loops, {case}");
            of_two_loops.extend(rows_of(&of_two, [&redis, &valkey], &two_loops, [Bar::None; 3]));
            by_redis_benchmark.extend(ask_by_redis_benchmark(
                rounds,
                &sides,
                &case,
                key,
                keys,
                (a_second * SHORT.as_secs(), pipeline, bars),
            )?);
        }
    }
    rows.extend(by_redis_benchmark);
    rows.extend(of_two_loops);
    let [(_, without, _), (_, with, _)] = PIPELINES;
    let seconds = SHORT.as_secs();
    Ok(Section {
        method: format!(
            "`GET` of {DATA_BYTES} bytes that are in memory, of one key again and again or of {MANY} at random, against \
             redis-server and Valkey without persistence, as they come: one thread each, asked in turn on {CONNECTIONS} \
             connections. One key measures the kernel's share, many what a gateway of sessions is for. Rounds are of \
             {seconds} s, and many, so that what the neighbours of a shared machine do meets all sides alike. First by our \
             own generator, which sends a pipeline in one piece, waits for all its answers and \
             compares them byte by byte: it needs less processor time than any of the servers, so that a server is what \
             is measured. Then by `redis-benchmark -c {CONNECTIONS}`, {} requests a round without a pipeline and {} with \
             one, whose one thread is busy nearly all the time: what it needs for an operation itself is in the table, \
             and bounds the throughput whoever answers. So does the last row of each case: it is \
             that of a server of a few lines that answers without looking, which shows how far the generator lets others \
             get: a server that is done sooner sleeps \
             more often, and redis-benchmark pays for waking it. With `--threads {THREADS}` redis-benchmark keeps every \
             server busy: there the processor time of a pipelined operation is without the sleeps. (The throughput then is \
             what two cores have left for three threads, and redis-benchmark tells it in steps of a quarter of a second.) \
             The bars are those of one event loop, because the generator has \
             the other core to itself then; two loops, for orientation, share it with the generator. The p99 of a \
             pipeline is that of all its requests together.",
            without * seconds,
            with * seconds,
        ),
        rows,
    })
}

/// The same by `redis-benchmark`, and what that needs itself.
fn ask_by_redis_benchmark(
    rounds: usize,
    sides: &Sides,
    case: &str,
    key: &str,
    keys: usize,
    (requests, pipeline, [throughput_bar, cpu_bar]): (u64, u64, [Bar; 2]),
) -> Result<Vec<Row>> {
    let most = ceiling::serve(key, &value())?;
    let taken: [Vec<(Sample, f64)>; 4] = take_turns(rounds, |side| {
        let (process, address) = if side < 3 { sides.get(side) } else { (sides.get(0).0, most) };
        let (before, of_the_generator) = (process.cpu()?, children_cpu()?);
        let report = redis_benchmark::get(address, key, keys, requests, pipeline, 1)?;
        let cpu = each(process.cpu()? - before, requests);
        let of_the_generator = each(children_cpu()? - of_the_generator, requests);
        if side < 3 {
            // The generator does not look at what it gets.
            sides.check(side, "", false)?;
        }
        Ok((Sample { per_second: report.per_second, cpu, p99: report.p99 }, of_the_generator))
    })?;
    let [of_redis, of_valkey, of_ours, _] = taken.each_ref().map(|taken| taken.iter().map(|it| it.1).collect());
    let [redis, valkey, ours, most] = taken.map(|taken| taken.into_iter().map(|it| it.0).collect::<Vec<_>>());
    let case = format!("redis-benchmark, {case}");
    let mut rows = rows_of(&case, [&redis, &valkey], &ours, [throughput_bar, cpu_bar, Bar::None]);
    let throughput = |samples: &[Sample]| samples.iter().map(|sample| sample.per_second).collect::<Vec<_>>();
    for ((program, peer), of_peer) in PEERS.into_iter().zip([redis, valkey]).zip([of_redis, of_valkey]) {
        let beside = format!("{case}, beside {}", program.name);
        let what = format!("{beside}: processor time of redis-benchmark an operation");
        rows.push(Row::new(what, Unit::Seconds, Bar::None, of_peer, Vec::clone(&of_ours)));
        let what = format!("{beside}: throughput of a server that answers without looking");
        rows.push(Row::new(what, Unit::PerSecond, Bar::None, throughput(&peer), throughput(&most)));
    }
    if pipeline > 1 {
        let [redis, valkey, ours] = take_turns(rounds, |side| {
            let (process, address) = sides.get(side);
            let before = process.cpu()?;
            redis_benchmark::get(address, key, keys, requests, pipeline, THREADS)?;
            sides.check(side, "", false)?;
            Ok(each(process.cpu()? - before, requests))
        })?;
        for (program, peer) in PEERS.into_iter().zip([redis, valkey]) {
            let what = format!("{case}, {THREADS} threads, beside {}: processor time an operation", program.name);
            rows.push(Row::new(what, Unit::Seconds, cpu_bar, peer, ours.clone()));
        }
    }
    Ok(rows)
}

fn case_of(asked: &str, pipeline: u64) -> String {
    if pipeline == 1 { format!("{asked}, no pipeline") } else { format!("{asked}, pipeline of {pipeline}") }
}

pub fn log_ins(lab: &mut Lab) -> Result<Section> {
    let sides = Sides::start(&[1], PASSWORD)?;
    let visit = visits::Visit::new(PASSWORD, KEY, &value());
    let visitors = u8::try_from(CONNECTIONS)?;
    let each = VISITS_A_SECOND * lab.plan.window.as_secs() / CONNECTIONS;
    let [redis, valkey, ours] = take_turns(lab.plan.rounds, |side| {
        let (process, address) = sides.get(side);
        sample(process, || visits::run(address, &visit, visitors, each))
    })?;
    let bars = [Bar::AtLeast(1.0), Bar::None, Bar::None];
    Ok(Section {
        method: format!(
            "Connect, `AUTH`, wait, `GET` of {DATA_BYTES} bytes, wait, close: as apps do that start a process for a \
             request. {visitors} clients at a time, each from a loopback address of its own, {} visits a round. One \
             event loop, against redis-server and Valkey with the same password. The design has no bar for this: ours \
             is to be no slower.",
            each * CONNECTIONS,
        ),
        rows: rows_of("visits", [&redis, &valkey], &ours, bars),
    })
}
