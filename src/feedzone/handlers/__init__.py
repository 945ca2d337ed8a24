"""One module a kind of job: asks Strava, decides, and says what is to be written."""
