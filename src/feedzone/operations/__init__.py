"""What people ask for, by page, API or command line: one function each, one transaction each."""
