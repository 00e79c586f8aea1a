"""RFC 822 bytes → Mail, and addresses → recipients. Never refuses: what is wrong with a mail is recorded as a defect.

Knows nothing of Microsoft, Proxmox or the spool; takes bytes and names, gives values.
"""
