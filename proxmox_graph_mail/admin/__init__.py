"""The command proxmox-graph-mail, one file a verb; the only place that wires the settings to the rest."""
