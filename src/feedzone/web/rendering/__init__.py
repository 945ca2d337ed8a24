"""How values and pages look."""
