"""Signed orders, the policy that says who must approve them, and what proves both; docs/signed-orders.md."""
