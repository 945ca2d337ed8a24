"""The web room: webhook, consent, API, pages, health. It asks insights and operations, and knows no SQL."""
