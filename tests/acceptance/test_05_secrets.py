"""After all that: no secret, token or body anywhere that it must not be."""

from tests.acceptance.machine import Machine, Tenant
from tests.programs import eventually


def test_no_secret_is_anywhere_it_must_not_be(host: Machine, tenant: Tenant) -> None:
    """Not in the journal, the process list, environments, `systemctl show`, nor in a file that everybody may read."""
    secret, marker = tenant.about["secret"], "BODY-MARKER-7f3a"
    host.run(f"printf 'Subject: x\\n\\n{marker}\\n' | sendmail root")
    eventually(lambda: tenant.accepted(), "it arrives")
    tokens = host.run("cat /var/lib/proxmox-graph-mail/*").stdout
    token = max(tokens.replace('"', " ").split(), key=len)
    assert token.count(".") == 2
    assert len(token) > 200
    words = (secret, token[:60], token.rpartition(".")[2], marker)
    places = {
        "journal": host.run("journalctl --no-pager -o export").stdout,
        "processes": host.run("for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; done 2>/dev/null", check=False).stdout,
        "environments": host.run(
            "cat $(pgrep -f proxmox-graph-mail | sed 's|.*|/proc/&/environ|') 2>/dev/null", check=False
        ).stdout,
        "systemctl show": host.run("systemctl show 'proxmox-graph-mail*'").stdout,
        "systemctl status": host.run("systemctl status -l --no-pager 'proxmox-graph-mail*'", check=False).stdout,
    }
    for place, text in places.items():
        assert len(text) > 100, place
        for word in words:
            assert word not in text, place
    host.run("umask 077; cat > /root/words", stdin="".join(f"{word}\n" for word in words))
    # /srv/tenant is Microsoft's, and /proc and /sys are no files.
    found = host.run(
        "find / -xdev \\( -path /proc -o -path /sys -o -path /srv/tenant -o -path /srv/project \\) -prune -o -type f -perm -004 -print0 | "
        "xargs -0 grep -lFf /root/words; find /var /run /tmp -type f -perm -004 -print0 | xargs -0 grep -lFf /root/words",
        check=False,
    ).stdout
    assert found == ""
