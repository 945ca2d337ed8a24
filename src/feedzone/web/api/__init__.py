"""The HTTP API for programs: /api/v1, one module per noun."""
