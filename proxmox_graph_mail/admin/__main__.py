"""`python3 -I …/admin/__main__.py`: the command without an installed launcher, as the fast path starts it."""

import os
import sys

if __package__ in (None, ""):
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from proxmox_graph_mail import log

try:
    from proxmox_graph_mail.admin.app import main
except ModuleNotFoundError as error:
    # A detached pass has no other way to say it than the log.
    reason = f"{sys.executable} has no module {error.name}: install the package, or use the programs of the virtual environment"
    log.setup("admin", echo=True)
    log.line(reason, log.ERR)
    sys.exit(75)

main()
