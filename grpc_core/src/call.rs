//! A call between the wire and its handler.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;
use tonic::Status;
use tonic::metadata::MetadataMap;

/// What a handler answers.
pub enum Reply {
    /// A message, and more to come.
    Message(Bytes),
    /// The last message.
    Last(Bytes),
    /// No more messages.
    End,
    /// The call failed.
    Failed(Box<Status>),
}

/// What the wire and Python both know of a call. It counts as being served until Python lets it go, whether or not its
/// caller still waits: the work is the same.
pub struct CallState {
    /// Unique within the server.
    pub id: u64,
    replies: UnboundedSender<Reply>,
    /// Messages given and not yet taken by the wire.
    pub unsent: AtomicUsize,
    /// The handler waits for room.
    pub is_blocked: AtomicBool,
    reads: Option<UnboundedSender<()>>,
    served: Vec<Arc<AtomicUsize>>,
}

impl CallState {
    /// Count a call in.
    pub fn new(
        id: u64,
        replies: UnboundedSender<Reply>,
        reads: Option<UnboundedSender<()>>,
        served: Vec<Arc<AtomicUsize>>,
    ) -> Self {
        Self {
            id,
            replies,
            unsent: AtomicUsize::new(0),
            is_blocked: AtomicBool::new(false),
            reads,
            served,
        }
    }

    /// Give a reply to the wire; `false` if nobody waits for it any more.
    pub fn reply(&self, reply: Reply) -> bool {
        self.replies.send(reply).is_ok()
    }

    /// Add a message to a response stream; `false` if the next must wait for room.
    pub fn write(&self, message: Bytes) -> bool {
        let unsent = self.unsent.fetch_add(1, Ordering::AcqRel) + 1;
        let is_full = unsent >= UNSENT_MAX;
        if is_full {
            self.is_blocked.store(true, Ordering::Release);
        }
        !self.reply(Reply::Message(message)) || !is_full
    }

    /// Ask for the next message of a request stream.
    pub fn read(&self) {
        if let Some(reads) = &self.reads {
            let _ = reads.send(());
        }
    }
}

impl Drop for CallState {
    fn drop(&mut self) {
        for counter in &self.served {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A call that Python has not seen yet.
pub struct Arrived {
    /// See `CallState`.
    pub state: Arc<CallState>,
    /// Index into the server's methods.
    pub method: usize,
    /// The request; empty for a request stream.
    pub message: Bytes,
    /// The caller's metadata.
    pub metadata: MetadataMap,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
    /// Who called.
    pub peer: Arc<Peer>,
}

/// The other end of a connection.
pub struct Peer {
    /// host:port.
    pub address: String,
    /// Whether the connection is TLS.
    pub is_encrypted: bool,
    /// URIs among the names of its certificate; empty without one.
    pub uri_names: Vec<String>,
    /// Whether it came in through the door for health checks alone.
    pub is_health_only: bool,
}

/// Messages that may wait for a slow reader before its handler has to wait too.
pub const UNSENT_MAX: usize = 64;
