"""A gRPC server on a thread of its own: HTTP/2, framing, deadlines and limits without the interpreter's lock.

The owner waits until `Server.fileno()` is readable, then calls `Server.take()` and starts a handler for each call.
"""

from typing import final

@final
class Call:
    """A call being served. It counts as in flight until it is garbage: let it go when it is answered."""

    @property
    def id(self) -> int:
        """Names the call in `Server.take`."""
    @property
    def method(self) -> int:
        """Index into the methods given to the server."""
    @property
    def message(self) -> bytes:
        """The request; empty for a request stream."""
    @property
    def metadata(self) -> dict[str, str | bytes]:
        """The caller's metadata; of a repeated name, the last. Values of names that end in `-bin` are bytes."""
    @property
    def peer(self) -> str:
        """The caller's address, host:port."""
    @property
    def is_encrypted(self) -> bool:
        """Whether the call came over TLS."""
    @property
    def uri_names(self) -> list[str]:
        """URIs among the names of the caller's certificate, which is verified; empty without one."""
    def time_remaining(self) -> float | None:
        """Seconds until the caller stops waiting; None if it set no deadline."""
    def finish(self, message: bytes) -> None:
        """Answer with this message, the only or the last one."""
    def end(self) -> None:
        """End a response stream."""
    def write(self, message: bytes) -> bool:
        """Add a message to a response stream; False if the next must wait for WRITABLE."""
    def fail(self, code: int, message: str, details: bytes) -> None:
        """End the call with a status code and a serialized `google.rpc.Status` (or nothing)."""
    def read(self) -> None:
        """Ask for the next message of a request stream; it comes as a MESSAGE."""

@final
class Server:
    """A server.

    Args:
        methods: (path, streams requests, streams responses, served even above the limits, calls of it served at once or
            None), path as in HTTP/2: "/package.Service/Method".
        message_bytes_max: longest message either way; a longer one is RESOURCE_EXHAUSTED.
        in_flight_max, streams_max: unary calls and streams served at once.
        arrival_s_max: how long a request may take to arrive where the caller set no deadline.
        handshake_s_max: how long a TLS handshake may take.
        handshakes_max: TLS handshakes under way at once; a connection above it is closed.
        overloaded: code, message and serialized `google.rpc.Status` of the answer above these.
    """

    def __new__(
        cls,
        methods: list[tuple[str, bool, bool, bool, int | None]],
        *,
        message_bytes_max: int,
        in_flight_max: int,
        streams_max: int,
        arrival_s_max: float,
        handshake_s_max: float,
        handshakes_max: int,
        overloaded: tuple[int, str, bytes],
    ) -> Server: ...
    @property
    def in_flight(self) -> int:
        """Unary calls being served."""
    def set_tls(
        self,
        *,
        certificates: bytes,
        private_key: bytes,
        client_authorities: bytes,
        revocation_lists: bytes,
        is_client_required: bool,
    ) -> None:
        """Accept connections from now on with TLS 1.3 and this (PEM); those begun live on. Before or after `start`.

        Raises:
            ValueError: (part, why); part is "certificate", "key", "authorities" or "revocation lists". What was, stays.
        """
    def start(self, host: str, port: int, health_port: int | None = None) -> int:
        """Listen and serve; return the port.

        Args:
            health_port: one more port that answers health checks alone, without TLS.

        Raises:
            OSError: the address cannot be had.
        """
    def fileno(self) -> int:
        """The descriptor that is readable while `take` has something to give."""
    def take(self) -> tuple[list[Call], list[tuple[int, int, bytes | None]]]:
        """Return the calls that have come in, and what happened since, oldest first: (kind, the call's id, message).

        Kinds: 0 MESSAGE (the next of a request stream; None at its end), 1 CANCELLED (the caller is gone or its deadline
        over), 2 WRITABLE (room in a response stream), 3 DRAINED (all has ended after `shut_down`; id 0),
        4 REFUSED (at the handshake: instead of an id how many since the last such event; "address: reason" of the latest).
        """
    def shut_down(self) -> None:
        """Take no new connections and calls; those begun go on."""
    def close(self) -> None:
        """Close every connection and end the thread."""
