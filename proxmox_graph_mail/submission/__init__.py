"""The fast path: from a caller's argv and standard input to a mail that is safe in the spool.

Only the standard library, and little of it: `sendmail` is called from inside the HA manager's round, where a
minute's hang fences the node. tests/test_walls.py holds the list of what may not be imported here.
"""
