//! The program run once, to its end.

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::sidecar::Place;

/// Longer than any of these runs takes; one that takes so long has failed, by serving what it should refuse.
const DEADLINE: Duration = Duration::from_secs(60);

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code.
    pub code: Option<i32>,
    /// What it wrote to its standard output.
    pub out: String,
    /// What it wrote to its standard error.
    pub err: String,
}

impl Place {
    /// Runs the program here with these arguments, and waits until it ends.
    #[track_caller]
    pub fn once<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Ended {
        let mut command = self.command();
        command.args(arguments);
        once(command)
    }
}

/// Runs a command, and waits until it ends.
#[track_caller]
pub fn once(mut command: Command) -> Ended {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let id = child.id();
    let (ended, wait) = mpsc::channel();
    thread::spawn(move || ended.send(child.wait_with_output()));
    let Ok(output) = wait.recv_timeout(DEADLINE) else {
        let _ = Command::new("sh").arg("-c").arg(format!("kill -KILL {id}")).status();
        panic!("still running after {DEADLINE:?}: {:?}", wait.recv());
    };
    let Output { status, stdout, stderr } = output.expect("its output can be read");
    let text = |bytes| String::from_utf8(bytes).expect("it writes text");
    Ended { code: status.code(), out: text(stdout), err: text(stderr) }
}

impl Ended {
    /// Insists on an exit code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        self
    }
}
