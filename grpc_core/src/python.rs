//! The binding: arguments in, bytes out. The types are in `grpc_core.pyi`.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};
use tonic::metadata::KeyAndValueRef;
use tonic::{Code, Status};

use crate::call::{Arrived, CallState, Reply};
use crate::queue::Event;
use crate::serving::{Limits, Method};

const MESSAGE: u8 = 0;
const CANCELLED: u8 = 1;
const WRITABLE: u8 = 2;
const DRAINED: u8 = 3;

/// A call being served.
#[pyclass(frozen, module = "grpc_core")]
pub struct Call {
    state: Arc<CallState>,
    deadline: Option<Instant>,
    peer: Arc<str>,
    #[pyo3(get)]
    method: usize,
    #[pyo3(get)]
    message: Py<PyBytes>,
    #[pyo3(get)]
    metadata: Py<PyDict>,
}

impl Call {
    fn new(py: Python<'_>, arrived: Arrived) -> PyResult<Self> {
        let metadata = PyDict::new(py);
        for entry in arrived.metadata.iter() {
            match entry {
                KeyAndValueRef::Ascii(key, value) => {
                    if let Ok(text) = value.to_str() {
                        metadata.set_item(PyString::new(py, key.as_str()), text)?;
                    }
                }
                KeyAndValueRef::Binary(key, value) => {
                    if let Ok(data) = value.to_bytes() {
                        metadata.set_item(key.as_str(), PyBytes::new(py, &data))?;
                    }
                }
            }
        }
        Ok(Self {
            deadline: arrived.deadline,
            peer: arrived.peer,
            method: arrived.method,
            message: PyBytes::new(py, &arrived.message).unbind(),
            metadata: metadata.unbind(),
            state: arrived.state,
        })
    }
}

#[pymethods]
impl Call {
    #[getter]
    fn id(&self) -> u64 {
        self.state.id
    }

    #[getter]
    fn peer(&self) -> &str {
        &self.peer
    }

    fn time_remaining(&self) -> Option<f64> {
        self.deadline.map(|deadline| {
            deadline
                .saturating_duration_since(Instant::now())
                .as_secs_f64()
        })
    }

    fn finish(&self, message: &[u8]) {
        self.state
            .reply(Reply::Last(Bytes::copy_from_slice(message)));
    }

    fn end(&self) {
        self.state.reply(Reply::End);
    }

    fn write(&self, message: &[u8]) -> bool {
        self.state.write(Bytes::copy_from_slice(message))
    }

    fn fail(&self, code: i32, message: &str, details: &[u8]) {
        let status = Status::with_details(
            Code::from_i32(code),
            message,
            Bytes::copy_from_slice(details),
        );
        self.state.reply(Reply::Failed(Box::new(status)));
    }

    fn read(&self) {
        self.state.read();
    }
}

/// A gRPC server on a thread of its own.
#[pyclass(frozen, module = "grpc_core")]
pub struct Server(crate::server::Server);

#[pymethods]
impl Server {
    #[new]
    #[pyo3(signature = (methods, *, message_bytes_max, in_flight_max, streams_max, arrival_s_max, overloaded))]
    fn new(
        methods: Vec<(String, bool, bool, bool, Option<usize>)>,
        message_bytes_max: usize,
        in_flight_max: usize,
        streams_max: usize,
        arrival_s_max: f64,
        overloaded: (i32, String, Vec<u8>),
    ) -> PyResult<Self> {
        let (code, message, details) = overloaded;
        let methods = methods.into_iter().enumerate().map(|(index, method)| {
            let (path, streams_requests, streams_responses, is_exempt, calls_max) = method;
            let calls_max = calls_max.unwrap_or(usize::MAX);
            let calls = Arc::default();
            (
                path,
                Arc::new(Method {
                    index,
                    streams_requests,
                    streams_responses,
                    is_exempt,
                    calls_max,
                    calls,
                }),
            )
        });
        let limits = Limits {
            message_bytes: message_bytes_max,
            in_flight: in_flight_max,
            streams: streams_max,
            arrival: Duration::from_secs_f64(arrival_s_max),
        };
        let overloaded = Status::with_details(Code::from_i32(code), message, Bytes::from(details));
        Ok(Self(crate::server::Server::new(
            methods.collect(),
            limits,
            overloaded,
        )?))
    }

    fn start(&self, host: &str, port: u16) -> PyResult<u16> {
        Ok(self.0.start(host, port)?)
    }

    fn fileno(&self) -> RawFd {
        self.0.shared().queue.descriptor()
    }

    #[getter]
    fn in_flight(&self) -> usize {
        self.0.shared().in_flight.load(Ordering::Relaxed)
    }

    fn take<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyList>, Bound<'py, PyList>)> {
        let (calls, events) = (PyList::empty(py), PyList::empty(py));
        for event in self.0.shared().queue.take() {
            match event {
                Event::Call(arrived) => calls.append(Bound::new(py, Call::new(py, arrived)?)?)?,
                Event::Message(id, message) => {
                    let message = message.map(|message| PyBytes::new(py, &message));
                    events.append((MESSAGE, id, message))?;
                }
                Event::Cancelled(id) => events.append((CANCELLED, id, py.None()))?,
                Event::Writable(id) => events.append((WRITABLE, id, py.None()))?,
                Event::Drained => events.append((DRAINED, 0, py.None()))?,
            }
        }
        Ok((calls, events))
    }

    fn shut_down(&self) {
        self.0.shut_down();
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.0.close());
    }
}

/// The extension module.
#[pymodule]
mod grpc_core {
    #[pymodule_export]
    use super::Call;
    #[pymodule_export]
    use super::Server;
}
