"""Settings of the payment service, beyond those every service has."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from yinqi.runtime.settings import Settings


class PaymentSettings(Settings):
    """Names of variables: `YINQI_` + the field's name in capitals."""

    # Real banks ask for about 300 s before the first question; the sandbox bank answers at once.
    first_query_delay_s: float = Field(0.5, ge=0)
    query_interval_max_s: float = Field(30.0, gt=0)
    # Calls behind which the gateway asks a bank: longer than its own patience with the bank (profiles, [timeouts]), or
    # a slow bank would never be heard.
    payment_bank_timeout_s: float = Field(45.0, gt=0)
    # How long a claim holds after its process died; longer than the call by as much as a stall may last.
    payment_lease_s: float = Field(60.0, gt=0)
    payment_retry_delay_s: float = Field(1.0, gt=0)
    payment_retry_max_s: float = Field(300.0, gt=0)  # the longest pause while a bank is away
    payment_resends_max: int = Field(3, ge=0)
    # How long an empty answer of the bank may make a resend permit.
    payment_permit_lifetime_s: float = Field(900.0, gt=0)
    # When a payment that nobody can prove goes to the people's queue: after so many questions, or so long after it was
    # sent; and one that the bank has but never ends.
    payment_doubt_queries: int = Field(10, ge=1)
    payment_doubt_after_s: float = Field(1_800.0, gt=0)
    payment_processing_doubt_after_s: float = Field(259_200.0, gt=0)
    # Days after acceptance, or after the requested execution date, in which a payment may still be released.
    payment_execution_window_days: int = Field(7, ge=0, le=366)
    # Folder of the approval policy (docs/signed-orders.md); empty: none is in force. {var_dir} is filled in.
    payment_policy_dir: str = ""
    # How often the folder is looked at; a new version is in force two looks after it was put there.
    payment_policy_poll_s: float = Field(1.0, gt=0, le=3_600.0)
    # The secrets of people's one-time codes, sealed, and the key that seals them (`yinqi approve enrol`).
    payment_codes_file: str = "{var_dir}/payment/one_time_codes.sealed"
    payment_codes_key_file: str = "{var_dir}/payment/one_time_codes.key"
    # The key with which the service signs for callers that do not, by its name in the policy; empty: nobody vouches.
    payment_voucher_key_id: str = ""
    payment_voucher_key_file: str = "{var_dir}/payment/voucher.key"
    payment_batch_max: int = Field(1_000, ge=1, le=1_000)
    payment_calls_max: int = Field(8, ge=1, le=64)
    # Calls being accepted at once; the rest hear at once when to come back. A smaller bound keeps those accepted quicker
    # under overload (128: `make evidence PARTS=overload`), a larger one takes longer bursts. A batch may be 16 MiB.
    payment_initiations_max: int = Field(1_024, ge=1)
    payment_initiation_batches_max: int = Field(64, ge=1)
    payment_coalesced_max: int = Field(256, ge=1, le=1_000)
    returns_interval_s: float = Field(10.0, gt=0)

    def filled(self, text: str) -> Path:
        """Return a path with {var_dir} filled in."""
        return Path(text.replace("{var_dir}", str(self.var_dir)))

    @model_validator(mode="after")
    def _lease_outlives_calls(self) -> PaymentSettings:
        longest_s = max(self.payment_bank_timeout_s, self.call_timeout_s)
        if self.payment_lease_s <= longest_s:
            raise ValueError(
                f"YINQI_PAYMENT_LEASE_S ({self.payment_lease_s:g}) must be longer than YINQI_PAYMENT_BANK_TIMEOUT_S "
                f"and YINQI_CALL_TIMEOUT_S ({longest_s:g}): else nothing could be sent within its claim"
            )
        return self
