"""docs/outcomes.md, from the rows of codes.py: `python -m proxmox_graph_mail.graph.reference` prints it (`make docs`)."""

from proxmox_graph_mail.graph.codes import ENTRA, GRAPH


def markdown() -> str:
    """docs/outcomes.md."""
    lines = [
        "# Outcomes",
        "",
        "What the queue runner makes of each answer. Written by `make docs`; do not edit.",
        "",
        "* **sent**: the answer was 202. Nothing else is success.",
        "* **transient**: certainly not sent. Tried again, at first within the attempt, then by the queue's schedule.",
        "* **uncertain**: perhaps sent. Tried again after some minutes at the earliest, always with the same Message-ID.",
        "* **held**: the tenant refuses this host. The mail does not age; it is tried slowly, and at once when settings change.",
        "* **failed**: Graph refuses this very message. It is kept in failed/ until an admin retries or removes it.",
        "",
        "An unknown code goes by its HTTP status: 401, 403, 407, 413, 507 and redirects are held; 408, 421, 423, 425, 429, 503",
        "and 509 transient; other 4xx failed, but held where the answer is not Graph's; everything else (other 5xx, 503 without",
        "a code, any 2xx but 202) uncertain. Under 500, 502 and 504 a transient code is uncertain. A connection that cannot be",
        "made is transient; one that breaks after the request went out is uncertain; an untrusted certificate and a proxy that",
        "wants a login are held.",
        "",
        "## Graph and Exchange",
        "",
        "| code | outcome | what it means, and what to do |",
        "|---|---|---|",
        *(f"| {code} | {row.status} | {row.sentence} |" for code, row in GRAPH.items()),
        "",
        "## Entra",
        "",
        "| code | outcome | what it means, and what to do |",
        "|---|---|---|",
        *(f"| AADSTS{number} | {row.status} | {row.sentence} |" for number, row in ENTRA.items()),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown(), end="")
