"""`make acceptance`: the package on a booted Debian 13, with the programs that really send mail. Needs root."""
