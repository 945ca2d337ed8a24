"""The only package that knows Strava's URLs, JSON and headers."""
