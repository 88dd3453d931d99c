//! Real processes: started in a directory of their own, stopped by pid, and what the kernel says of them.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;

/// Clock ticks a second in `/proc/<pid>/stat`: `USER_HZ`, which is 100 on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;
/// A process that does not listen after so long never will.
const START_DEADLINE: Duration = Duration::from_secs(30);
const START_POLL: Duration = Duration::from_millis(10);

/// A running process. It is killed when this goes out of scope, also by a panic.
pub struct Process {
    name: &'static str,
    child: Child,
}

impl Process {
    /// Starts a server and waits until it listens on `address`. What it prints goes to `<dir>/<name>.log`.
    pub fn serve(name: &'static str, command: &mut Command, dir: &Path, address: SocketAddr) -> Result<Self> {
        let log_path = dir.join(format!("{name}.log"));
        let log = File::create(&log_path)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().map_err(|error| format!("{name} cannot be started: {error}"))?;
        let mut process = Self { name, child };
        let deadline = Instant::now() + START_DEADLINE;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = process.child.try_wait()? {
                let log = fs::read_to_string(&log_path)?;
                return Err(format!("{name} ended at its start, {status}:\n{log}").into());
            }
            if Instant::now() > deadline {
                return Err(format!("{name} does not listen on {address}").into());
            }
            thread::sleep(START_POLL);
        }
        Ok(process)
    }

    /// Processor time used so far, by all threads, in user and kernel mode; in seconds.
    pub fn cpu(&self) -> Result<f64> {
        cpu_of(&self.child.id().to_string()).map_err(|error| format!("{}: {error}", self.name).into())
    }

    /// Bytes resident in memory.
    pub fn resident(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        let kib: u64 = kib.ok_or("the kernel reports no VmRSS")?.trim().parse()?;
        Ok(kib * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Either fails only if it has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processor time that this process has used so far, in seconds.
pub fn own_cpu() -> Result<f64> {
    cpu_of("self")
}

/// Processor time that the processes have used which this one has started and that have ended, in seconds.
pub fn children_cpu() -> Result<f64> {
    times_of("self", 13)
}

fn cpu_of(pid: &str) -> Result<f64> {
    times_of(pid, 11)
}

/// The time in user mode that a process's status has `at` a field, counted from the third, and the time in kernel mode
/// behind it.
fn times_of(pid: &str, at: usize) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field, the name, may hold spaces: count from behind its parenthesis, where the third field starts.
    let (_, fields) = stat.rsplit_once(')').ok_or("/proc/<pid>/stat has another format")?;
    let ticks = fields.split_whitespace().skip(at).take(2).map(str::parse::<u32>).sum::<Result<u32, _>>()?;
    Ok(f64::from(ticks) / TICKS_PER_SECOND)
}

/// A loopback address that nobody listens on.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Whether a program can be started, by whatever it says to `argument`: its version.
pub fn version(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).stdin(Stdio::null()).output().ok()?;
    // nginx says it on stderr.
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().map(|line| line.trim().to_owned())
}
