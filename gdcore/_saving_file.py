"""The file of saved models: an ``.npz`` of plain arrays, one of which is a JSON text.

It is written as a whole or not at all, and read without pickle. Entries are stored as they are, so
nothing unpacks to more than the file holds; checksums are those of the zip format. What is read was
perhaps written by somebody else: everything is looked at before it is used, and what is wrong is a
`ValueError` that begins with the path.
"""

from __future__ import annotations

import errno
import io
import json
import math
import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Reference = list[Any]  # [entry, type, first element, *shape]

FORMAT, VERSION = "gdcore model", 1
TEXT = "gdcore"  # entry of the JSON text, as bytes
_SUFFIX = ".npy"
_LONGEST_HEADER = 10_000


class Problem(Exception):
    """What is wrong with a file; the text goes on after its path."""


@contextmanager
def explained(path: str) -> Iterator[None]:
    """Turn what the contents of a file make fail into a `ValueError` that names the file."""
    try:
        yield
    except Problem as problem:
        raise ValueError(f"{path!r} {problem}") from None
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise ValueError(f"{path!r} is not a gdcore model, or is damaged: {error}") from error


def damaged(text: str) -> Problem:
    """Return the problem of a file that is not as gdcore writes it."""
    return Problem(f"is not a gdcore model, or is damaged: {text}")


def path_of(path: object, what: str) -> str:
    """Return a path as a text.

    Raises
    ------
    TypeError
    """
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise TypeError(f"{what} is {path!r:.80}; a file name is accepted, as a text or a Path")
    return os.fspath(path)


def path_to_write(path: object) -> str:
    """Return the path of a file to be written; refuse another ending than ``.npz``.

    Raises
    ------
    TypeError, ValueError
    """
    found = path_of(path, "path")
    if not found.endswith(".npz"):
        stem = os.path.splitext(found)[0] or "model"
        raise ValueError(f"path is {found!r}; a name that ends with .npz is accepted: {stem}.npz")
    return found


# ---- Arrays on their way into a file -------------------------------------------------------------


class Arrays:
    """Arrays by entry; those of one name and type lie one behind the other in one entry."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Array]] = {}
        self._ends: dict[str, int] = {}

    def add(self, name: str, array: Array) -> Reference:
        """Take an array, which is not copied, and return where it will be found."""
        array = np.asarray(array, array.dtype.newbyteorder("="), order="C")
        entry, number = name, 1
        while entry == TEXT or (
            entry in self._parts and self._parts[entry][0].dtype != array.dtype
        ):
            number += 1
            entry = f"{name}-{number}"
        self._parts.setdefault(entry, []).append(array)
        first = self._ends.get(entry, 0)
        self._ends[entry] = first + array.size
        return [entry, array.dtype.name, first, *array.shape]

    def items(self) -> Iterator[tuple[str, list[Array]]]:
        """Yield each entry with its arrays."""
        yield from self._parts.items()


def write(path: str, description: dict[str, Any], arrays: Arrays) -> None:
    """Write a file under another name and rename it: `path` holds the old file or the new one.

    Raises
    ------
    OSError
        Where the folder or the file cannot be written; what was there stays.
    """
    head = {"format": FORMAT, "version": VERSION, **description}
    text = json.dumps(head, separators=(",", ":"), allow_nan=False).encode("ascii")
    target = os.path.realpath(path)
    temporary = os.path.join(os.path.dirname(target), f".gdcore-{os.urandom(8).hex()}.tmp")
    try:
        with _created(temporary, path) as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                _write_entry(archive, TEXT, [np.frombuffer(text, np.uint8)])
                for name, parts in arrays.items():
                    _write_entry(archive, name, parts)
            file.flush()
            os.fsync(file.fileno())
        with suppress(OSError):  # as the file that was there, if one was
            os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.remove(temporary)
        raise


def _created(temporary: str, path: str) -> IO[bytes]:
    """Return a new file, open; an error names the path that the caller knows."""
    try:
        return open(temporary, "xb")
    except OSError as error:
        raise type(error)(error.errno, error.strerror, path) from None


def _write_entry(archive: zipfile.ZipFile, name: str, parts: list[Array]) -> None:
    """Write arrays of one type: as one, along a new first axis where there are several."""
    shape = parts[0].shape
    if len(parts) > 1:
        alike = all(part.shape == shape for part in parts)
        shape = (len(parts), *shape) if alike else (sum(part.size for part in parts),)
    header = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(parts[0].dtype)
    about = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, about)
    info = zipfile.ZipInfo(name + _SUFFIX)
    info.file_size = header.tell() + sum(part.nbytes for part in parts)
    with archive.open(info, "w") as file:
        file.write(header.getvalue())
        for part in parts:
            file.write(part.reshape(-1).view(np.uint8).data)


# ---- Reading -------------------------------------------------------------------------------------


def read(path: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the JSON text of a file and its arrays, which are read-only.

    Raises
    ------
    ValueError
        For what is no such file, is damaged, or was written by a later version.
    OSError
        Where it cannot be opened.
    """
    with open(path, "rb") as file, explained(path):
        size = os.fstat(file.fileno()).st_size
        try:
            archive = zipfile.ZipFile(file)
        except zipfile.BadZipFile as error:
            raise damaged(f"it is no whole .npz file ({error})") from None
        with archive:
            infos = _entries(archive, size)
            description = _description(_read_entry(archive, infos.pop(TEXT)))
            return description, {name: _read_entry(archive, info) for name, info in infos.items()}


def _entries(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Return the entries by name, after a look at what they say of themselves."""
    infos = archive.infolist()
    found = {info.filename.removesuffix(_SUFFIX): info for info in infos}
    if TEXT not in found:
        names = ", ".join(map(repr, list(found)[:5])) or "nothing"
        raise Problem(f"is not a gdcore model: it has no entry {TEXT!r}, but {names}")
    if len(found) != len(infos) or not all(info.filename.endswith(_SUFFIX) for info in infos):
        raise damaged("an entry is there twice, or is no array")
    for info in infos:
        stored = info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1
        if not stored or info.file_size != info.compress_size:
            raise damaged(f"entry {info.filename!r} is compressed or encrypted")
    if sum(info.file_size for info in infos) > size:
        raise damaged("its entries are larger than the file")
    return found


def _read_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    """Return the array of an entry; its checksum, type and length are looked at first."""
    data = archive.read(info)
    stream = io.BytesIO(data)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise damaged(f"entry {info.filename!r} is of another version of the .npy format")
    about = np.lib.format.read_array_header_1_0(stream, max_header_size=_LONGEST_HEADER)
    shape, fortran, dtype = about
    begin, count = stream.tell(), math.prod(shape)
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise damaged(f"entry {info.filename!r} is of type {dtype}, which gdcore does not write")
    if min(shape, default=0) < 0 or count * dtype.itemsize != len(data) - begin:
        raise damaged(f"entry {info.filename!r} is not as long as it says: {shape} of {dtype}")
    flat = np.frombuffer(data, dtype, count, begin) if count else np.empty(0, dtype)
    array = flat.reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)


def _description(text: Array) -> dict[str, Any]:
    """Return what the JSON text says; refuse a later version."""
    if text.dtype != np.uint8 or text.ndim != 1:
        raise Problem(f"is not a gdcore model: its entry {TEXT!r} is no text")
    try:
        found = json.loads(text.tobytes().decode("ascii"), parse_constant=_refuse_constant)
    except RecursionError:
        raise damaged("its text is nested too deep") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise Problem(f"is not a gdcore model: its entry {TEXT!r} is of another kind")
    version = found.get("version")
    if type(version) is not int or version < 1:
        raise damaged(f"version is {version!r}")
    if version > VERSION:
        raise Problem(
            f"was written by gdcore {found.get('gdcore')} in version {version} of the format; this"
            f" gdcore reads version {VERSION}: load it with that gdcore, or a newer one"
        )
    return found


def _refuse_constant(name: str) -> float:
    raise damaged(f"its text has {name}")
