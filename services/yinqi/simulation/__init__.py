"""The whole house in one process on a virtual clock: faults, operators and a bank from a seed (docs/simulation.md)."""
