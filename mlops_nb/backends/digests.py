"""What a digest of a table is made of: the cells and types of Arrow columns in a canonical form.

It counts every cell, and nothing that is not data: not how rows lie in chunks, not offsets of
slices, not the bits under a null, not pandas' metadata, not whether a string is stored as string,
large_string or string_view. Values are hashed in blocks of 2**20 rows, so that memory stays bounded
whatever the size.
"""

from __future__ import annotations

import hashlib
import json

import pyarrow as pa
import pyarrow.compute as pc

BLOCK = 1 << 20  # rows hashed at once
INTEGERS = {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}


def column_digest(column: pa.ChunkedArray) -> bytes:
    """32 bytes over every cell."""
    total = hashlib.blake2b(digest_size=32)
    if _is_text(column.type) or _is_bytes(column.type):
        # offsets of 64 bits: the chunks of a block may hold more than 2 GiB together
        column = column.cast(pa.large_binary() if _is_bytes(column.type) else pa.large_string())
    for start in range(0, len(column), BLOCK):
        block = column.slice(start, BLOCK).combine_chunks()
        if isinstance(block, pa.ChunkedArray):
            block = pa.concat_arrays(block.chunks)
        _hash_array(total, block)
    return total.digest()


def type_name(kind: pa.DataType) -> str:
    """A type as the digest sees it: how text or indices are laid out in memory does not count."""
    if _is_text(kind):
        return "string"
    if _is_bytes(kind):
        return "binary"
    if isinstance(kind, pa.BaseExtensionType):
        return f"{kind.extension_name}<{_parameters(kind)}{type_name(kind.storage_type)}>"
    return _nested_name(kind) or str(kind)


def _hash_array(total: hashlib.blake2b, array: pa.Array) -> None:
    """Length, which slots are null, and the values with every null slot as zero."""
    _hash_bytes(total, len(array).to_bytes(8, "little"))
    if array.null_count and not pa.types.is_null(array.type):
        _hash_fixed(total, array.is_valid().cast(pa.uint8()), 1)
    _hash_values(total, array)


def _hash_values(total: hashlib.blake2b, array: pa.Array) -> None:
    kind, t = array.type, pa.types
    if isinstance(array, pa.ExtensionArray):
        _hash_array(total, array.storage)
    elif t.is_null(kind):
        return
    elif t.is_dictionary(kind):
        _hash_array(total, array.dictionary)
        _hash_array(total, array.indices.cast(pa.int64()))
    elif _is_text(kind) or _is_bytes(kind):
        _hash_binary(total, array)
    elif t.is_struct(kind):
        for child in array.flatten():
            _hash_array(total, child)
    elif t.is_map(kind):
        pairs = pa.struct([("key", kind.key_type), ("value", kind.item_type)])
        _hash_values(total, array.cast(pa.list_(pairs)))
    elif _is_list(kind):
        _hash_array(total, pc.list_value_length(array).fill_null(0).cast(pa.int64()))
        _hash_array(total, array.flatten())
    else:
        _hash_plain(total, array)


def _hash_plain(total: hashlib.blake2b, array: pa.Array) -> None:
    """Numbers, times, booleans and decimals."""
    if pa.types.is_boolean(array.type):
        return _hash_fixed(total, array.cast(pa.uint8()).fill_null(0), 1)
    if pa.types.is_floating(array.type) and pc.any(pc.is_nan(array)).as_py():
        array = pc.if_else(pc.is_nan(array), pa.scalar(float("nan"), array.type), array)
    width = array.type.bit_width // 8
    bits = array.view(INTEGERS.get(width * 8, pa.binary(width)))
    zero = 0 if width * 8 in INTEGERS else bytes(width)
    return _hash_fixed(total, bits.fill_null(pa.scalar(zero, bits.type)), width)


def _hash_binary(total: hashlib.blake2b, array: pa.Array) -> None:
    wide = array.cast(pa.large_binary()).fill_null(b"")
    lengths = pc.binary_length(wide).cast(pa.int64())
    _hash_fixed(total, lengths, 8)
    offsets, data = wide.buffers()[1:]
    if len(wide) and data is not None:
        ends = memoryview(offsets).cast("B").cast("q")
        _hash_bytes(total, memoryview(data)[ends[wide.offset] : ends[wide.offset + len(wide)]])


def _hash_fixed(total: hashlib.blake2b, array: pa.Array, width: int) -> None:
    buffer = array.buffers()[1]
    if buffer is not None:
        start = array.offset * width
        _hash_bytes(total, memoryview(buffer)[start : start + len(array) * width])


def _hash_bytes(total: hashlib.blake2b, data: bytes | memoryview) -> None:
    total.update(len(data).to_bytes(8, "little"))  # so that no two sequences read the same
    total.update(data)


def _nested_name(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        return f"dictionary<{type_name(kind.value_type)}, ordered={bool(kind.ordered)}>"
    if pa.types.is_struct(kind):
        return f"struct<{json.dumps([[f.name, type_name(f.type)] for f in kind])}>"
    if pa.types.is_map(kind):
        return f"map<{type_name(kind.key_type)}, {type_name(kind.item_type)}>"
    return f"list<{type_name(kind.value_type)}>" if _is_list(kind) else ""


def _parameters(kind: pa.BaseExtensionType) -> str:
    """What tells months from days of pandas.period, as text."""
    if not isinstance(kind, pa.ExtensionType):
        return ""
    return f"{kind.__arrow_ext_serialize__().decode()}, "


def _is_text(kind: pa.DataType) -> bool:
    t = pa.types
    return bool(t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    t = pa.types
    return bool(t.is_binary(kind) or t.is_large_binary(kind) or t.is_binary_view(kind))


def _is_list(kind: pa.DataType) -> bool:
    t = pa.types
    return bool(t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind))
