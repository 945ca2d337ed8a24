"""The only package with Strava's URLs, JSON and headers (docs/strava-api.md)."""
