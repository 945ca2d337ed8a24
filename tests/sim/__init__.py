"""The simulated world: a seed decides everything (docs/simulation.md)."""
