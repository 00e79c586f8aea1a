"""Tests of proxmox_graph_mail/proxmox."""
