//! The binding: arguments in, bytes out. The types are in `grpc_core.pyi`.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};
use tonic::metadata::KeyAndValueRef;
use tonic::{Code, Status};

use crate::call::{Arrived, CallState, Peer, Reply};
use crate::queue::Event;
use crate::serving::{Limits, Method};
use crate::tls::{Material, server_config};

const MESSAGE: u8 = 0;
const CANCELLED: u8 = 1;
const WRITABLE: u8 = 2;
const DRAINED: u8 = 3;
const REFUSED: u8 = 4;

/// A call being served.
#[pyclass(frozen, module = "grpc_core")]
pub struct Call {
    state: Arc<CallState>,
    deadline: Option<Instant>,
    peer: Arc<Peer>,
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
        &self.peer.address
    }

    #[getter]
    fn is_encrypted(&self) -> bool {
        self.peer.is_encrypted
    }

    #[getter]
    fn uri_names(&self) -> Vec<String> {
        self.peer.uri_names.clone()
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
    #[allow(clippy::too_many_arguments)] // in Python they all have names
    #[pyo3(signature = (methods, *, message_bytes_max, in_flight_max, streams_max, arrival_s_max, handshake_s_max, handshakes_max, overloaded))]
    fn new(
        methods: Vec<(String, bool, bool, bool, Option<usize>)>,
        message_bytes_max: usize,
        in_flight_max: usize,
        streams_max: usize,
        arrival_s_max: f64,
        handshake_s_max: f64,
        handshakes_max: usize,
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
            handshake: Duration::from_secs_f64(handshake_s_max),
            handshakes: handshakes_max,
        };
        let overloaded = Status::with_details(Code::from_i32(code), message, Bytes::from(details));
        Ok(Self(crate::server::Server::new(
            methods.collect(),
            limits,
            overloaded,
        )?))
    }

    #[pyo3(signature = (*, certificates, private_key, client_authorities, revocation_lists, is_client_required))]
    fn set_tls(
        &self,
        certificates: &[u8],
        private_key: &[u8],
        client_authorities: &[u8],
        revocation_lists: &[u8],
        is_client_required: bool,
    ) -> PyResult<()> {
        let material = Material {
            certificates,
            private_key,
            client_authorities,
            revocation_lists,
            is_client_required,
        };
        let config = server_config(&material)
            .map_err(|unusable| PyValueError::new_err((unusable.part, unusable.why)))?;
        self.0.set_tls(config);
        Ok(())
    }

    #[pyo3(signature = (host, port, health_port = None))]
    fn start(&self, host: &str, port: u16, health_port: Option<u16>) -> PyResult<u16> {
        Ok(self.0.start(host, port, health_port)?)
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
                Event::Refused(count, address, why) => {
                    let words = format!("{address}: {why}");
                    events.append((REFUSED, count, PyBytes::new(py, words.as_bytes())))?;
                }
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
