"""Runs jobs, and has never heard of Strava."""
