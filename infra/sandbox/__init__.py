"""Providers for demo and tests that speak the real protocols on loopback."""
