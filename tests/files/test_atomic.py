"""Files appear whole or not at all, and killed writers leave nothing for long."""

import os
import subprocess
import sys
import threading

import pytest

from symbucket.errors import CheckpointError
from symbucket.files import (
    atomic,
    folders,
    make_folder,
    replaced_folder,
    write_atomic,
    write_checkpoint,
)

KILLED_WRITER = """
import os, sys
from symbucket.files import atomic
def die(*_):
    os.kill(os.getpid(), 9)
atomic.os.replace = die
atomic.write_atomic(sys.argv[1], b"new")
"""


def test_the_file_is_whole_and_alone(tmp_path):
    path = tmp_path / ("x" * 255)  # the longest name that there is
    write_atomic(path, b"old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_failure_changes_nothing(tmp_path, monkeypatch):
    write_atomic(tmp_path / "a", b"old")

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"cannot write .*a': disk full"):
        write_checkpoint(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(CheckpointError, match="null"):
        write_checkpoint("a\0b", b"")


def test_a_link_is_followed(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "file")
    write_atomic(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "file").read_bytes() == b"new"


def test_the_folder_is_synced_after_the_rename(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)

        def traced(*args, name=name, original=original):
            is_folder = name == "fsync" and os.path.isdir(f"/proc/self/fd/{args[0]}")
            calls.append("sync folder" if is_folder else name)
            return original(*args)

        monkeypatch.setattr(atomic.os, name, traced)
    write_atomic(tmp_path / "a", b"new")
    assert calls == ["fsync", "replace", "sync folder"]


def test_what_a_killed_writer_left_is_removed_and_a_living_one_is_not(tmp_path):
    path = tmp_path / "model.params"
    ended = subprocess.run([sys.executable, "-c", KILLED_WRITER, str(path)], check=False)
    assert ended.returncode == -9
    (leftover,) = tmp_path.iterdir()
    assert leftover.name.startswith(".")
    with atomic._temporary(path) as (_, living):
        write_atomic(path, b"new")
        assert sorted(tmp_path.iterdir()) == sorted([living, path])
    assert list(tmp_path.iterdir()) == [path]


def test_writers_at_the_same_time_all_succeed(tmp_path):
    path, errors = tmp_path / "a", []

    def write(content):
        try:
            for _ in range(20):
                write_atomic(path, content)
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(bytes([i]) * 1000,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert path.read_bytes() in [bytes([i]) * 1000 for i in range(4)]
    assert list(tmp_path.iterdir()) == [path]


def test_folders_are_made(tmp_path):
    make_folder(tmp_path / "a" / "b" / "model")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"cannot make the folder .*file"):
        make_folder(tmp_path / "file" / "model")


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
@pytest.mark.parametrize("before_it_is_opened", [True, False])
def test_a_new_folder_that_another_writer_takes_for_a_leftover(
    tmp_path, monkeypatch, before_it_is_opened
):
    taken = []
    module, name = (folders, "_lock") if before_it_is_opened else (folders.fcntl, "flock")
    plain = getattr(module, name)

    def lock_too_late(what, *flags):
        if not taken:
            taken.append(what)
            for folder in tmp_path.glob(".*.new"):
                folder.rmdir()
        return plain(what, *flags)

    monkeypatch.setattr(module, name, lock_too_late)
    with replaced_folder(tmp_path / "a") as folder:
        (folder / "file").write_text("content")
    assert taken
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a" / "file").read_text() == "content"
