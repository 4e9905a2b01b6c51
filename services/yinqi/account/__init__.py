"""Accounts: the double-entry ledger, holds, balances and the bank's statement entries (账户)."""
