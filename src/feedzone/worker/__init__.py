"""Runs jobs; it does not know Strava."""
