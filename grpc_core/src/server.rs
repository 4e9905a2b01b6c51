//! Listening, connections, and an orderly end.

use std::collections::HashMap;
use std::io;
use std::net::ToSocketAddrs;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::Status;

use crate::call::Peer;
use crate::queue::{Event, Queue};
use crate::serving::{Limits, Method, Shared, answer};
use crate::tls::uri_names;

const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_BYTES_MAX: u32 = 16 * 1024;
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// After a failed accept (no descriptors left, say): long enough not to spin, short enough not to be noticed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How far a server has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Serving,
    ShuttingDown,
    Closed,
}

/// A gRPC server on a thread of its own.
pub struct Server {
    shared: Arc<Shared>,
    stage: watch::Sender<Stage>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Server {
    /// Make a server that does not listen yet.
    pub fn new(
        methods: HashMap<String, Arc<Method>>,
        limits: Limits,
        overloaded: Status,
    ) -> io::Result<Self> {
        let shared = Shared {
            methods,
            limits,
            overloaded,
            queue: Queue::new()?,
            in_flight: Arc::default(),
            streams: Arc::default(),
            ids: AtomicU64::new(0),
            tls: RwLock::default(),
            handshakes: AtomicUsize::new(0),
            refusals: Mutex::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            stage: watch::Sender::new(Stage::Serving),
            thread: Mutex::default(),
        })
    }

    /// What all connections share.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Accept connections from now on with this; those begun live on.
    pub fn set_tls(&self, config: Arc<ServerConfig>) {
        let mut tls = self
            .shared
            .tls
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *tls = Some(config);
    }

    /// Listen and serve; return the port.
    ///
    /// `health_port`: one more port that answers health checks alone, without TLS.
    pub fn start(&self, host: &str, port: u16, health_port: Option<u16>) -> io::Result<u16> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_some() {
            return Err(io::Error::other("the server has been started already"));
        }
        let listener = listen(host, port)?;
        let health = health_port.map(|port| listen(host, port)).transpose()?;
        let port = listener.local_addr()?.port();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (shared, stage) = (self.shared.clone(), self.stage.subscribe());
        let serve = move || runtime.block_on(accept(shared, listener, health, stage));
        *thread = Some(
            std::thread::Builder::new()
                .name("grpc_core".into())
                .spawn(serve)?,
        );
        Ok(port)
    }

    /// Take no new connections and calls; let those begun go on. The queue says when the last has ended.
    pub fn shut_down(&self) {
        self.stage.send_if_modified(|stage| {
            let is_first = *stage == Stage::Serving;
            if is_first {
                *stage = Stage::ShuttingDown;
            }
            is_first
        });
    }

    /// Close every connection and end the thread.
    pub fn close(&self) {
        self.stage.send_replace(Stage::Closed);
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

fn listen(host: &str, port: u16) -> io::Result<std::net::TcpListener> {
    let addresses: Vec<_> = (host, port).to_socket_addrs()?.collect();
    let listener = std::net::TcpListener::bind(addresses.as_slice())?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn accept(
    shared: Arc<Shared>,
    listener: std::net::TcpListener,
    health: Option<std::net::TcpListener>,
    stage: watch::Receiver<Stage>,
) {
    let (Ok(listener), Ok(health)) = (
        TcpListener::from_std(listener),
        health.map(TcpListener::from_std).transpose(),
    ) else {
        return;
    };
    let mut own_stage = stage.clone();
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (accepted, is_health_only) = tokio::select! {
            _ = own_stage.wait_for(|stage| *stage != Stage::Serving) => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => (accepted, false),
            accepted = accept_if_any(health.as_ref()) => (accepted, true),
        };
        match accepted {
            Ok((stream, peer)) => {
                let peer = Peer {
                    address: peer.to_string(),
                    is_encrypted: false,
                    uri_names: Vec::new(),
                    is_health_only,
                };
                connections.spawn(welcome(shared.clone(), stream, peer, stage.clone()));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
    drop((listener, health));
    let all_ended = async { while connections.join_next().await.is_some() {} };
    let has_drained = tokio::select! {
        _ = own_stage.wait_for(|stage| *stage == Stage::Closed) => false,
        () = all_ended => true,
    };
    if has_drained {
        shared.queue.push(Event::Drained);
        let _ = own_stage.wait_for(|stage| *stage == Stage::Closed).await;
    }
}

async fn accept_if_any(
    listener: Option<&TcpListener>,
) -> io::Result<(TcpStream, std::net::SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

/// Serve a new connection, after the handshake where there is TLS.
async fn welcome(
    shared: Arc<Shared>,
    stream: TcpStream,
    mut peer: Peer,
    stage: watch::Receiver<Stage>,
) {
    let _ = stream.set_nodelay(true);
    let tls = shared
        .tls
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let Some(tls) = tls.filter(|_| !peer.is_health_only) else {
        return serve_connection(shared, stream, peer, stage).await;
    };
    let mut own_stage = stage.clone();
    let shaken = tokio::select! {
        _ = own_stage.wait_for(|stage| *stage != Stage::Serving) => return,
        shaken = shake_hands(&shared, tls, stream) => shaken,
    };
    match shaken {
        Ok(stream) => {
            peer.is_encrypted = true;
            let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
            peer.uri_names = certificates.first().map(uri_names).unwrap_or_default();
            serve_connection(shared, stream, peer, stage).await;
        }
        Err(why) => shared.refused(&peer.address, &why),
    }
}

async fn shake_hands(
    shared: &Shared,
    tls: Arc<ServerConfig>,
    stream: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    let _counted = Handshake(&shared.handshakes);
    if shared.handshakes.fetch_add(1, Ordering::Relaxed) >= shared.limits.handshakes {
        return Err(io::Error::other("too many handshakes at once"));
    }
    let accepting = TlsAcceptor::from(tls).accept(stream);
    tokio::time::timeout(shared.limits.handshake, accepting)
        .await
        .unwrap_or_else(|_| Err(io::Error::other("the handshake took too long")))
}

/// Counts a handshake out, however it ends.
struct Handshake<'a>(&'a AtomicUsize);

impl Drop for Handshake<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn serve_connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    shared: Arc<Shared>,
    stream: S,
    peer: Peer,
    mut stage: watch::Receiver<Stage>,
) {
    let peer = Arc::new(peer);
    let streams_max = shared
        .limits
        .in_flight
        .saturating_add(shared.limits.streams)
        .saturating_add(1_000);
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .max_concurrent_streams(u32::try_from(streams_max).unwrap_or(u32::MAX))
        .max_header_list_size(HEADER_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(move |request| answer(shared.clone(), peer.clone(), request)),
        );
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stage.wait_for(|stage| *stage != Stage::Serving) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
