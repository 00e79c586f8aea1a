"""All that knows Proxmox: what a host says about itself, its notification system, its cluster."""
