"""One module for each job kind: it asks Strava, decides, and returns the effects to write."""
