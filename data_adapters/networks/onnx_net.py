"""ONNX networks: run on stimuli, a part per output."""

from __future__ import annotations

import atexit
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from data_adapters._lazy import REDUCE
from data_adapters._options import MEMORY, name_of, parse_memory
from data_adapters.networks._inputs import Inputs, inputs_of, selected
from data_adapters.networks._stream import Recording, Shaping
from data_adapters.networks._values import POOLING, as_array, pooled
from repcompare.errors import FormatError, MissingExtraError, OptionError, choose, suggest

INSTALL = "install it with: pip install 'repcompare[onnx]'"
PICTURE = 4  # axes of a batch of pictures


@dataclass(frozen=True, kw_only=True)
class OnnxOptions:
    """Options of running an ONNX network.

    Attributes
    ----------
    stimuli : mapping, array or path
        What the network sees: arrays by name, an array with ``names=``, an .npy or .npz file, a folder of .npy files or
        pictures, or a zip file of pictures.  Pictures are uint8 (y, x, 3) before ``preprocess``.
    names : list of str, path or "positional", optional
        Names of the stimuli of an array.
    select : list of str, optional
        Only these of the stimuli, in this order.
    outputs : str or list of str, optional
        Outputs of the graph (default: all), or of any node in it (needs the package onnx).
    batch : int
        Stimuli per run.
    preprocess : callable, optional
        Called with one stimulus as it is stored; gives the input of the network without the batch axis.
    reduce, pooling, project, seed
        As for ``data_adapters.networks.record``.
    memory : int or str
        Above it the parts go to a temporary file, which is removed when the program ends.
    threads : int
        Threads of the runtime.
    """

    stimuli: Any = None
    names: Any = None
    select: Any = None
    outputs: Any = None
    batch: int = 32
    preprocess: Callable[[np.ndarray], Any] | None = None
    reduce: str = "flatten"
    pooling: str = "flatten"
    project: int | None = None
    seed: int = 0
    memory: int | str = MEMORY
    threads: int = 1


def read_onnx(path: str, options: OnnxOptions) -> xr.DataTree:
    """Run an ONNX network on stimuli.

    Parameters
    ----------
    path : str
        The network.
    options : OnnxOptions
        ``stimuli=`` above all.

    Returns
    -------
    xarray.DataTree
        A part per output, float32.

    Raises
    ------
    FormatError
        When the file is no network, or the stimuli do not fit its input.
    MissingExtraError
        Without onnxruntime, or without onnx where hidden outputs are asked for.
    OptionError
        When an output is not in the network.
    """
    choose(options.reduce, REDUCE, "reduce")
    choose(options.pooling, POOLING, "pooling")
    if not isinstance(options.batch, int) or options.batch < 1:
        raise OptionError(f"batch={options.batch!r}; expected a whole number of stimuli, at least 1")
    if options.stimuli is None:
        raise OptionError(f"{path}: a network has no responses of its own; give stimuli= what it is to see")
    inputs = selected(inputs_of(options.stimuli, options.names, options.preprocess), options.select)
    with _library_errors(path):
        session = _session(path, options)
    wanted = [o.name for o in session.get_outputs()]
    if options.outputs is not None:
        wanted = [options.outputs] if isinstance(options.outputs, str) else list(options.outputs)
    entry = _entry(path, session, inputs)
    size = _batch_size(entry, options.batch)
    shaping = Shaping(reduce=options.reduce, project=options.project, seed=options.seed)
    attrs = {"modality": "ann", "source": f"{name_of(path)} (onnx)", "history": [inputs.origin]}
    recording = Recording(inputs.names, shaping, parse_memory(options.memory), None, attrs)
    with recording:
        for start in range(0, len(inputs.names), size):
            batch = inputs.read(start, min(start + size, len(inputs.names)))
            batch = _fitting(path, entry, batch)
            with _library_errors(path):
                results = session.run(wanted, {entry.name: batch})
            rows = {_part(n): _rows(n, v, options.pooling) for n, v in zip(wanted, results, strict=True)}
            if not recording.layers:
                recording.begin(rows)
                recording.file = _temporary(recording)
                recording.allocate()
            recording.add(rows)
        return recording.finish()


def _part(name: str) -> str:
    """Return the name of an output as the name of a part: exporters write '/layer/Relu_output_0'."""
    return name.strip("/") or name


def _rows(name: str, value: Any, pooling: str) -> np.ndarray:
    values = as_array(value, f"output {name!r}")
    if not 2 <= values.ndim <= PICTURE:
        raise FormatError(
            f"output {name!r} has shape {values.shape}; expected (stimulus, unit), tokens or feature maps"
        )
    return pooled(values, pooling, None, f"output {name!r}") if values.ndim == 3 else values


def _temporary(recording: Recording) -> Path | None:
    """Return a file that is removed when the program ends, when the parts do not fit into memory."""
    if recording.bytes <= recording.memory:
        return None
    handle, name = tempfile.mkstemp(prefix="repcompare-", suffix=".nc")
    os.close(handle)
    atexit.register(Path(name).unlink, missing_ok=True)
    return Path(name)


@contextmanager
def _library_errors(path: str) -> Iterator[None]:
    try:
        yield
    except (FormatError, OptionError):
        raise
    except Exception as error:  # the runtime has error classes of its own, derived from nothing else
        text = " ".join(str(error).split())[:300]
        raise FormatError(
            f"{path}: the runtime cannot run it ({type(error).__name__}: {text}); expected a complete ONNX network and "
            "stimuli that fit its input"
        ) from error


def _session(path: str, options: OnnxOptions) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError(f"running ONNX networks needs the package onnxruntime; {INSTALL}") from None
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = max(1, options.threads)
    settings.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    known = [o.name for o in session.get_outputs()]
    outputs = [options.outputs] if isinstance(options.outputs, str) else list(options.outputs or ())
    hidden = [o for o in outputs if o not in known]
    if not hidden:
        return session
    return onnxruntime.InferenceSession(_exposed(path, hidden), settings, providers=["CPUExecutionProvider"])


def _exposed(path: str, hidden: Sequence[str]) -> bytes:
    """Return the network with hidden tensors among its outputs."""
    try:
        import onnx
    except ImportError:
        raise MissingExtraError(f"hidden outputs {', '.join(hidden)} need the package onnx; {INSTALL}") from None
    model = onnx.load(path)
    inside = {name for node in model.graph.node for name in node.output if name}
    for name in hidden:
        if name not in inside:
            raise OptionError(f"{path}: no output {name!r} in the network{suggest(name, inside)}")
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    serialized: bytes = model.SerializeToString()
    return serialized


def _entry(path: str, session: Any, inputs: Inputs) -> Any:
    """Return the only input of the network."""
    entries = session.get_inputs()
    if len(entries) != 1:
        names = ", ".join(e.name for e in entries) or "none"
        raise FormatError(
            f"{path}: has {len(entries)} inputs ({names}); expected one; run it yourself and save the outputs"
        )
    return entries[0]


def _batch_size(entry: Any, wanted: int) -> int:
    """Return the batch size that the network allows: its own where that is fixed."""
    fixed = entry.shape[0] if entry.shape else None
    return fixed if isinstance(fixed, int) and fixed > 0 else wanted


def _fitting(path: str, entry: Any, batch: np.ndarray) -> np.ndarray:
    """Return a batch in the dtype of the input after comparing shapes."""
    dtypes = {
        "tensor(float)": "f4",
        "tensor(double)": "f8",
        "tensor(float16)": "f2",
        "tensor(int64)": "i8",
        "tensor(int32)": "i4",
        "tensor(uint8)": "u1",
    }
    if entry.type not in dtypes:
        raise FormatError(f"{path}: input {entry.name!r} is {entry.type}; expected numbers")
    fits = len(batch.shape) == len(entry.shape) and all(
        not isinstance(n, int) or n == m or i == 0
        for i, (n, m) in enumerate(zip(entry.shape, batch.shape, strict=True))
    )
    if not fits or (isinstance(entry.shape[0], int) and entry.shape[0] != len(batch)):
        raise FormatError(
            f"{path}: input {entry.name!r} expects {entry.shape}; the stimuli give {list(batch.shape)}; convert them by "
            "preprocess=, which gives one stimulus without the batch axis"
        )
    return np.ascontiguousarray(batch, dtypes[entry.type])
