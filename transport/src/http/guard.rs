//! A connection that does not wait for ever.
//!
//! hyper has one timer for a request's headers, and it also runs between requests, so it cannot
//! give an idle connection 30 s and a slow header 5 s; and it has none for a peer that does not
//! read its answer. So the time limits of a connection live here, below hyper. Timers are set
//! lazily: a busy connection touches the runtime's timer about once in a timeout, not once in a
//! request.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::ServerLimits;
use crate::limits::allowance;

/// What a connection is doing. The connection and its service change it in turn.
#[derive(Debug, Clone)]
pub(super) struct Phase(Arc<AtomicU8>);

/// Between requests.
const IDLE: u8 = 0;
/// A request has begun; its headers are not complete.
const HEAD: u8 = 1;
/// The service reads the body and works. It has its own time limits.
const BUSY: u8 = 2;
/// The answer is handed over to hyper, which writes it.
const ANSWERING: u8 = 3;

impl Phase {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicU8::new(IDLE)))
    }

    /// The headers are complete.
    pub(super) fn busy(&self) {
        self.set(BUSY);
    }

    /// The answer is ready.
    pub(super) fn answering(&self) {
        self.set(ANSWERING);
    }

    // One task drives connection and service, so no ordering between threads is needed.
    fn set(&self, phase: u8) {
        self.0.store(phase, Ordering::Relaxed);
    }

    fn is(&self, phase: u8) -> bool {
        self.0.load(Ordering::Relaxed) == phase
    }
}

/// The time limits of a connection.
#[derive(Debug, Clone, Copy)]
struct Times {
    idle: Duration,
    header: Duration,
    answer: Duration,
    least_bytes_per_second: usize,
}

/// A connection with time limits. Over TLS it counts what is inside: bytes that make up no request
/// buy no time.
#[derive(Debug)]
pub(super) struct Guard<S> {
    stream: S,
    phase: Phase,
    times: Times,
    /// When the present idle or header phase began.
    since: Instant,
    /// When the answer that is being written began, and how much of it the peer has taken.
    writing: Option<(Instant, usize)>,
    reading_timer: Timer,
    writing_timer: Timer,
}

impl<S> Guard<S> {
    pub(super) fn new(stream: S, phase: Phase, limits: &ServerLimits) -> Self {
        let times = Times {
            idle: limits.idle_timeout,
            header: limits.header_timeout,
            answer: limits.answer_timeout,
            least_bytes_per_second: limits.least_bytes_per_second,
        };
        Self {
            stream,
            phase,
            times,
            since: Instant::now(),
            writing: None,
            reading_timer: Timer::default(),
            writing_timer: Timer::default(),
        }
    }

    fn read_deadline(&self) -> Option<Instant> {
        if self.phase.is(IDLE) {
            Some(self.since + self.times.idle)
        } else if self.phase.is(HEAD) {
            Some(self.since + self.times.header)
        } else {
            None
        }
    }

    fn received(&mut self, bytes: usize) {
        if bytes > 0 && self.phase.is(IDLE) {
            self.phase.set(HEAD);
            self.since = Instant::now();
        }
    }

    /// Bounds a flush that is pending: what TLS has taken waits in its buffer.
    fn bounded(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<()>>,
    ) -> Poll<io::Result<()>> {
        match result {
            Poll::Ready(done) => Poll::Ready(done),
            Poll::Pending => self.wrote(context, Poll::Pending).map_ok(|_| ()),
        }
    }

    /// Passes on what a write gave; a pending one is bounded by time.
    fn wrote(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let (begun, written) = self.writing.get_or_insert_with(|| (Instant::now(), 0));
        match result {
            Poll::Ready(Ok(bytes)) => *written = written.saturating_add(bytes),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                let times = self.times;
                let allowed = allowance(times.answer, *written, times.least_bytes_per_second);
                ready!(self.writing_timer.poll(context, *begun + allowed));
                return Poll::Ready(Err(timed_out("the peer does not read its answer")));
            }
        }
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        if result.is_ready() {
            self.received(buffer.filled().len().saturating_sub(before));
            // A header that trickles in is always ready with something: look at the clock too.
            return match self.read_deadline() {
                Some(deadline) if deadline <= Instant::now() => {
                    Poll::Ready(Err(timed_out("the peer does not complete its request")))
                }
                _ => result,
            };
        }
        match self.read_deadline() {
            None => Poll::Pending,
            Some(deadline) => {
                ready!(self.reading_timer.poll(context, deadline));
                Poll::Ready(Err(timed_out("the peer sends nothing")))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(context, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.wrote(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when it has written all that it holds; after an answer, that is the end of it.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        ready!(self.bounded(context, flushed))?;
        if self.writing.take().is_some() && self.phase.is(ANSWERING) {
            self.phase.set(IDLE);
            self.since = Instant::now();
            // hyper may have polled for the next request while this one was busy, and will not do
            // so again before something happens: make sure that something does.
            let deadline = self.since + self.times.idle;
            let _ = self.reading_timer.poll(context, deadline);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(context);
        self.bounded(context, ended)
    }
}

/// A timer whose deadline may move: it is set again only when it rings too early.
#[derive(Debug, Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    fn poll(&mut self, context: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        loop {
            if sleep.deadline() > deadline {
                sleep.as_mut().reset(deadline);
            }
            ready!(sleep.as_mut().poll(context));
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

fn timed_out(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, reason)
}
