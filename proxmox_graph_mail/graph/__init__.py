"""All that knows Microsoft.

    http, transport           one HTTP client; what a connection that fails means
    credential, entra         who the app is; access tokens, by MSAL. token_cache keeps them
    request                   a request to Graph, with its token and its short retries: an answer, or a RequestError
    mailbox, draft, outcome   the mailbox: what comes of a mail. Nothing else makes an Outcome
    application               the app registration: its keys
    codes                     what Microsoft's error codes mean, one row each
    message, mime, page, fitting   Mail → what Graph takes

httpx, tenacity and msal are imported here and nowhere else.
"""

import sys

# httpx imports rich, click and pygments for a command line of its own, where they are installed: a third of the queue runner's
# start. None here makes it do as if they were not (the import system's documented meaning of None in sys.modules).
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
