"""The tables, and the migrations between schema versions."""
