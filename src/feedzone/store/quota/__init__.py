"""Strava's rate limit, shared by all processes."""
