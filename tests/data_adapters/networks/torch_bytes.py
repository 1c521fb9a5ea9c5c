"""Files as ``torch.save`` writes them, without torch: stand-ins bear the names of its classes in the pickle."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict

import numpy as np

KINDS = {"float32": "Float", "float64": "Double", "float16": "Half", "int64": "Long", "uint8": "Byte", "bool": "Bool"}
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class _Named:
    """Something that a pickle refers to by name, as it does to classes and functions."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class _Storage:
    def __init__(self, key, values, kind):
        self.key, self.values, self.kind = key, values, kind


class Tensor:
    """What stands for a tensor: an array, or a view of one given by offset, shape and strides (in elements)."""

    def __init__(self, values, offset=0, shape=None, strides=None, kind=None):
        values = np.ascontiguousarray(values)
        self.values, self.offset = values, offset
        self.shape = values.shape if shape is None else shape
        self.strides = tuple(s // values.itemsize for s in values.strides) if strides is None else strides
        self.kind = kind or KINDS[values.dtype.name]


class Parameter(Tensor):
    pass


class _Call:
    def __init__(self, function, args):
        self.function, self.args = function, args


class Pickler(pickle._Pickler):
    def __init__(self, file, legacy):
        super().__init__(file, protocol=2)
        self.legacy, self.storages = legacy, {}

    def persistent_id(self, obj):
        if not isinstance(obj, _Storage):
            return None
        found = ("storage", _Named("torch", f"{obj.kind}Storage"), obj.key, "cpu", obj.values.size)
        return (*found, None) if self.legacy else found

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, _Named):
            self.write(f"c{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, _Call):
            self.save(obj.function)
            self.save(obj.args)
            self.write(b"R")
        elif isinstance(obj, Tensor):
            found = self.storages.setdefault(
                id(obj.values), _Storage(str(len(self.storages)), obj.values.ravel(), obj.kind)
            )
            built = _Call(
                _Named("torch._utils", "_rebuild_tensor_v2"),
                (found, obj.offset, tuple(obj.shape), tuple(obj.strides), False, OrderedDict()),
            )
            if isinstance(obj, Parameter):
                built = _Call(_Named("torch._utils", "_rebuild_parameter"), (built, True, OrderedDict()))
            self.save(built)
        else:
            super().save(obj, save_persistent_id)


def dumps(obj, legacy=False):
    stream = io.BytesIO()
    pickler = Pickler(stream, legacy)
    pickler.dump(obj)
    return stream.getvalue(), sorted(pickler.storages.values(), key=lambda s: int(s.key))


def save_zip(obj, path, compression=zipfile.ZIP_STORED, order="little"):
    data, storages = dumps(obj)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", order)
        for s in storages:
            archive.writestr(f"archive/data/{s.key}", s.values.astype(s.values.dtype.newbyteorder(order[0])).tobytes())
        archive.writestr("archive/version", "3\n")


def save_legacy(obj, path):
    data, storages = dumps(obj, legacy=True)
    system = {"protocol_version": PROTOCOL, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    with open(path, "wb") as file:
        for item in (MAGIC, PROTOCOL, system):
            file.write(dumps(item)[0])
        file.write(data + dumps([s.key for s in storages])[0])
        for s in storages:
            file.write(struct.pack("<q", s.values.size) + s.values.tobytes())
