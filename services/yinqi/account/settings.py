"""Settings of the account service, beyond those every service has."""

from __future__ import annotations

from pydantic import Field

from yinqi.runtime.settings import Settings


class AccountSettings(Settings):
    """Names of variables: `YINQI_` + the field's name in capitals."""

    account_list_interval_s: float = Field(30.0, gt=0)  # how often the gateway is asked which accounts there are
    account_balance_interval_s: float = Field(5.0, gt=0)  # how often the banks are asked for balances
    account_balance_batch_max: int = Field(500, ge=1, le=1_000)  # accounts in one question
    account_statement_interval_s: float = Field(2.0, gt=0)  # how often statements are read on; a real bank wants more
    account_statement_retry_s: float = Field(60.0, gt=0)  # before a statement with a flaw is read again from its start
    account_statement_days_max: int = Field(31, ge=1, le=366)  # how far back missing days are fetched
    account_statement_pages_max: int = Field(10_000, ge=1)  # of one day; more means that a bank's paging is broken
    account_fetches_max: int = Field(4, ge=1, le=64)  # accounts whose statements are read at once
    account_feed_batch_max: int = Field(500, ge=1, le=10_000)  # entries in one message of FollowEntries
