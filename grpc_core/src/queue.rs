//! What happened on the wire, until Python takes it.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::call::Arrived;

/// One thing that Python must hear of.
pub enum Event {
    /// A call came in, whole but for the messages of a request stream.
    Call(Arrived),
    /// The next message of a request stream; `None` at its end.
    Message(u64, Option<Bytes>),
    /// The caller went away, or its deadline passed.
    Cancelled(u64),
    /// A response stream has room again.
    Writable(u64),
    /// Connections were refused at the handshake: how many since the last of these events, and of the latest its
    /// address and the reason.
    Refused(u64, String, String),
    /// After `shut_down`: the last connection has ended.
    Drained,
}

/// The queue, and a socket that is readable while something is in it.
pub struct Queue {
    events: Mutex<Vec<Event>>,
    wake: UnixStream,
    woken: UnixStream,
}

impl Queue {
    /// Make an empty queue.
    pub fn new() -> io::Result<Self> {
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        Ok(Self {
            events: Mutex::default(),
            wake,
            woken,
        })
    }

    /// The descriptor to wait on.
    pub fn descriptor(&self) -> RawFd {
        self.woken.as_raw_fd()
    }

    /// Add an event; wake the taker if it may be asleep.
    pub fn push(&self, event: Event) {
        let was_empty = {
            let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
            events.push(event);
            events.len() == 1
        };
        if was_empty {
            // A full socket means that a wake-up is on its way already.
            let _ = (&self.wake).write(&[1]);
        }
    }

    /// Take everything, oldest first.
    pub fn take(&self) -> Vec<Event> {
        let mut wakes = [0_u8; 64];
        let _ = (&self.woken).read(&mut wakes);
        std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
