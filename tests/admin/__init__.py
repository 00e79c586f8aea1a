"""Tests of proxmox_graph_mail/admin."""
