"""`python3 -I …/admin/__main__.py`: the command without an installed launcher, as the fast path starts it."""

import os
import sys

if __package__ in (None, ""):
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from proxmox_graph_mail.admin.app import main

main()
