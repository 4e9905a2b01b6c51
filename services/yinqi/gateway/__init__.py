"""The gateway (前置机): the only door to the banks. Profiles, keys, limits, the archive of every byte."""
