"""Evidence that is printed, not only asserted: `python -m tests.evidence`, or `make evidence`."""
