"""Files that are no models, or no longer: a ValueError that begins with the path, nothing else."""

import copy
import io
import json
import pickle
import struct
import warnings
import zipfile
import zlib

import numpy as np
import pytest
from saving_cases import classifier, data, portrait

import gdcore as gd
from gdcore import _saving
from gdcore._saving_file import TEXT


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The bytes of a small file, and what the model in it looks like."""
    path = tmp_path_factory.mktemp("saved") / "m.npz"
    model = gd.Sequential([gd.Dense(2, "tanh"), gd.BatchNorm(), gd.Dense(3)])
    model.compile(gd.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy", ["accuracy"])
    model.fit(*data(), epochs=1, verbose=0, seed=0)
    model.save(path)
    return path.read_bytes(), portrait(model)


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    """The bytes of a file with everything in it."""
    path = tmp_path_factory.mktemp("saved") / "m.npz"
    model = classifier(gd.Adam(gd.schedules.plateau(0.1)), ["accuracy"])
    stop = gd.EarlyStopping("loss", patience=2)
    generator = np.random.Generator(np.random.MT19937(1))
    model.fit(*data(), epochs=2, verbose=0, seed=generator, callbacks=[stop])
    model.save(path)
    return path.read_bytes()


def loaded(content, path):
    """The model of a file with this content, None where it is refused as it should be."""
    path.write_bytes(content)
    try:
        return gd.load_model(path)
    except ValueError as error:
        if str(error).startswith(repr(str(path))):
            return None
        raise


def parts_of(content):
    """The JSON text of a file as a tree, and its arrays."""
    with np.load(io.BytesIO(content)) as file:
        arrays = {name: file[name] for name in file.files}
    return json.loads(bytes(arrays.pop(TEXT))), arrays


def file_of(tree, arrays):
    """The file of a tree and arrays, which as a file is sound."""
    text = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
    stream = io.BytesIO()
    np.savez(stream, **{TEXT: np.frombuffer(text, np.uint8)}, **arrays)
    return stream.getvalue()


# ---- Bytes that were changed, and files that end too early ---------------------------------------


def test_a_changed_byte_is_found_or_does_not_matter(small, tmp_path, rng):
    content, before = small
    directory = content.rfind(b"PK\x01\x02", 0, content.rfind(b"PK\x05\x06"))
    first = content.index(b"PK\x01\x02")
    places = {*rng.integers(0, first, 300), *range(0, 120), *range(first, first + 160)}
    places |= {*range(directory, len(content)), *rng.integers(first, len(content), 150)}
    refused = 0
    for place in sorted(map(int, places)):
        changed = bytearray(content)
        changed[place] ^= int(rng.integers(1, 256))
        model = loaded(bytes(changed), tmp_path / "m.npz")
        refused += model is None
        assert model is None or portrait(model) == before, place
    assert refused > 0.7 * len(places)


def test_every_bit_of_the_end_of_the_directory(small, tmp_path):
    content, before = small
    for place in range(content.rfind(b"PK\x05\x06"), len(content)):
        for bit in range(8):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            model = loaded(bytes(changed), tmp_path / "m.npz")
            assert model is None or portrait(model) == before, (place, bit)


def test_a_file_that_was_cut_off_is_refused(small, tmp_path, rng):
    content, _ = small
    lengths = {0, 1, 21, 22, len(content) - 1, *rng.integers(0, len(content), 150)}
    for length in map(int, lengths):
        assert loaded(content[:length], tmp_path / "m.npz") is None, length


def test_holes_and_pieces_of_others_are_refused(small, tmp_path, rng):
    content, before = small
    for _ in range(60):
        begin, length = int(rng.integers(0, len(content))), int(rng.integers(1, 200))
        hole = content[:begin] + bytes(length) + content[begin + length :]
        less = content[:begin] + content[begin + length :]
        more = content[:begin] + rng.bytes(length) + content[begin:]
        for changed in (hole, less, more):
            model = loaded(changed, tmp_path / "m.npz")
            assert model is None or portrait(model) == before


@pytest.mark.parametrize("content", [b"", b"PK", b"no model", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_npz_at_all(content, tmp_path):
    path = tmp_path / "m.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not a gdcore model"):
        gd.load_model(path)
    with pytest.raises(ValueError, match="is not a gdcore model"):
        _saving.read_models(path)


# ---- Sound files with other contents -------------------------------------------------------------


def refusal(content, path, custom_objects=None):
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the caller looks at the text
        gd.load_model(path, custom_objects)
    return str(caught.value)


def test_a_foreign_npz_is_named_as_such(tmp_path):
    stream = io.BytesIO()
    np.savez_compressed(stream, X=np.zeros(3), y=np.ones(2))
    text = refusal(stream.getvalue(), tmp_path / "m.npz")
    assert "is not a gdcore model: it has no entry 'gdcore', but 'X', 'y'" in text


@pytest.mark.parametrize(
    "text",
    [b"[]", b"{}", b"3", b'{"format": "other"}', b'{"format": null}', b"\xff", b"{", b"NaN"],
)
def test_a_foreign_text_is_refused(text, tmp_path):
    assert "is not a gdcore model" in refusal(file_of(text, {}), tmp_path / "m.npz")


def test_a_text_of_another_type_is_refused(tmp_path):
    for array in (np.zeros(3), np.zeros((2, 2), np.uint8), np.array(3, np.uint8)):
        stream = io.BytesIO()
        np.savez(stream, **{TEXT: array})
        assert "is no text" in refusal(stream.getvalue(), tmp_path / "m.npz")


def test_a_later_version_says_which_gdcore_wrote_it(small, tmp_path):
    tree, arrays = parts_of(small[0])
    text = refusal(file_of({**tree, "version": 2, "gdcore": "9.1.0"}, arrays), tmp_path / "m.npz")
    assert (
        "was written by gdcore 9.1.0 in version 2 of the format; this gdcore reads version 1"
        in text
    )
    for version in (0, -1, "1", None, True, 1.5):
        content = file_of({**tree, "version": version}, arrays)
        assert "version is" in refusal(content, tmp_path / "m.npz")


def test_deep_nesting_is_refused(tmp_path):
    text = (
        b'{"format": "gdcore model", "version": 1, "x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    )
    assert "nested too deep" in refusal(file_of(text, {}), tmp_path / "m.npz")
    tree = {"format": "gdcore model", "version": 1, "functions": {}, "keys": None, "extra": 1}
    inner = "x"
    for _ in range(400):
        inner = {"tuple": [inner]}
    content = file_of({**tree, "extra": inner, "models": [], "descriptions": []}, {})
    assert loaded(content, tmp_path / "m.npz") is None


WEIGHT = "weights/dense.W"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop(WEIGHT), "its entry 'weights/dense.W' is missing"),
        (lambda a: a.update({WEIGHT: a[WEIGHT].T}), None),
        (
            lambda a: a.update({WEIGHT: a[WEIGHT][:1]}),
            "entry 'weights/dense.W' is float64 of shape",
        ),
        (lambda a: a.update({WEIGHT: a[WEIGHT].astype(np.float32)}), "is float32 of shape"),
        (
            lambda a: a.update({WEIGHT: a[WEIGHT].astype("c16")}),
            "complex128, which gdcore does not",
        ),
        (lambda a: a.update({WEIGHT: a[WEIGHT].astype(str)}), "which gdcore does not write"),
        (lambda a: a.update({WEIGHT: np.zeros(2, "f8,i4")}), "which gdcore does not write"),
        (lambda a: a.update({WEIGHT: np.zeros(2, "M8[s]")}), "which gdcore does not write"),
        (lambda a: a.update(more=np.zeros(3)), "nothing refers to its entry 'more'"),
    ],
)
def test_arrays_that_are_others(change, message, small, tmp_path):
    tree, arrays = parts_of(small[0])
    change(arrays)
    if message is None:  # as many numbers of the same type in another order: still its own
        assert loaded(file_of(tree, arrays), tmp_path / "m.npz") is not None
    else:
        assert message in refusal(file_of(tree, arrays), tmp_path / "m.npz")


def test_the_other_byte_order_is_read(small, tmp_path):
    tree, arrays = parts_of(small[0])
    swapped = {name: a.astype(a.dtype.newbyteorder("S")) for name, a in arrays.items()}
    assert portrait(loaded(file_of(tree, swapped), tmp_path / "m.npz")) == small[1]


def test_pickled_objects_are_not_unpickled(small, tmp_path):
    tree, arrays = parts_of(small[0])

    class Trap:
        def __reduce__(self):
            return exec, ("raise SystemExit",)

    trap = np.empty(1, object)
    trap[0] = Trap()
    arrays[WEIGHT] = trap
    stream = io.BytesIO()
    np.savez(stream, **{TEXT: np.frombuffer(json.dumps(tree).encode(), np.uint8)}, **arrays)
    assert b"exec" in stream.getvalue()
    assert "which gdcore does not write" in refusal(stream.getvalue(), tmp_path / "m.npz")
    assert "is not a gdcore model" in refusal(pickle.dumps(tree), tmp_path / "m.npz")


def test_compressed_entries_are_refused_unread(small, tmp_path):
    tree, arrays = parts_of(small[0])
    arrays[WEIGHT] = np.zeros(10_000_000)
    stream = io.BytesIO()
    text = np.frombuffer(json.dumps(tree).encode(), np.uint8)
    np.savez_compressed(stream, **{TEXT: text}, **arrays)
    assert len(stream.getvalue()) < 200_000
    assert "is compressed or encrypted" in refusal(stream.getvalue(), tmp_path / "m.npz")


def test_entries_that_say_to_be_larger_than_the_file_are_refused(small, tmp_path):
    content = bytearray(small[0])
    first = content.index(b"PK\x01\x02")
    for place in (20, 24):  # both lengths of the first entry of the directory
        content[first + place : first + place + 4] = struct.pack("<I", 2**32 - 2)
    assert "larger than the file" in refusal(bytes(content), tmp_path / "m.npz")


def npy(shape, payload):
    """A sound file whose entry says to be of this shape."""
    header = io.BytesIO()
    about = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, about)
    return header.getvalue() + payload


@pytest.mark.parametrize("shape", [(2**60,), (2**40, 2**40), (-1,), (-2, -4), (9,), (7,), (2, 0)])
def test_a_header_that_lies_is_found_before_any_memory_is_asked_for(shape, small, tmp_path):
    tree, arrays = parts_of(small[0])
    del arrays[WEIGHT]
    path = tmp_path / "m.npz"
    path.write_bytes(file_of(tree, arrays))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{WEIGHT}.npy", npy(shape, bytes(64)))
    assert "is not as long as it says" in refusal(path.read_bytes(), path)


def test_entries_that_are_there_twice_or_no_arrays(small, tmp_path):
    path = tmp_path / "m.npz"
    for name in (f"{WEIGHT}.npy", "readme.txt"):
        path.write_bytes(small[0])
        with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
            warnings.simplefilter("ignore")
            archive.writestr(name, b"text")
        assert "is there twice, or is no array" in refusal(path.read_bytes(), path)


def test_sizes_that_layers_ask_for_are_compared_before_they_are_made(small, tmp_path):
    tree, arrays = parts_of(small[0])
    dense = tree["descriptions"][0]["layers"][0]["call"][1]
    dense["units"] = 10**15
    assert "its layers want" in refusal(file_of(tree, arrays), tmp_path / "m.npz")
    tree["models"][0][1]["weights"] = tree["models"][0][1]["optimizer"] = None
    assert loaded(file_of(tree, arrays), tmp_path / "m.npz") is None


# ---- Trees that were changed ---------------------------------------------------------------------

OTHERS = (None, True, -1, 0, 1, 2**40, 10**40, 0.5, 1e308, "", "nan", [], {}, [[]], {"dict": {}})


def nodes(tree, path=()):
    """The paths of all values in a tree."""
    yield path
    if isinstance(tree, dict | list):
        for key, child in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from nodes(child, (*path, key))


def changed(tree, rng):
    """A copy of a tree with one value replaced, left out, or written twice."""
    tree = copy.deepcopy(tree)
    paths = [path for path in nodes(tree) if path]
    *way, last = paths[rng.integers(len(paths))]
    parent = tree
    for key in way:
        parent = parent[key]
    action = rng.integers(4)
    if action == 0:
        del parent[last]
    elif action == 1 and isinstance(parent, list):
        parent.append(copy.deepcopy(parent[last]))
    elif action == 2:
        *way, other = paths[rng.integers(len(paths))]
        source = tree
        for key in way:
            source = source[key]
        parent[last] = copy.deepcopy(source[other])
    else:
        parent[last] = copy.deepcopy(OTHERS[rng.integers(len(OTHERS))])
    return tree


def test_changed_texts_are_refused_or_give_a_model(rich, tmp_path, rng):
    tree, arrays = parts_of(rich)
    X, y = data()
    refused = tried = 0
    for _ in range(160):
        model = loaded(file_of(changed(tree, rng), arrays), tmp_path / "m.npz")
        refused += model is None
        if model is None or not model.built or model.optimizer is None:
            continue
        tried += 1
        assert model.predict(X).shape == (len(X), 3)
        try:
            stop = gd.EarlyStopping("loss", patience=2)
            model.fit(X, y, epochs=3, verbose=0, resume=True, callbacks=[stop])
        except (TypeError, ValueError, FloatingPointError):
            pass  # the state of a callback is the callback's own to look at
    assert refused > 100
    assert tried > 8


@pytest.mark.parametrize(
    ("generator", "change"),
    [
        ("MT19937", {"pos": 10**6}),
        ("MT19937", {"pos": -5}),
        ("MT19937", {"key": np.zeros(3, np.uint32)}),
        ("MT19937", {"key": None}),
        ("Philox", {"buffer_pos": -9}),
        ("Philox", {"buffer_pos": 10**6}),
        ("PCG64", {"state": 3}),
        ("PCG64", {"bit_generator": "MT19937"}),
        ("PCG64", {"bit_generator": "os"}),
        ("PCG64", {"has_uint32": "x"}),
    ],
)
def test_states_of_generators_that_numpy_would_take(generator, change, tmp_path):
    state = getattr(np.random, generator)(0).state
    for part in (state, state["state"] if isinstance(state["state"], dict) else {}):
        part.update({name: value for name, value in change.items() if name in part})
    with pytest.raises((ValueError, _saving.Problem, TypeError, KeyError, IndexError)):
        _saving._generator_of(state)


def test_checksums_alone_are_not_trusted(small, tmp_path):
    """A file that is changed together with its checksum is another file, and is read as that."""
    content = bytearray(small[0])
    with zipfile.ZipFile(io.BytesIO(small[0])) as archive:
        info = archive.getinfo(f"{WEIGHT}.npy")
        data_at = info.header_offset + 30 + len(info.filename)
        data_at += struct.unpack_from("<H", content, info.header_offset + 28)[0]
    for flip in range(10, 60):  # the text of the .npy header
        changed = bytearray(content)
        changed[data_at + flip] ^= 1
        crc = struct.pack("<I", zlib.crc32(changed[data_at : data_at + info.file_size]))
        for place in (info.header_offset + 14, content.index(info.filename.encode(), data_at) - 30):
            changed[place : place + 4] = crc
        loaded(bytes(changed), tmp_path / "m.npz")
