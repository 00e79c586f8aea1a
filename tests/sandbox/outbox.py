"""What Exchange Online does with a mailbox's mail after Graph's 202."""

from collections import deque

RATE, DAILY, DAY = 30, 10_000, 86400.0


class Outbox:
    """30 messages a minute in order of arrival, 10,000 recipients in 24 hours, and a report of non-delivery for what is more
    ("Exchange Online limits", sending limits). Times in seconds, of whatever clock."""

    def __init__(self) -> None:
        self.inbox: list[tuple[str, float]] = []
        """Subjects, and when each is in the recipient's inbox."""
        self.bounced: list[str] = []
        self._released: deque[float] = deque(maxlen=RATE)
        self._recipients: deque[tuple[float, int]] = deque()

    def take(self, subject: str, recipients: int, now: float) -> None:
        """Graph said 202."""
        while self._recipients and self._recipients[0][0] <= now - DAY:
            self._recipients.popleft()
        if sum(count for _, count in self._recipients) + recipients > DAILY:
            self.bounced.append(subject)
            return
        self._recipients.append((now, recipients))
        when = max(now, self._released[0] + 60) if len(self._released) == RATE else now
        self._released.append(when)
        self.inbox.append((subject, when))
