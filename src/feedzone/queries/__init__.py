"""Read models: what the API, pages, CLI and metrics show."""
