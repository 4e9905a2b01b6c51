//! A device behind a thread of its own, so that a call into a vendor's library that never returns ends nobody else's.
//!
//! One thread owns the session and works through requests in order. A caller waits no longer than its time; what it no
//! longer waits for is not begun. A lost session is opened again once per request.

use crate::errors::{CryptoError, DeviceFault, Result};
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long a call waits where the caller does not say.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// The longest that a caller may say.
pub const TIMEOUT_LONGEST: Duration = Duration::from_secs(600);
/// Requests that may wait for one device.
const QUEUE_LONGEST: usize = 64;

/// An open session with its key.
pub trait Device {
    /// The public key, in the form its reader takes.
    fn public(&self) -> &[u8];
    /// Sign one digest.
    fn sign(&mut self, digest: &[u8]) -> std::result::Result<Vec<u8>, Trouble>;
}

/// Why a device did not sign.
pub enum Trouble {
    /// The session or the device went away; opening again may help.
    Lost(CryptoError),
    /// Asking again would not help.
    Final(CryptoError),
}

/// A fault in words.
pub fn fault(kind: DeviceFault, text: impl Into<String>) -> CryptoError {
    CryptoError::Device(kind, text.into())
}

struct Request {
    digests: Vec<Vec<u8>>,
    deadline: Instant,
    reply: Sender<Result<Vec<Vec<u8>>>>,
}

/// The caller's end of the device's thread.
pub struct Worker {
    /// As the device told it when it was opened.
    pub public: Vec<u8>,
    requests: Mutex<Sender<Request>>,
    waiting: Arc<AtomicUsize>,
    timeout: Duration,
    /// Threads do not survive a fork, and PKCS#11 forbids to use a session across one.
    process: u32,
}

impl Worker {
    /// Open the device on its thread. `open` is called again when the session is lost, but never after a wrong PIN.
    pub fn start<D: Device, O: Fn() -> Result<D> + Send + 'static>(
        timeout: Duration,
        open: O,
    ) -> Result<Self> {
        if timeout.is_zero() || timeout > TIMEOUT_LONGEST {
            return Err(CryptoError::InvalidLength(format!(
                "timeout: 1 to {} ms expected, got {}",
                TIMEOUT_LONGEST.as_millis(),
                timeout.as_millis()
            )));
        }
        let (requests, inbox) = mpsc::channel();
        let (opened, public) = mpsc::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&waiting);
        let thread = thread::Builder::new().name("signing device".into());
        thread
            .spawn(move || match open() {
                Ok(device) => {
                    if opened.send(Ok(device.public().to_vec())).is_ok() {
                        serve(&inbox, device, &open, &left);
                    }
                }
                Err(error) => drop(opened.send(Err(error))),
            })
            .map_err(|error| {
                fault(
                    DeviceFault::Away,
                    format!("no thread for the device: {error}"),
                )
            })?;
        let public = await_reply(&public, timeout)?;
        let requests = Mutex::new(requests);
        Ok(Self {
            public,
            requests,
            waiting,
            timeout,
            process: process::id(),
        })
    }

    /// Sign each digest, in order, all or nothing.
    pub fn sign(&self, digests: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
        if self.process != process::id() {
            return Err(fault(
                DeviceFault::Away,
                "the device was opened before this process was forked; open it again in this one",
            ));
        }
        let (reply, answer) = mpsc::channel();
        let deadline = Instant::now() + self.timeout;
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= QUEUE_LONGEST {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(fault(
                DeviceFault::Away,
                format!("{QUEUE_LONGEST} calls already wait for the device; ask fewer at a time"),
            ));
        }
        let sent = match self.requests.lock() {
            Ok(requests) => requests
                .send(Request {
                    digests,
                    deadline,
                    reply,
                })
                .is_ok(),
            Err(_) => false,
        };
        if !sent {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(fault(
                DeviceFault::Away,
                "the device's thread has ended; open it again",
            ));
        }
        await_reply(&answer, self.timeout)
    }
}

fn await_reply<T>(answer: &Receiver<Result<T>>, timeout: Duration) -> Result<T> {
    match answer.recv_timeout(timeout) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => Err(too_late(timeout)),
        Err(RecvTimeoutError::Disconnected) => Err(fault(
            DeviceFault::Away,
            "the device's thread has ended; open it again",
        )),
    }
}

fn too_late(timeout: Duration) -> CryptoError {
    let text = format!(
        "the device gave no answer within {} ms; nothing was given out. Look at the device, or ask for less at a time",
        timeout.as_millis()
    );
    fault(DeviceFault::TimedOut, text)
}

fn serve<D: Device>(
    inbox: &Receiver<Request>,
    device: D,
    open: &impl Fn() -> Result<D>,
    waiting: &AtomicUsize,
) {
    let mut session = Session {
        device: Some(device),
        refused: None,
        open,
    };
    for request in inbox {
        let result = session.sign_all(&request);
        waiting.fetch_sub(1, Ordering::Relaxed);
        // Nobody listens any more when the time was over.
        drop(request.reply.send(result));
    }
}

struct Session<'a, D, O> {
    device: Option<D>,
    /// A wrong PIN is remembered, not repeated: devices lock after a few.
    refused: Option<CryptoError>,
    open: &'a O,
}

impl<D: Device, O: Fn() -> Result<D>> Session<'_, D, O> {
    fn sign_all(&mut self, request: &Request) -> Result<Vec<Vec<u8>>> {
        let mut signatures = Vec::with_capacity(request.digests.len());
        let mut may_reopen = true;
        while let Some(digest) = request.digests.get(signatures.len()) {
            if Instant::now() >= request.deadline {
                // The caller has gone; nobody reads this.
                return Err(fault(DeviceFault::TimedOut, "the time was over"));
            }
            match self.device()?.sign(digest) {
                Ok(signature) => signatures.push(signature),
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Lost(error)) => {
                    self.device = None;
                    if !may_reopen {
                        return Err(error);
                    }
                    may_reopen = false;
                }
            }
        }
        Ok(signatures)
    }

    fn device(&mut self) -> Result<&mut D> {
        if let Some(refused) = &self.refused {
            return Err(refused.clone());
        }
        if self.device.is_none() {
            let opened = (self.open)();
            if let Err(error @ CryptoError::Device(DeviceFault::WrongPin, _)) = &opened {
                self.refused = Some(error.clone());
            }
            self.device = Some(opened?);
        }
        self.device
            .as_mut()
            .ok_or_else(|| fault(DeviceFault::Away, "the device is not open"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    /// What a scripted device does, one letter per signature: `.` signs, `l` loses the session, `f` refuses, `h` hangs.
    struct Scripted(Arc<Mutex<std::str::Chars<'static>>>);

    impl Device for Scripted {
        fn public(&self) -> &[u8] {
            b"public"
        }

        fn sign(&mut self, digest: &[u8]) -> std::result::Result<Vec<u8>, Trouble> {
            let act = self.0.lock().unwrap().next();
            match act {
                Some('l') => Err(Trouble::Lost(fault(DeviceFault::Away, "lost"))),
                Some('f') => Err(Trouble::Final(fault(DeviceFault::Failed, "refused"))),
                Some('h') => loop {
                    thread::park();
                },
                _ => Ok(digest.to_vec()),
            }
        }
    }

    fn worker(script: &'static str, timeout_ms: u64) -> (Worker, Arc<AtomicU32>) {
        let acts = Arc::new(Mutex::new(script.chars()));
        let opened = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&opened);
        let open = move || {
            if count.fetch_add(1, Ordering::Relaxed) == 2 {
                return Err(fault(DeviceFault::WrongPin, "wrong PIN"));
            }
            Ok(Scripted(Arc::clone(&acts)))
        };
        (
            Worker::start(Duration::from_millis(timeout_ms), open).unwrap(),
            opened,
        )
    }

    fn kind(result: Result<Vec<Vec<u8>>>) -> Option<DeviceFault> {
        match result {
            Err(CryptoError::Device(fault, _)) => Some(fault),
            _ => None,
        }
    }

    #[test]
    fn a_lost_session_is_opened_again_once_and_nothing_is_missing() {
        let (worker, opened) = worker(".l..", 10_000);
        let digests = vec![vec![1], vec![2], vec![3]];
        assert_eq!(worker.sign(digests.clone()), Ok(digests));
        assert_eq!(opened.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_session_lost_twice_in_one_call_is_an_answer() {
        let (worker, _) = worker("ll", 10_000);
        assert_eq!(kind(worker.sign(vec![vec![1]])), Some(DeviceFault::Away));
    }

    #[test]
    fn a_refusal_is_not_repeated() {
        let (worker, opened) = worker("f.", 10_000);
        assert_eq!(kind(worker.sign(vec![vec![1]])), Some(DeviceFault::Failed));
        assert!(worker.sign(vec![vec![1]]).is_ok());
        assert_eq!(opened.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_wrong_pin_is_tried_once_only() {
        let (worker, opened) = worker("llll", 10_000);
        for _ in 0..4 {
            let _ = worker.sign(vec![vec![1]]);
        }
        assert_eq!(
            kind(worker.sign(vec![vec![1]])),
            Some(DeviceFault::WrongPin)
        );
        assert_eq!(opened.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn nobody_waits_longer_than_asked() {
        let (worker, _) = worker("h.", 2_000);
        assert_eq!(
            kind(worker.sign(vec![vec![1]])),
            Some(DeviceFault::TimedOut)
        );
    }

    #[test]
    fn a_time_out_of_nothing_or_of_hours_is_refused() {
        for timeout in [Duration::ZERO, TIMEOUT_LONGEST + Duration::from_millis(1)] {
            let open = || Ok(Scripted(Arc::new(Mutex::new("".chars()))));
            assert!(matches!(
                Worker::start(timeout, open),
                Err(CryptoError::InvalidLength(_))
            ));
        }
    }
}
