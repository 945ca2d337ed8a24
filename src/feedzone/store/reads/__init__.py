"""SQL behind the read models."""
