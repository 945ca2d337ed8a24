"""Receive Strava's events: the webhook and the inbox."""
