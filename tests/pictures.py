"""How a text mail's HTML page looks: rendered by a browser without a screen, light and dark, on a desk and on a phone.

`make pictures` writes them into dist/pictures, to be looked at. Needs chromium, Debian's package.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from proxmox_graph_mail.graph.page import text_page
from proxmox_graph_mail.message.parse import parse
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
LONG = (
    "Command: " + " ".join(f"--exclude-path /srv/data/archive/{year}/**" for year in range(2001, 2016)) + "\n" + "x" * 400 + "\n"
)


def texts() -> dict[str, str]:
    """What host programs write, and where columns and lines matter."""
    report = parse((TREE / "tests/corpus/vzdump-report.eml").read_bytes())
    return {"zfs": ZFS, "diff": DIFF, "long-line": LONG, "log": report.text or ""}


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


def main() -> None:
    folder = TREE / "dist" / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts().items():
        for window, width in (("desk", 900), ("phone", 390)):
            for dark in (False, True):
                file = folder / f"{name}-{window}-{'dark' if dark else 'light'}.png"
                picture(text_page(text), file, width, dark=dark)
                print(file)


if __name__ == "__main__":
    main()
