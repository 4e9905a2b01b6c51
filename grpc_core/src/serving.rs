//! From an HTTP/2 request to a call in the queue, and from its replies to the response.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use rustls::ServerConfig;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, Sleep};
use tokio_stream::Stream;
use tonic::codec::Streaming;
use tonic::metadata::MetadataMap;
use tonic::server::Grpc;
use tonic::{Code, Request, Response, Status};

use crate::call::{Arrived, CallState, Peer, Reply, UNSENT_MAX};
use crate::codec::Raw;
use crate::queue::{Event, Queue};

const REFUSALS_TOLD_EVERY: Duration = Duration::from_secs(1);
const HEALTH_PATH: &str = "/grpc.health.v1.Health/";

/// What is served under a path.
pub struct Method {
    /// Index into the list that Python gave.
    pub index: usize,
    /// The caller sends any number of messages.
    pub streams_requests: bool,
    /// The handler sends any number of messages.
    pub streams_responses: bool,
    /// Served however many calls there are: health checks.
    pub is_exempt: bool,
    /// Calls of this method served at once; those of all methods have a bound as well.
    pub calls_max: usize,
    /// Calls of this method that Python has in hand.
    pub calls: Arc<AtomicUsize>,
}

/// The bounds of a server.
pub struct Limits {
    /// Longest message, in bytes, either way.
    pub message_bytes: usize,
    /// Unary calls served at once.
    pub in_flight: usize,
    /// Streams served at once.
    pub streams: usize,
    /// How long a request's message may take to arrive if the caller set no deadline.
    pub arrival: Duration,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// TLS handshakes under way at once; a connection above it is closed.
    pub handshakes: usize,
}

/// What all connections share.
pub struct Shared {
    /// By path, "/package.Service/Method".
    pub methods: HashMap<String, Arc<Method>>,
    /// Bounds.
    pub limits: Limits,
    /// The answer above a bound.
    pub overloaded: Status,
    /// Where calls go.
    pub queue: Queue,
    /// Unary calls that Python has in hand.
    pub in_flight: Arc<AtomicUsize>,
    /// Streams that Python has in hand.
    pub streams: Arc<AtomicUsize>,
    /// Names of calls.
    pub ids: AtomicU64,
    /// What connections are accepted with; `None`: without TLS.
    pub tls: RwLock<Option<Arc<ServerConfig>>>,
    /// TLS handshakes under way.
    pub handshakes: AtomicUsize,
    /// Connections refused at the handshake that nobody has been told of, and when somebody was.
    pub refusals: Mutex<(u64, Option<Instant>)>,
}

impl Shared {
    /// Tell of a refused connection; at most once a second, however many there are.
    pub fn refused(&self, address: &str, why: &dyn std::fmt::Display) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, told) = &mut *refusals;
        *count += 1;
        if told.is_some_and(|at| at.elapsed() < REFUSALS_TOLD_EVERY) {
            return;
        }
        *told = Some(Instant::now());
        let count = std::mem::take(count);
        self.queue
            .push(Event::Refused(count, address.to_owned(), why.to_string()));
    }
}

/// Answer one request.
pub async fn answer(
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    request: http::Request<Incoming>,
) -> Result<http::Response<tonic::body::Body>, Infallible> {
    let is_grpc = request
        .headers()
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    if !is_grpc || request.method() != http::Method::POST {
        let mut refusal = http::Response::new(tonic::body::Body::empty());
        *refusal.status_mut() = http::StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Ok(refusal);
    }
    let Some(method) = shared.methods.get(request.uri().path()).cloned() else {
        let message = format!("There is no method {}.", request.uri().path());
        return Ok(Status::unimplemented(message).into_http());
    };
    if peer.is_health_only && !request.uri().path().starts_with(HEALTH_PATH) {
        let message = "This port answers health checks alone; call the service's own port.";
        return Ok(Status::permission_denied(message).into_http());
    }
    let message_bytes = shared.limits.message_bytes;
    Ok(Grpc::new(Raw)
        .max_decoding_message_size(message_bytes)
        .max_encoding_message_size(message_bytes)
        .streaming(
            Bridge {
                shared,
                peer,
                method,
            },
            request,
        )
        .await)
}

struct Bridge {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    method: Arc<Method>,
}

impl tower_service::Service<Request<Streaming<Bytes>>> for Bridge {
    type Response = Response<Replies>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Replies>, Status>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let (shared, peer) = (self.shared.clone(), self.peer.clone());
        Box::pin(hand_over(shared, peer, self.method.clone(), request))
    }
}

async fn hand_over(
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    method: Arc<Method>,
    request: Request<Streaming<Bytes>>,
) -> Result<Response<Replies>, Status> {
    let (metadata, _, mut messages) = request.into_parts();
    let deadline = time_allowed(&metadata).and_then(|allowed| Instant::now().checked_add(allowed));
    let served = count_in(&shared, &method)?;
    let (reply, mut replies) = unbounded_channel();
    let (reads, asked) = if method.streams_requests {
        let (reads, asked) = unbounded_channel();
        (Some(reads), Some(asked))
    } else {
        (None, None)
    };
    let id = shared.ids.fetch_add(1, Ordering::Relaxed);
    let state = Arc::new(CallState::new(id, reply, reads, served));
    let mut message = Bytes::new();
    if !method.streams_requests {
        let until = deadline.unwrap_or_else(|| Instant::now() + shared.limits.arrival);
        message = tokio::time::timeout_at(until, messages.message())
            .await
            .map_err(|_| too_late())?
            .map_err(|status| readable(&status, &shared.limits))?
            .ok_or_else(|| Status::invalid_argument("The call has no message."))?;
    }
    let weak = Arc::downgrade(&state);
    shared.queue.push(Event::Call(Arrived {
        state,
        method: method.index,
        message,
        metadata,
        deadline: deadline.map(Instant::into_std),
        peer,
    }));
    let guard = Guard {
        shared: shared.clone(),
        id,
        is_done: false,
    };
    if let Some(asked) = asked {
        tokio::spawn(pass_on(shared.clone(), id, messages, asked));
    }
    let first = match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, replies.recv())
            .await
            .map_err(|_| too_late())?,
        None => replies.recv().await,
    };
    let mut stream = Replies {
        first: None,
        replies,
        state: weak,
        guard,
        deadline: None,
        is_over: false,
    };
    match first {
        Some(Reply::Failed(status)) => {
            stream.guard.is_done = true;
            return Err(*status);
        }
        None => return Err(given_up()),
        Some(reply) => stream.first = Some(reply),
    }
    if method.streams_responses {
        stream.deadline = deadline.map(|deadline| Box::pin(tokio::time::sleep_until(deadline)));
    }
    Ok(Response::new(stream))
}

fn count_in(shared: &Shared, method: &Method) -> Result<Vec<Arc<AtomicUsize>>, Status> {
    if method.is_exempt {
        return Ok(Vec::new());
    }
    let (all, all_max) = if method.streams_requests || method.streams_responses {
        (&shared.streams, shared.limits.streams)
    } else {
        (&shared.in_flight, shared.limits.in_flight)
    };
    let mut counted = Vec::with_capacity(2);
    for (counter, limit) in [(all, all_max), (&method.calls, method.calls_max)] {
        let before = counter.fetch_add(1, Ordering::Relaxed);
        counted.push(counter.clone());
        if before >= limit {
            for counter in counted {
                counter.fetch_sub(1, Ordering::Relaxed);
            }
            return Err(shared.overloaded.clone());
        }
    }
    Ok(counted)
}

/// Bring the messages of a request stream, each when it is asked for.
async fn pass_on(
    shared: Arc<Shared>,
    id: u64,
    mut messages: Streaming<Bytes>,
    mut asked: UnboundedReceiver<()>,
) {
    while asked.recv().await.is_some() {
        // A stream that breaks ends: the call itself is cancelled by then.
        let message = messages.message().await.ok().flatten();
        let is_last = message.is_none();
        shared.queue.push(Event::Message(id, message));
        if is_last {
            return;
        }
    }
}

/// Tells Python when a caller goes away before its answer.
struct Guard {
    shared: Arc<Shared>,
    id: u64,
    is_done: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.is_done {
            self.shared.queue.push(Event::Cancelled(self.id));
        }
    }
}

/// The replies of a call as a response's body.
struct Replies {
    first: Option<Reply>,
    replies: UnboundedReceiver<Reply>,
    state: std::sync::Weak<CallState>,
    guard: Guard,
    deadline: Option<Pin<Box<Sleep>>>,
    is_over: bool,
}

impl Replies {
    /// Count a message as sent, and tell a waiting handler when half of the room is free.
    fn sent(&self) {
        if let Some(state) = self.state.upgrade() {
            let left = state.unsent.fetch_sub(1, Ordering::AcqRel) - 1;
            if left <= UNSENT_MAX / 2 && state.is_blocked.swap(false, Ordering::AcqRel) {
                self.guard.shared.queue.push(Event::Writable(state.id));
            }
        }
    }
}

impl Stream for Replies {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let reply = match self.first.take() {
            Some(reply) => Some(reply),
            None => match self.replies.poll_recv(context) {
                Poll::Ready(reply) => reply,
                Poll::Pending => {
                    let Some(deadline) = self.deadline.as_mut() else {
                        return Poll::Pending;
                    };
                    ready!(deadline.as_mut().poll(context));
                    self.is_over = true;
                    return Poll::Ready(Some(Err(too_late())));
                }
            },
        };
        if let Some(Reply::Message(message)) = reply {
            self.sent();
            return Poll::Ready(Some(Ok(message)));
        }
        self.is_over = true;
        self.guard.is_done = reply.is_some();
        Poll::Ready(match reply {
            Some(Reply::Last(message)) => Some(Ok(message)),
            Some(Reply::Failed(status)) => Some(Err(*status)),
            None => Some(Err(given_up())),
            _ => None,
        })
    }
}

fn too_late() -> Status {
    Status::deadline_exceeded(
        "The caller's deadline is over; whether the call took effect is not known.",
    )
}

fn given_up() -> Status {
    Status::unavailable(
        "The server let the call go without an answer; repeat it with the same key.",
    )
}

/// Say what is wrong with a message in the words of callers, not of a framing library.
fn readable(status: &Status, limits: &Limits) -> Status {
    match status.code() {
        Code::OutOfRange => Status::resource_exhausted(format!(
            "The message is longer than the {} bytes that this server takes.",
            limits.message_bytes
        )),
        Code::Internal | Code::Unknown => Status::invalid_argument(format!(
            "The message is not framed as gRPC says: {}",
            status.message()
        )),
        _ => status.clone(),
    }
}

/// Read `grpc-timeout`: up to eight digits and a unit. What cannot be read is no deadline.
fn time_allowed(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count.checked_mul(3600)?),
        "M" => Duration::from_secs(count.checked_mul(60)?),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(text: &str) -> Option<Duration> {
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", text.parse().expect("ascii"));
        time_allowed(&metadata)
    }

    #[test]
    fn deadlines_are_read_in_every_unit() {
        let units = [("2H", 7_200_000), ("2M", 120_000), ("2S", 2_000), ("2m", 2)];
        for (text, milliseconds) in units {
            assert_eq!(
                allowed(text),
                Some(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        assert_eq!(allowed("5u"), Some(Duration::from_micros(5)));
        assert_eq!(allowed("5n"), Some(Duration::from_nanos(5)));
    }

    #[test]
    fn what_is_not_a_deadline_is_none() {
        for text in ["", "S", "5", "5x", "-5S", "123456789S", "1.5S", "五S"] {
            let mut metadata = MetadataMap::new();
            if let Ok(value) = text.parse() {
                metadata.insert("grpc-timeout", value);
            }
            assert_eq!(time_allowed(&metadata), None, "{text}");
        }
    }
}
