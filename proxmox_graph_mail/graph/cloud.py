"""Microsoft's national clouds: where tokens come from and where Graph is.

Source: Graph, "National cloud deployments" (contrib/concepts/deployments.md).
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Cloud:
    """Base URLs, without tenant or version; `headers` is False where `message` has no internetMessageHeaders; `uploads` are the
    hosts that upload sessions lead to."""

    authority: str
    endpoint: str
    headers: bool = True
    uploads: tuple[str, ...] = ("outlook.office.com", "outlook.office365.com")

    @property
    def scope(self) -> str:
        """The scope of an app-only token: all that was granted to the app."""
        return f"{self.endpoint}/.default"


CLOUDS = {
    "global": Cloud("https://login.microsoftonline.com", "https://graph.microsoft.com"),
    "usgov": Cloud("https://login.microsoftonline.us", "https://graph.microsoft.us", uploads=("outlook.office365.us",)),
    "dod": Cloud("https://login.microsoftonline.us", "https://dod-graph.microsoft.us", uploads=("outlook-dod.office365.us",)),
    "china": Cloud(
        "https://login.partner.microsoftonline.cn",
        "https://microsoftgraph.chinacloudapi.cn",
        headers=False,
        uploads=("partner.outlook.cn",),
    ),
}


def cloud(name: str, authority: str = "", endpoint: str = "") -> Cloud:
    """The cloud's URLs, each replaced where another is given."""
    known = CLOUDS[name]
    return replace(known, authority=authority or known.authority, endpoint=endpoint or known.endpoint)
