"""Measurements anyone can repeat: `make bench`. Nothing here is a test; nothing in the test suite is timed."""
