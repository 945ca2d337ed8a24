"""What people ask for: one class per subject, one transaction per method."""
