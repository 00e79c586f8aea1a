"""The queue runner: it alone joins the spool, the message and Graph, and decides what happens to a mail next.

    runner           the loop: scan, dispatch, collect, sleep
    index            one record a message (Queued), filled from spool and journal once, kept true by what the runner does
    turns            whose message is next. Pure
    attempt, form    one attempt: recipients, batches; in which form a batch is sent
    relay            what the settings say about every message: by which mailbox, as whom, who reads local mail
    verdict, schedule   what an outcome makes of the message, and when it is tried next. Pure
    settlement       writes the verdict down: spool, journal, index, log, record
    suspension       what one message meets that every other would meet too
    configuration    the settings, read again when they change
    surroundings     clocks, chance, what is done once a day
    events, supervision   what wakes the runner; what it tells systemd
    alarm, record, credential_end   what admins are told, and what remains for them to look at

Senders are threads that read one message and talk to Graph; everything else happens in the main thread.
"""
