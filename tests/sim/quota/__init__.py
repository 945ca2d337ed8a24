"""A world for the rate limit alone: nothing breaks, but there is more to fetch than Strava allows.

Real window lengths, several processes on one database, athletes with years of history that upload every day
and, if wanted, somebody else who uses the same application. `python -m sim.quota`; see docs/simulation.md.
"""
