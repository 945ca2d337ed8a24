"""The only package with SQL. One module a noun; a transaction is one plain function (see database.py)."""
