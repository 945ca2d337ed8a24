"""Run transactions on SQLite or PostgreSQL behind one interface."""
