"""Journals that show tampering: each is an SM3 hash chain whose seals are signed and handed outside (docs/audit.md)."""
