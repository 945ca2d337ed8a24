"""Actions: one class per subject, one transaction per method."""
