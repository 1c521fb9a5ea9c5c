"""What a network is shown: arrays, files of arrays, folders of arrays or pictures, read batch by batch."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from data_adapters._guard import guard
from data_adapters._labels import NEXT, as_text, numbered, stimulus_names
from data_adapters._npy import NpyFile, arrays_of
from data_adapters._options import name_of
from data_adapters._zip import members
from repcompare.errors import FormatError, MissingExtraError, OptionError, some
from repcompare.labels.values import duplicates

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
MOST_PIXELS = 10**8
LARGEST_PICTURE = 10**9  # bytes of a file


@dataclass(frozen=True)
class Inputs:
    """Stimuli by name, and how to read one.

    Attributes
    ----------
    names : list of str
        In order.
    one : callable
        Gives the stimulus of a position, as it is stored.
    preprocess : callable, optional
        Gives the input of the network.
    origin : str
        Where they come from.
    """

    names: list[str]
    one: Callable[[int], np.ndarray]
    preprocess: Callable[[np.ndarray], Any] | None
    origin: str

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return stimuli as one batch."""
        items = []
        for i in range(start, stop):
            item = self.one(i)
            items.append(np.asarray(item if self.preprocess is None else self.preprocess(item)))
        shapes = {item.shape for item in items}
        if len(shapes) > 1:
            raise FormatError(
                f"stimuli have shapes {some(sorted(shapes))}; expected one; bring them to it by preprocess="
            )
        return np.stack(items)


def inputs_of(stimuli: Any, names: Any, preprocess: Callable[[np.ndarray], Any] | None) -> Inputs:
    """Return what ``stimuli=`` says.

    Raises
    ------
    FormatError, OptionError
        When the stimuli cannot be read, or have no names.
    """
    if isinstance(stimuli, str | os.PathLike):
        found = _of_path(os.fspath(stimuli), names, preprocess)
    elif isinstance(stimuli, Mapping):
        keys = [str(k) for k in stimuli]
        items = list(stimuli.values())
        found = Inputs(keys, lambda i: np.asarray(items[i]), preprocess, "stimuli given by name")
    else:
        array = np.asarray(stimuli)
        if array.ndim < 1:
            raise FormatError(
                "stimuli= is a single number; expected an array with one stimulus per row, arrays by name, or a path"
            )
        found = Inputs(
            _names(names, len(array), "stimuli="), lambda i: array[i], preprocess, "stimuli given as an array"
        )
    if not found.names:
        raise FormatError("there are no stimuli; expected at least one")
    twice = duplicates(found.names)
    if twice:
        raise FormatError(f"stimuli {some(twice)} come more than once; expected each name once")
    return found


def selected(inputs: Inputs, wanted: Any) -> Inputs:
    """Return only the stimuli wanted, in that order.

    Raises
    ------
    OptionError
        When one is not there.
    """
    if wanted is None:
        return inputs
    at = {n: i for i, n in enumerate(inputs.names)}
    names = [str(n) for n in wanted]
    lost = [n for n in names if n not in at]
    if lost:
        raise OptionError(f"select= names {some(lost)}, which are not among the {len(at)} stimuli ({some(at)})")
    return replace(inputs, names=names, one=lambda i: inputs.one(at[names[i]]))


def _names(names: Any, n: int, path: str) -> list[str]:
    if names is None:
        raise FormatError(f"{path}: the stimuli have no names; give names= one per stimulus, or 'positional'")
    found, origin, _ = stimulus_names(names, path, {})
    listed = numbered(n).tolist() if found is None else found.tolist()
    if len(listed) != n:
        raise FormatError(f"{path}: holds {n} stimuli; {origin} has {len(listed)} names; expected one each")
    return [str(v) for v in listed]


def _of_path(path: str, names: Any, preprocess: Callable[[np.ndarray], Any] | None) -> Inputs:
    if os.path.isdir(path):
        return _of_folder(path, preprocess)
    if path.lower().endswith(".npz"):
        arrays = arrays_of(path)
        data = [k for k in arrays if k != "stimulus_id"]
        if len(data) != 1:
            raise FormatError(f"{path}: holds arrays {some(data)}; expected one array of stimuli, and stimulus_id")
        values = arrays[data[0]]()
        given = arrays["stimulus_id"]() if names is None and "stimulus_id" in arrays else names
        return Inputs(_names(given, len(values), path), lambda i: values[i], preprocess, f"stimuli of {name_of(path)}")
    if path.lower().endswith(".npy"):
        source = NpyFile(path)
        if names is None:
            found, _, _ = stimulus_names(None, path, {}, beside=True)
            names = as_text(found, path)
        rest = (slice(None),) * (len(source.shape) - 1)

        def row(i: int) -> np.ndarray:
            with source.guard():
                return np.asarray(source.read((slice(i, i + 1), *rest))[0])

        return Inputs(_names(names, source.shape[0], path), row, preprocess, f"stimuli of {name_of(path)}")
    if path.lower().endswith(".zip"):
        return _of_zip(path, preprocess)
    raise FormatError(f"{path}: is neither a folder nor an .npy, .npz or .zip file; {NEXT}")


def _of_zip(path: str, preprocess: Callable[[np.ndarray], Any] | None) -> Inputs:
    """Return the pictures of an archive in the order of their names, without their folders."""
    found = {n: m for n, m in members(path).items() if n.lower().endswith(PICTURES)}
    if not found:
        raise FormatError(f"{path}: holds no pictures ({', '.join(PICTURES)}); expected some")
    files = sorted(found)

    def one(i: int) -> np.ndarray:
        size = found[files[i]].file_size
        if size > LARGEST_PICTURE:
            raise FormatError(f"{path}: {files[i]} has {size} bytes; expected at most {LARGEST_PICTURE}")
        with guard(f"{path}: {files[i]}", "a picture"), zipfile.ZipFile(path) as archive:
            return _picture(io.BytesIO(archive.read(found[files[i]])), f"{path}: {files[i]}")

    origin = f"{len(files)} pictures of {name_of(path)}, named by their files"
    return Inputs([n.rpartition("/")[2] for n in files], one, preprocess, origin)


def _of_folder(path: str, preprocess: Callable[[np.ndarray], Any] | None) -> Inputs:
    """Return the arrays, or the pictures, of a folder in the order of their names."""
    listed = sorted(n for n in os.listdir(path) if not n.startswith("."))
    arrays = [n for n in listed if n.lower().endswith(".npy")]
    pictures = [n for n in listed if n.lower().endswith(PICTURES)]
    if arrays and pictures:
        raise FormatError(f"{path}: holds {len(arrays)} arrays and {len(pictures)} pictures; expected one kind")
    files = arrays or pictures
    if not files:
        raise FormatError(f"{path}: holds no .npy files and no pictures ({', '.join(PICTURES)}); found {some(listed)}")
    read: Callable[[str], np.ndarray] = _array if arrays else lambda file: _picture(file, file)
    names: Sequence[str] = [n[:-4] for n in arrays] if arrays else pictures
    origin = f"{len(files)} {'arrays' if arrays else 'pictures'} of folder {name_of(path)}, named by their files"
    return Inputs(list(names), lambda i: read(os.path.join(path, files[i])), preprocess, origin)


def _array(file: str) -> np.ndarray:
    source = NpyFile(file)
    with source.guard():
        return source.read(())


def _picture(file: Any, where: str) -> np.ndarray:
    """Return a picture as uint8 (y, x, 3)."""
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtraError(
            f"{where}: reading pictures needs the package pillow; install it, or give arrays"
        ) from None
    with guard(where, "a picture"), Image.open(file) as image:
        if image.size[0] * image.size[1] > MOST_PIXELS:
            raise FormatError(f"{where}: has {image.size} pixels; expected at most {MOST_PIXELS} in all")
        return np.asarray(image.convert("RGB"))
