"""The world of the rate limit: nothing breaks, but there is more to fetch than Strava allows.

It has real windows, several processes on one database, athletes with years of activities who upload every
day, and optionally another program that uses the same application. `python -m sim.quota` runs it; see
docs/simulation.md.
"""
