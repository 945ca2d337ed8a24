"""The rate limit: windows, reserve, demand, forecast."""
