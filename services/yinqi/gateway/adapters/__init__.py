"""The banks' dialects, one package each. An adapter is fields ↔ bytes and codes ↔ status, nothing more."""
