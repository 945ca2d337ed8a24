"""The shapes that queries return."""
