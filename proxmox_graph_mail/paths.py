"""Where everything lies: every path of this program, and every PROXMOX_GRAPH_MAIL_* variable.

The variables are for tests, containers and checkouts. Each is read when its path is asked for, never at import, and nowhere else.
"""

from proxmox_graph_mail import light_os as os

HOST_SETTINGS = "/etc/proxmox-graph-mail.conf"
CLUSTER_SETTINGS = "/etc/pve/priv/proxmox-graph-mail.conf"
"""One file for a whole cluster. Only root opens it; everybody else reads `cluster_copy`."""
CLUSTER_WATCH = "/etc/pve/priv/proxmox-graph-mail-watch"  # a file for each node: does its mail go?
SENDMAIL = "/usr/sbin/sendmail"
EXAMPLE_SETTINGS = "/usr/share/proxmox-graph-mail/proxmox-graph-mail.conf.example"
CERTIFICATE = "/etc/proxmox-graph-mail.pem"  # key and certificate that `setup --certificate` makes
CREDENTIAL_STORES = ("/etc/credstore", "/etc/credstore.encrypted")  # systemd-creds(1)
PACKAGE_RUN = "/run/proxmox-graph-mail"
PACKAGE = os.path.dirname(__file__)  # this package's own directory


DEFAULT_SPOOL = "/var/spool/proxmox-graph-mail"


def spool() -> str:
    """`$PROXMOX_GRAPH_MAIL_SPOOL`: queue/, failed/, kept/, hand-over/, the lock."""
    return os.environ.get("PROXMOX_GRAPH_MAIL_SPOOL", DEFAULT_SPOOL)


def state() -> str:
    """`$PROXMOX_GRAPH_MAIL_STATE`: token cache, record of outcomes, alarm, what was found not to be permitted."""
    return os.environ.get("PROXMOX_GRAPH_MAIL_STATE", "/var/lib/proxmox-graph-mail")


def run() -> str:
    """`$PROXMOX_GRAPH_MAIL_RUN`: the socket `submit` and the FIFO `wake`."""
    return os.environ.get("PROXMOX_GRAPH_MAIL_RUN", PACKAGE_RUN)


def host() -> str:
    """`$PROXMOX_GRAPH_MAIL_HOST`: what root read of Proxmox, for everybody else."""
    return os.environ.get("PROXMOX_GRAPH_MAIL_HOST", "/var/lib/proxmox-graph-mail-host")


def watch() -> str:
    """`$PROXMOX_GRAPH_MAIL_WATCH`: what the watch saw and said since the boot."""
    return os.environ.get("PROXMOX_GRAPH_MAIL_WATCH", "/run/proxmox-graph-mail-watch")


def patience() -> float:
    """`$PROXMOX_GRAPH_MAIL_PATIENCE`, seconds for which mail may be refused, or not be settled, before that is an alarm."""
    return float(os.environ.get("PROXMOX_GRAPH_MAIL_PATIENCE", "900"))


def host_facts() -> str:
    """The facts of a Proxmox host (proxmox/facts.py)."""
    return f"{host()}/host.json"


def cluster_copy() -> str:
    """The last good copy of CLUSTER_SETTINGS: /etc/pve is closed to the queue runner, and may hang."""
    return f"{host()}/cluster.conf"


def settings_files() -> tuple[str, ...]:
    """The files that settings are read from, the first that has a key wins: `$PROXMOX_GRAPH_MAIL_CONFIG` alone where it is
    set."""
    named = os.environ.get("PROXMOX_GRAPH_MAIL_CONFIG")
    return (named,) if named else (HOST_SETTINGS, cluster_copy())


def shown(path: str) -> str:
    """The file that an admin knows: the cluster's own, where its copy is read."""
    return CLUSTER_SETTINGS if path == cluster_copy() else path


def below_root(path: str) -> str:
    """A path of the host; `$PROXMOX_GRAPH_MAIL_ROOT` is put before it."""
    return f"{os.environ.get('PROXMOX_GRAPH_MAIL_ROOT', '')}{path}"


def aliases() -> str:
    """`$PROXMOX_GRAPH_MAIL_ALIASES`, or /etc/aliases."""
    return os.environ.get("PROXMOX_GRAPH_MAIL_ALIASES", "/etc/aliases")


def syslog() -> str:
    """`$PROXMOX_GRAPH_MAIL_SYSLOG`, or the local syslog socket."""
    return os.environ.get("PROXMOX_GRAPH_MAIL_SYSLOG", "/dev/log")


def message_limit() -> int:
    """`$PROXMOX_GRAPH_MAIL_MESSAGE_LIMIT`, bytes of a message: no mailbox may send more than 150 MB, in base64 205 MB."""
    return int(os.environ.get("PROXMOX_GRAPH_MAIL_MESSAGE_LIMIT", 256 << 20))


def receive_idle() -> float:
    """`$PROXMOX_GRAPH_MAIL_RECEIVE_IDLE`, seconds for which a client of the submit socket may say nothing."""
    return float(os.environ.get("PROXMOX_GRAPH_MAIL_RECEIVE_IDLE", "10"))


def guest_networks() -> str:
    """`$PROXMOX_GRAPH_MAIL_NETWORKS`: the networks (CIDR, separated by blanks) whose machines may send by SMTP."""
    return os.environ.get("PROXMOX_GRAPH_MAIL_NETWORKS", "")


def may_start_pass() -> bool:
    """Not with `$PROXMOX_GRAPH_MAIL_PASS=no`: in a receiver's sandbox, from which a pass could send nothing."""
    return os.environ.get("PROXMOX_GRAPH_MAIL_PASS") != "no"
