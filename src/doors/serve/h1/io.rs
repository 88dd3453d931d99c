//! What hyper sees of a connection, and how far its answers have come.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};

use super::lane::{Lane, Progress};

/// The connection as hyper sees it: only the bytes that are its own.
pub(super) struct LaneIo(pub(super) Rc<RefCell<Lane>>);

impl Read for LaneIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_give(cx, buffer.remaining(), |bytes| buffer.put_slice(bytes))
    }
}

impl Write for LaneIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let lane = self.0.borrow_mut();
        let written = lane.link.stream.poll_write(cx, bytes);
        lane.note_write(&written);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let lane = self.0.borrow_mut();
        let written = lane.link.stream.poll_write_vectored(cx, slices);
        lane.note_write(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes once its own buffer is empty, and a socket has none to flush.
        let lane = self.0.borrow();
        lane.progress.flushed.set(lane.progress.taken.get());
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection is closed behind hyper, gently.
        Poll::Ready(Ok(()))
    }
}

/// The body of an answer; notes when hyper has taken all of it, which is when it drops it.
pub(super) struct Tracked {
    body: Bytes,
    progress: Rc<Progress>,
}

impl Tracked {
    pub(super) fn new(body: Bytes, progress: Rc<Progress>) -> Self {
        Self { body, progress }
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.progress.taken.set(true);
    }
}

impl Body for Tracked {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let body = std::mem::take(&mut self.body);
        Poll::Ready((!body.is_empty()).then(|| Ok(Frame::data(body))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.body.len() as u64)
    }
}
