"""The readers of stored files accept what was written and name every fault."""

import numpy as np
import pytest

from tamis.schema import (
    MissingExtraError,
    VersionError,
    described,
    read_array,
    read_described,
    read_json,
    reading,
)


def test_arrays_are_mapped_and_checked(tmp_path):
    file = tmp_path / "a.npy"
    array = np.arange(6, dtype=np.int32).reshape(2, 3)
    np.save(file, array)
    np.testing.assert_array_equal(read_array(file, np.int32, (None, 3)), array)
    assert not read_array(file).flags.writeable
    assert read_array(file, mode="c").flags.writeable
    with pytest.raises(VersionError, match=r"a\.npy is damaged: it holds int32, not float32"):
        read_array(file, np.float32)
    with pytest.raises(VersionError, match=r"shape \(2, 3\), not \(any, 4\)"):
        read_array(file, np.int32, (None, 4))
    with pytest.raises(VersionError, match=r"shape \(2, 3\), not \(2\)"):
        read_array(file, np.int32, (2,))
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(VersionError, match="has 153 bytes, its header declares 152"):
        read_array(file)
    np.save(file, np.zeros((0, 4), np.float32))
    assert read_array(file, np.float32, (0, 4)).shape == (0, 4)


def test_described_arrays_and_plain_lists_of_names(tmp_path):
    arrays = {"a": np.arange(3), "b": np.zeros((2, 2), np.float32)}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    for listed in (described(arrays), list(arrays)):
        found = read_described(tmp_path, listed)
        assert {n: a.tolist() for n, a in found.items()} == {
            n: a.tolist() for n, a in arrays.items()
        }
    with pytest.raises(VersionError, match=r"c\.npy is missing"):
        read_described(tmp_path, ["c"])


def test_json_keys_and_their_types(tmp_path):
    file = tmp_path / "a.json"
    file.write_text('{"n": 3, "flag": true, "later": []}')
    assert read_json(file, n=float)["n"] == 3
    with pytest.raises(VersionError, match="the key 'm' is missing"):
        read_json(file, m=int)
    with pytest.raises(VersionError, match="the key 'flag' holds bool, not int"):
        read_json(file, flag=int)
    with pytest.raises(VersionError, match="the key 'n' holds int, not dict or NoneType"):
        read_json(file, n=(dict, type(None)))
    file.write_text("[]")
    with pytest.raises(VersionError, match="the file holds list, not dict"):
        read_json(file)


def test_exceptions_that_are_not_damage_pass_through(tmp_path):
    for error in (VersionError("as it is"), MissingExtraError("pip install x"), MemoryError()):
        with pytest.raises(type(error)) as raised, reading(tmp_path):
            raise error
        assert raised.value is error
    with (
        pytest.raises(VersionError, match=r"ZeroDivisionError: by zero\. Roll back"),
        reading(tmp_path),
    ):
        raise ZeroDivisionError("by zero")
