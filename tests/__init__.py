"""The tests, laid out as the package is; sandbox/ is the stand-in for Microsoft."""
