"""Turn values into pages, text and charts."""
