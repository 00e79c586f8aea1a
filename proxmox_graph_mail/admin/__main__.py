#!/usr/bin/python3 -I
"""The command without an installed launcher: what the package links to as proxmox-graph-mail, and the fast path starts."""

import os
import sys

if __package__ in (None, ""):
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__)))))
    # What root once installed there with pip must not take the place of Debian's modules, with which this is tested.
    sys.path[:] = [path for path in sys.path if not (path.startswith("/usr/local/") and path.endswith("dist-packages"))]
    sys.dont_write_bytecode = __file__.startswith("/usr/")  # there the package compiles, and cleans up

from proxmox_graph_mail.admin.app import main

main()
