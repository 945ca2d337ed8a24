"""Authentication, sessions and access rules."""
