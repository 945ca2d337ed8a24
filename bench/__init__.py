"""Benches: figures that decisions rest on."""
