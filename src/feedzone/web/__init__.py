"""The web room: webhook, consent, API, pages, health. It asks queries and services, and knows no SQL."""
