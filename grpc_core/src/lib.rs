//! A gRPC server whose handlers are Python coroutines.
//!
//! One thread speaks HTTP/2 and gRPC framing without the interpreter's lock. Calls that have arrived wait in a queue; a
//! byte on a socket wakes Python's event loop, which takes all of them at once. Answers go back through channels. So a
//! burst of calls costs one wake-up each way, and a call that is refused for overload costs Python nothing.

pub mod call;
mod codec;
#[cfg(feature = "python")]
mod python;
pub mod queue;
pub mod server;
pub mod serving;
pub mod tls;
