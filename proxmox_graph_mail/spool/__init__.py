"""The spool: what a message is on disk, and every change that can happen to it there.

    queue/.ID      being written; nobody but its writer looks at it. Its writer holds a flock on it      incoming.py
    queue/ID       safe, to be sent. mtime is the time of the next attempt; 0 means at once              store.py
    queue/ID.log   its journal: what happened to it so far; advisory, a line of JSON an event            journal.py
    queue/.urge    an admin wants everything tried now, whatever was refused before                      store.py
    failed/ID      refused or too old: kept for the admin                                                store.py
    kept/ID        sent, but smaller than it was: the original, for KEPT_AGE                             store.py
    digests/ID     a second name of queue/ID, which stands for the messages that its first line names    digests.py
    ledger         recipients of the last 24 hours, and why mail waits for the mailbox's pace            ledger.py
    hand-over/ID   a second name of queue/ID, for root's unit (root_mail/)                               store.py
    lock           held (flock) by the one queue runner; never unlinked                                  lock.py
    in-flight      what the queue runner has in hand, so that its successor knows which message crashed it        in_flight.py

A message's file is one line (envelope.py) and the bytes exactly as submitted. It is written as `.ID`, fsynced, renamed, the
directory fsynced, and from then on never changed in place: rename, utime and unlink are the only state changes, each atomic.
So after a crash at any instant a message is absent (its submitter was not told it was safe) or whole, in exactly one place.
docs/architecture.md has the table of states.

Directories are 2770 and belong to the service user; nobody but it and root writes there. What is in them that is no message
(junk, foreign names, links, damaged files) is reported once and left alone.

store, incoming, envelope and wake are the fast path's: the standard library, and little of it.
"""
