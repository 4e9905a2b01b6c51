"""Crash truth: real processes on real files, killed anywhere; then what they had answered is compared with what is stored."""
