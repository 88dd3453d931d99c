//! P1: a look-up that memory answers, over HTTP, beside nginx that answers the same body from its configuration.

use std::net::SocketAddr;

use super::{Lab, ROOMY};
use crate::Result;
use crate::exchanges::look_up_request;
use crate::measure::{Sample, Samples, alternate, each};
use crate::process::Process;
use crate::report::{Bar, Section, load_rows};
use crate::servers::{Nginx, Sidecar, ask};
use crate::wrk;

/// A session whose answer has about 230 bytes, like one that holds a user id and a role.
const SESSION: &str = r#"{"user":"ada@example.com","data":{"role":"member"}}"#;

pub fn measure(lab: &mut Lab) -> Result<Section> {
    let sidecar = Sidecar::start(1, ROOMY)?;
    let token = sidecar.create(SESSION)?;
    let (status, body) = ask(sidecar.api, &look_up_request(&token))?;
    if status != 200 {
        return Err(format!("the look-up answered {status}: {body}").into());
    }
    let nginx = Nginx::start(&body)?;

    let authorization = format!("Bearer {token}");
    let window = lab.plan.window;
    let side = |process: &Process, address: SocketAddr| -> Result<Sample> {
        let before = process.cpu()?;
        let report = wrk::run(address, "/v1/session", &authorization, window)?;
        let cpu = each(process.cpu()? - before, report.requests);
        Ok(Sample { per_second: report.per_second, cpu, p99: report.p99 })
    };
    let (peer, ours) =
        alternate(lab.plan.rounds, || side(&nginx.process, nginx.address), || side(&sidecar.process, sidecar.api))?;
    Ok(Section {
        method: format!(
            "`GET /v1/session` of one session, a body of {} bytes, one event loop, against nginx with one worker that \
             answers the same body by `return 200`, without an access log. Both are asked by `wrk -t1 -c50 --latency` \
             for {} s a round, with the same headers.",
            body.len(),
            window.as_secs()
        ),
        rows: load_rows(&Samples { peer, ours }, [Bar::AtLeast(1.0), Bar::AtMost(1.0), Bar::AtMost(1.2)]),
    })
}
