"""What sends mail on this host by another way: found by reading, never changed here (admin/migrate.py).

    finding.py   one thing that was found: where, what it means, what to do
    relays.py    mail systems that hand mail to Microsoft's SMTP: Postfix, msmtp, ssmtp, nullmailer, dma, exim
    callers.py   who names an address or a sender: cron, Proxmox's options, zed, smartd, mdadm

Each tool's own documented syntax is believed, and nothing else; a file that cannot be read is passed over.
"""
