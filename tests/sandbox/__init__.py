"""The stand-in for Microsoft: Entra and Graph in one TLS server, as strict as their documentation.

`python -m tests.sandbox DIR` serves on a loopback port, writes DIR/sandbox.json (URL, CA file, credentials), keeps what
it accepts in DIR/accepted/, and obeys `/_sandbox/…` (faults, what arrived, counts). Nothing of the product is used
here, so that both sides cannot be wrong together.
"""
