"""The outside world: configuration, clock, event store, vault, sandbox providers, wiring, command line."""
