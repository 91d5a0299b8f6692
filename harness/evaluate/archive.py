"""Parts of a zip archive that another tool wrote, unpacked within bounds."""

import copy
import zipfile
import zlib

LARGEST = 1 << 28
"""Bytes of an unpacked part; a larger one is a bomb."""

ZSTANDARD = 93
"""The compression that inspect writes, which `zipfile` reads from Python 3.14 on."""

BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    KeyError,
    RuntimeError,  # a password is needed, or the compression is unknown
    OverflowError,
    OSError,
)
"""What comes of an archive that is damaged or encrypted."""


def part(archive: zipfile.ZipFile, name: str) -> bytes:
    """Unpack a part.

    Raises:
        ValueError: It is too large, or not what the archive says.
        BROKEN: It cannot be read.
    """
    info = archive.getinfo(name)
    if max(info.file_size, info.compress_size) > LARGEST:
        raise ValueError(f"its part {name} is larger than {LARGEST} bytes")
    if info.compress_type != ZSTANDARD:
        return archive.read(name)
    import pyarrow

    packed = copy.copy(info)
    packed.compress_type, packed.file_size = zipfile.ZIP_STORED, info.compress_size
    del packed.CRC  # it is of the unpacked bytes
    with archive.open(packed) as file:
        stream = pyarrow.CompressedInputStream(pyarrow.BufferReader(file.read()), "zstd")
    content: bytes = stream.read(info.file_size + 1)
    if len(content) != info.file_size or zlib.crc32(content) != info.CRC:
        raise ValueError(f"its part {name} is damaged")
    return content
