"""RFC 822's header and its addresses, for both ends: `sendmail -t` and the queue runner read them alike.

The fast path imports this room, so it knows no regular expression and no `email` package, and nothing of the others.
"""
