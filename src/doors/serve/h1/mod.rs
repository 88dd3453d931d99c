//! HTTP/1.1 on an accepted connection.
//!
//! hyper speaks the protocol, message by message. Beneath it runs a fast lane (`lane`): between two messages, when
//! hyper owes nothing, a [`Service`] may answer a request from its head alone, at once, without hyper ever seeing it.
//! Everything else reaches hyper byte for byte. A look-up of a session in memory takes 7.8 µs of CPU that way, nearly
//! all of it in the kernel, and 10 µs through hyper; nginx takes 8.6 µs to send the same bytes from a constant.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};

use super::Protocol;
use super::event_loop::{Link, close};
use crate::metrics::labels::{Door, RequestOutcome};

pub mod answer;
mod io;
mod lane;

use io::{LaneIo, Tracked};
pub use lane::Head;
use lane::{Lane, Next};

/// The header that carries the API key at every HTTP listener. At the session API `Authorization` is taken by the
/// session's token; at the admin listener it may carry the key as well.
pub const KEY_HEADER: &str = "x-sessgate-key";
/// Header lines of a request. Browsers send about 20, proxies add a few.
pub const MAX_HEADERS: usize = 64;
/// Bytes of a request's line and headers, as in nginx and Apache.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;
/// What hyper may buffer of a connection, both ways; at least a head of the largest size.
const MAX_BUFFER_BYTES: usize = 64 * 1024;

/// What answers requests.
pub trait Service: Send + Sync + 'static {
    /// The door that it belongs to.
    const DOOR: Door;

    /// Answers a request.
    fn call(&self, request: Request<Incoming>) -> impl Future<Output = Response<Bytes>>;

    /// Appends the whole answer to a request without body to `out`, or leaves it alone (`None`) and the request to
    /// [`call`](Self::call). Must give the same answer, byte for byte. Must not block.
    fn answer_at_once(&self, head: &Head<'_>, date: &[u8; 29], out: &mut Vec<u8>) -> Option<RequestOutcome> {
        let _ = (head, date, out);
        None
    }
}

/// The protocol, spoken for a [`Service`].
#[derive(Debug)]
pub struct Http<S>(pub S);

impl<S: Service> Protocol for Http<S> {
    const DOOR: Door = S::DOOR;
    const TOO_MANY: &'static [u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n\
        content-type: application/problem+json\r\ncontent-length: 137\r\n\r\n\
        {\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\
        \"detail\":\"there are too many connections\",\"code\":\"too_many_connections\"}";

    async fn converse(self: Arc<Self>, link: Link) {
        let lane = Rc::new(RefCell::new(Lane::new(link)));
        let end = {
            let mut hyper = None;
            poll_fn(|cx| {
                lane.borrow().link.watched.register(cx.waker());
                let polled = loop {
                    match lane.borrow_mut().poll_next(cx, &self.0) {
                        Poll::Pending => break Poll::Pending,
                        Poll::Ready(Next::Gone) => break Poll::Ready(End::Abrupt),
                        Poll::Ready(Next::Message) => {}
                    }
                    let speaker =
                        hyper.get_or_insert_with(|| Box::pin(through_hyper(Arc::clone(&self), Rc::clone(&lane))));
                    if speaker.as_mut().poll(cx).is_ready() {
                        break Poll::Ready(End::Gentle);
                    }
                    if !lane.borrow_mut().settle() {
                        break Poll::Pending;
                    }
                    // It has nothing left to say or to remember, and its buffers would make a connection that waits
                    // ten times as large.
                    hyper = None;
                };
                // Asked last: whatever has come in the meantime is answered and begins a new phase.
                if polled.is_pending() && lane.borrow().link.watched.is_due() {
                    return Poll::Ready(End::Abrupt);
                }
                polled
            })
            .await
        };
        // hyper held the other reference, and is gone.
        if let (End::Gentle, Some(lane)) = (end, Rc::into_inner(lane)) {
            close(&mut lane.into_inner().link).await;
        }
    }
}

/// How a conversation ended.
enum End {
    /// The client has left, or its time is over.
    Abrupt,
    /// The last answer is on its way, and must arrive.
    Gentle,
}

fn through_hyper<S: Service>(http: Arc<Http<S>>, lane: Rc<RefCell<Lane>>) -> impl Future<Output = hyper::Result<()>> {
    let service = {
        let lane = Rc::clone(&lane);
        service_fn(move |request| {
            lane.borrow().begin_answer();
            let (http, lane) = (Arc::clone(&http), Rc::clone(&lane));
            async move {
                let mut response = http.0.call(request).await;
                let lane = lane.borrow();
                lane.link.shared.metrics.request(S::DOOR, outcome(&response));
                if lane.link.watched.is_draining() {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response.map(|body| Tracked::new(body, Rc::clone(&lane.progress))))
            }
        })
    };
    http1::Builder::new()
        // A client that has said all it will may still be listening.
        .half_close(true)
        // The watch does this.
        .header_read_timeout(None)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(MAX_BUFFER_BYTES)
        .serve_connection(LaneIo(lane), service)
}

/// How a request with this answer counts: by its status, unless the service knows better and says so in an extension.
fn outcome(response: &Response<Bytes>) -> RequestOutcome {
    let status = response.status();
    if let Some(outcome) = response.extensions().get() {
        *outcome
    } else if status.is_server_error() {
        RequestOutcome::Failed
    } else if status.is_client_error() {
        RequestOutcome::Refused
    } else {
        RequestOutcome::Ok
    }
}
