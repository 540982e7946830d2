"""Tables as text."""

from __future__ import annotations

from collections.abc import Iterator

from abpnet.data.table_files import read_table
from through_files import reads

__all__ = ["read", "seeds"]

read = reads(read_table, ".csv")


def seeds() -> Iterator[bytes]:
    """Small tables that can be read."""
    yield b"a,b\n1,2\n3,\n"
    yield b'text,number\n"one, ""two""",-1.5e-3\n"a\nb",nan\n'
    yield "\ufeffday,flag,\u00e4\n2024-02-29,True,1\n2024-03-01T10:00:00+01:00,False,\n".encode()
    yield b"a\r\n9223372036854775808\r\n18446744073709551615\r\n"
