"""The queue runner: it alone joins the spool, the message and Graph, and decides what happens to a mail next."""
