"""How a text mail's HTML page looks: rendered by a browser without a screen, light and dark, on a desk and on a phone.

`make pictures` writes them into dist/pictures, to be looked at, and docs/arrives.png and docs/digest.png, what README shows. Needs chromium, Debian's
package.
"""

import html
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from proxmox_graph_mail.delivery.attempt import prepared
from proxmox_graph_mail.delivery.digest import compose
from proxmox_graph_mail.graph.message import Circumstances, graph_message
from proxmox_graph_mail.graph.page import text_page
from proxmox_graph_mail.host import Host
from proxmox_graph_mail.message.aliases import read_aliases
from proxmox_graph_mail.message.mail import Mail
from proxmox_graph_mail.message.parse import parse
from proxmox_graph_mail.message.recipients import AddressBook, Recipients
from proxmox_graph_mail.spool.envelope import Envelope
from proxmox_graph_mail.spool.store import Spool
from tests.fleet import submit
from tests.programs import TREE

ZFS = """\
  pool: rpool
 state: DEGRADED
status: One or more devices has been removed by the administrator.
  scan: scrub repaired 0B in 00:41:07 with 0 errors on Sun Nov  8 01:05:08 2026
config:

\tNAME                                            STATE     READ WRITE CKSUM
\trpool                                           DEGRADED     0     0     0
\t  mirror-0                                      DEGRADED     0     0     0
\t    ata-Samsung_SSD_870_EVO_1TB_S6PTNZ0R-part3  ONLINE       0     0     0
\t    ata-WDC_WDS100T1R0A-68A4W0_2145-part3       REMOVED      0     0    12
"""
DIFF = """\
--- /etc/network/interfaces\t2026-11-01 09:12:44
+++ /etc/network/interfaces.new\t2026-11-24 18:03:10
@@ -11,4 +11,5 @@
 iface vmbr0 inet static
-\taddress 192.0.2.10/24
+\taddress 192.0.2.20/24
+\tgateway 192.0.2.1  # <- "new" & untested
 \tbridge-ports eno1
"""
BOXES = """\
Result of proxmox-backup-manager datastore list:

┌───────────┬───────────────────────────────┬───────────────────────────────┬─────────┐
│ name      │ path                          │ comment                       │ state   │
╞═══════════╪═══════════════════════════════╪═══════════════════════════════╪═════════╡
│ nightly   │ /mnt/datastore/nightly        │ büro, produktion              │ ok      │
├───────────┼───────────────────────────────┼───────────────────────────────┼─────────┤
│ archive   │ /mnt/datastore/archive        │ seven years, never pruned     │ 97 %    │
└───────────┴───────────────────────────────┴───────────────────────────────┴─────────┘

One datastore is nearly full. Add a disk, or prune it, before the next backup begins at 21:00.
"""
SMART = """\
The following warning/error was logged by the smartd daemon:

ID# ATTRIBUTE_NAME          FLAG     VALUE WORST THRESH TYPE      UPDATED  WHEN_FAILED RAW_VALUE
  5 Reallocated_Sector_Ct   0x0033   084   084   010    Pre-fail  Always       -       3296
197 Current_Pending_Sector  0x0012   100   100   000    Old_age   Always       -       8
198 Offline_Uncorrectable   0x0010   100   100   000    Old_age   Offline      -       8

You can also use the smartctl utility for further investigation. Another message will be sent in 24 hours if it persists.
"""
LONG = (
    "Command: " + " ".join(f"--exclude-path /srv/data/archive/{year}/**" for year in range(2001, 2016)) + "\n" + "x" * 400 + "\n"
)


def texts() -> dict[str, str]:
    """What host programs write, and where columns and lines matter."""
    report = parse((TREE / "tests/corpus/vzdump-report.eml").read_bytes())
    return {"zfs": ZFS, "diff": DIFF, "long-line": LONG, "boxes": BOXES, "smart": SMART, "log": report.text or ""}


def pages() -> dict[str, str]:
    """The pages: of the texts, and of mails whose parts stand above and below one another."""
    made = {name: text_page(text) for name, text in texts().items()}
    for name in ("texts-above-and-below-a-page", "form-feed-in-a-table", "progress-by-returns", "overstruck-bold-and-underlined"):
        mail, people, circumstances = prepared_here((TREE / f"tests/corpus/{name}.eml").read_bytes())
        made[name] = str(graph_message(mail, people, circumstances)["body"]["content"])
    return made


def picture(page: str, file: Path, width: int, *, dark: bool = False, height: int = 900) -> Image.Image:
    """The page as it looks in a window of this width, in CSS pixels."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("pictures are made by chromium: apt install chromium")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "page.html").write_text(page, "utf-8")
        # A window cannot be narrower than some 500 pixels; a frame in it can.
        frame = Path(folder) / "frame.html"
        scheme = "dark" if dark else "light"
        frame.write_text(
            f'<!doctype html><meta name="color-scheme" content="{scheme}"><body style="margin:0">'
            f'<iframe src="page.html" style="border:0;width:{width}px;height:{height}px"></iframe>'
        )
        command = [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}/profile",
            f"--window-size={max(width, 500)},{height}", f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            f"--screenshot={file}", frame.as_uri(),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert file.exists(), done.stderr
    return Image.open(file).convert("L").crop((0, 0, width, height))


READER = """\
<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; font: 15px/1.4 "DejaVu Sans", sans-serif; color: #222; background: #f3f2f1; padding: 20px }}
article {{ background: #fff; border: 1px solid #d2d0ce; margin-bottom: 16px; padding: 16px 20px }}
h1 {{ font-size: 17px; margin: 0 0 6px }} p {{ margin: 0 0 12px; color: #605e5c; font-size: 13px }}
iframe {{ border: 0; width: 100% }}
</style>{mails}
"""
MAIL = """\
<article><h1>{subject}</h1><p><b>{name}</b> &lt;{address}&gt;<br>to {to}</p>
<iframe srcdoc="{body}" style="height:{height}px"></iframe></article>
"""
HOST = Host(name="pve1", fqdn="pve1.example.com", names=frozenset(["pve1", "pve1.example.com"]), cluster="prod")
SENDER, READER_ADDRESS = "pve@example.com", "admin@example.com"


def digest() -> str:
    """What comes of a cron job that failed every minute of a quarter of an hour, as a mail program shows it."""
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(folder)
        spool.create()
        subject = "Cron <root@pve1> /usr/local/bin/check-replica"
        ids = [
            submit(
                spool, 1795000000.0 + 60 * minute,
                f"From: root (Cron Daemon)\nTo: root\nSubject: {subject}\n\nreplica tank/vm: behind by {40 + 3 * minute} snapshots\n"
                "see /var/log/replica.log\n".encode(),
            )
            for minute in range(12)
        ]  # fmt: skip
        envelope = Envelope(sender="root", recipients=("root",), uid=0, arrived=1795000720.0, members=tuple(ids))
        made = compose(spool, envelope, HOST.name)
    assert made is not None
    return READER.format(mails=arrived(made.mail, 330))


def prepared_here(data: bytes | Mail) -> tuple[Mail, Recipients, Circumstances]:
    """A message as root of this host hands it in."""
    book = AddressBook(HOST, read_aliases(Path("/nonexistent")), (READER_ADDRESS,), SENDER)
    envelope = Envelope(sender="root", recipients=("root",), uid=0, arrived=1795000000.0)
    return prepared("0656A4B0C1E1290FA3", envelope, data, book, SENDER, 1795000000.5)


def arrived(data: bytes | Mail, height: int) -> str:
    """A message as a mail program shows it, by the Graph message that is made of it."""
    message = graph_message(*prepared_here(data), headers=True)
    sender: dict[str, str] = message["from"]["emailAddress"]
    return MAIL.format(
        subject=html.escape(str(message["subject"])), name=html.escape(sender["name"]), address=SENDER, to=READER_ADDRESS,
        body=html.escape(str(message["body"]["content"])), height=height,
    )  # fmt: skip


def reader() -> str:
    """Two mails that a host sends: a pool that is degraded, and a nightly backup."""
    zed = f"From: root\nTo: root\nSubject: ZFS device removed event for rpool on pve1\n\n{ZFS}".encode()
    backup = (TREE / "tests/corpus/vzdump-report.eml").read_bytes()
    return READER.format(mails=arrived(zed, 190) + arrived(backup, 200))


def main() -> None:
    with tempfile.TemporaryDirectory() as made:
        picture(reader(), Path(made) / "arrives.png", 900, height=640)
        shutil.copy(Path(made) / "arrives.png", TREE / "docs" / "arrives.png")
        picture(digest(), Path(made) / "digest.png", 900, height=480)
        shutil.copy(Path(made) / "digest.png", TREE / "docs" / "digest.png")
    folder = TREE / "dist" / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in pages().items():
        for window, width in (("desk", 1100), ("phone", 390)):
            for dark in (False, True):
                file = folder / f"{name}-{window}-{'dark' if dark else 'light'}.png"
                picture(page, file, width, dark=dark)
                print(file)


if __name__ == "__main__":
    main()
