"""Typed errors with a stable reason code. One table in runtime maps them to gRPC codes.

Texts are written for the person who must act; nothing internal and no personal data goes into them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """What is wrong with one field of a request or one line of a file.

    Attributes:
        field: path of the field, e.g. "creditor_agent.clearing_member_id".
        reason: stable code, UPPER_SNAKE_CASE.
        description: English sentence: what is wrong and what is allowed.
        description_zh: the same in Chinese.
    """

    field: str
    reason: str
    description: str
    description_zh: str = ""


@dataclass(eq=False)
class YinqiError(Exception):
    """Base of all errors that may be shown to a caller.

    Attributes:
        reason: stable code, UPPER_SNAKE_CASE; callers may branch on it.
        message: English; says what to do next where that is known.
        message_zh: Chinese, where people read it.
        violations: the fields at fault, if any.
        metadata: further facts, never personal data.
    """

    reason: str
    message: str
    message_zh: str = ""
    violations: Sequence[FieldViolation] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


class InvalidRequest(YinqiError):
    """The caller must change the request. Nothing was stored."""


class AmountInvalid(InvalidRequest):
    """An amount or a currency is wrong."""


class NotFound(YinqiError):
    """The named thing does not exist."""


class AlreadyExists(YinqiError):
    """The key is taken by other content. Nothing was stored for this request."""


class FailedPrecondition(YinqiError):
    """The thing is not in a state that allows this; retrying the same call will not help."""


class PermissionDenied(YinqiError):
    """The caller's roles do not allow this call."""


class Unauthenticated(YinqiError):
    """The caller did not say, or did not prove, who it is."""


class Overloaded(YinqiError):
    """A queue or limit is full; retry later, with backoff. Nothing was stored."""


class Unavailable(YinqiError):
    """A needed part is away; retrying is safe because nothing was stored or sent."""


class StorageFull(Unavailable):
    """The disk is full. Nothing was acknowledged; an operator must free space."""


class OutcomeUnknown(YinqiError):
    """The request left, no usable answer came: money may have moved. Query, never resend."""
