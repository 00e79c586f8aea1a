"""What the fast path needs of `os`, under the same names, without importing it: that takes a sixth of a bare start of Python.

The system calls are those of `posix`, which `os` hands on as they are; `environ`, `path` and `makedirs` are the little that is
wanted of its Python half. Type checkers see `os` itself.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import *  # noqa: F403 - with their types
    from os import _exit as _exit
else:
    import posix
    import sys
    from posix import *  # noqa: F403 - every system call and constant, as in os
    from posix import _exit as _exit

    class environ:  # noqa: N801 - os's name
        """The environment; `os`'s where that is loaded, for it may have been changed there."""

        @staticmethod
        def get(name, default=None):
            """A variable, or `default`."""
            if "os" in sys.modules:
                return sys.modules["os"].environ.get(name, default)
            value = posix.environ.get(name.encode())
            return default if value is None else value.decode("utf-8", "surrogateescape")

    class path:  # noqa: N801 - os's name
        """Questions about paths; none raises OSError."""

        @staticmethod
        def dirname(name):
            """All before the last slash."""
            return name.rpartition("/")[0]

        @staticmethod
        def basename(name):
            """All after the last slash."""
            return name.rpartition("/")[2]

        @staticmethod
        def lexists(name):
            """Is there something, be it a link that leads nowhere?"""
            return _mode(posix.lstat, name) != 0

        @staticmethod
        def exists(name):
            """Is there something where it leads?"""
            return _mode(posix.stat, name) != 0

        @staticmethod
        def isdir(name):
            """Is it a directory?"""
            return (_mode(posix.stat, name) & 0o170000) == 0o040000

    def _mode(look, name):
        """What is there, as `look` sees it; 0 if nothing is."""
        try:
            return look(name).st_mode
        except (OSError, ValueError):
            return 0

    def makedirs(name, mode=0o777, exist_ok=False):
        """Make a directory, and those above it. Raises OSError."""
        parent = path.dirname(name)
        if parent and not path.exists(parent):
            makedirs(parent, exist_ok=True)
        try:
            posix.mkdir(name, mode)
        except FileExistsError:
            if not exist_ok or not path.isdir(name):
                raise
