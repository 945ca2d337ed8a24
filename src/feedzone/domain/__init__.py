"""Pure values and decisions: no await, no SQL, no HTTP, no clock reads."""
