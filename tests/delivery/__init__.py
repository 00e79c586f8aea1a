"""Tests of proxmox_graph_mail/delivery."""
