"""Small mistakes all over feedzone, as a maintainer's slip would be, and the tests that must find them."""
