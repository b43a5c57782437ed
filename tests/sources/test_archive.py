"""Archives, opened in place, and what may be wrong with them."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.evidence.formats import archive, stream
from kit.evidence.formats.archive import members
from kit.evidence.formats.stream import Reading
from kit.evidence.raw import Raw
from kit.store.store import Store
from tests.command import RECORDINGS, kit, kit_json

RECORDING = RECORDINGS / "stolen_sa_token"
LOG = (RECORDING / "audit.jsonl.gz").read_bytes()
FINDINGS = (RECORDING / "findings.json").read_bytes()


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in files.items():
            made.writestr(name, data)
    return out.getvalue()


def tarred(files: dict[str, bytes], links: tuple[str, ...] = ()) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
        for name in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            made.addfile(info)
    return out.getvalue()


FILES = {"logs/audit.jsonl.gz": LOG, "findings.json": FINDINGS, "notes.txt": b"call me"}
ARCHIVES = {
    "zip": zipped(FILES),
    "tar": tarred(FILES),
    "tar.gz": gzip.compress(tarred(FILES)),
    "tar.zst": pa.compress(tarred(FILES), codec="zstd", asbytes=True),
    "zip in tar.gz in zip": zipped({"a/outer.tar.gz": gzip.compress(tarred({"inner": zipped(FILES)}))}),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_files_in_archives_are_files(kind: str, tmp_path: Path) -> None:
    (tmp_path / "evidence").write_bytes(ARCHIVES[kind])
    printed = kit_json("new", tmp_path / "case", tmp_path / "evidence")["files"]
    assert printed[0]["taken_as"] == "archive" and printed[0]["note"] == "3 files in it"
    taken = {entry["path"].split("/")[-1]: (entry["taken_as"], entry["rows"]) for entry in printed[1:]}
    assert taken["findings.json"] == ("GuardDuty findings", 3)
    assert taken["audit.jsonl.gz"][0] == "Kubernetes audit log" and taken["audit.jsonl.gz"][1] > 1000
    assert taken["notes.txt"] == (None, 0)
    assert not [path for path in (tmp_path / "case" / "evidence").rglob("*") if path.name != "evidence"]
    row = Store(tmp_path / "case").rows("SELECT id, file, line, item FROM findings LIMIT 1")[0]
    assert json.loads(Raw(tmp_path / "case").text(row["file"], row["item"]))["Id"] == row["id"]
    assert kit("report", tmp_path / "case", "--finding", "none").returncode == 2
    plain = kit_json("new", tmp_path / "plain", RECORDING / "audit.jsonl.gz", RECORDING / "findings.json")
    assert plain
    scopes = [kit_json("scope", tmp_path / name)["findings"] for name in ("case", "plain")]
    assert json.dumps(scopes[0]).replace("evidence/", "") == json.dumps(scopes[1])


def test_a_path_in_an_archive_is_a_label_only(tmp_path: Path) -> None:
    tricks = {
        "../../outside.json": FINDINGS,
        "/etc/absolute.json": FINDINGS,
        "..\\windows.json": FINDINGS,
        "a//b/./c": FINDINGS,
    }
    (tmp_path / "t.tar").write_bytes(tarred({**tricks, "twice": FINDINGS}, links=("link",)))
    listed = kit_json("new", tmp_path / "in" / "case", tmp_path / "t.tar")["files"]
    assert [entry["path"] for entry in listed] == [
        "t.tar",
        "t.tar/outside.json",
        "t.tar/etc/absolute.json",
        "t.tar/windows.json",
        "t.tar/a/b/c",
        "t.tar/twice",
        "t.tar/link",
    ]
    assert listed[-1]["note"] == "not taken: not a regular file"
    assert sorted(path.name for path in tmp_path.rglob("*.json")) == ["ledger.json"]


def test_two_files_of_one_name_stay_two(tmp_path: Path) -> None:
    (tmp_path / "z").write_bytes(tarred({"a": b"1", "./a": b"2"}))
    found = [
        (member.name, member.file.read_bytes() if member.file else b"")
        for member in members(tmp_path / "z", tmp_path, Reading())
    ]
    assert found == [("a", b"1"), ("a-2", b"2")]


def test_archives_without_end_are_refused(tmp_path: Path) -> None:
    data = zipped({"findings.json": FINDINGS})
    for _ in range(archive.DEEPEST_ARCHIVE):
        data = zipped({"a.zip": data, "findings.json": FINDINGS})
    (tmp_path / "deep.zip").write_bytes(data)
    (tmp_path / "scratch").mkdir()
    refused = [
        member.refusal
        for member in members(tmp_path / "deep.zip", tmp_path / "scratch", Reading())
        if member.file is None
    ]
    assert refused == [f"more than {archive.DEEPEST_ARCHIVE} archives in each other"]


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.zst", "gz", "zst"])
def test_a_bomb_is_refused_in_a_sentence(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (stream, archive):
        monkeypatch.setattr(module, "BOMB_BYTES", 4 << 20)
        monkeypatch.setattr(module, "BOMB_RATIO", 20)
    zeros = b" " * (64 << 20)
    data = zeros
    if kind == "zip":
        data = zipped({"a": FINDINGS, "bomb": zeros, "b": FINDINGS})
    elif kind.startswith("tar"):
        data = tarred({"a": FINDINGS, "bomb": zeros, "b": FINDINGS})
    if kind.endswith("gz"):
        data = gzip.compress(data)
    elif kind.endswith("zst"):
        data = pa.compress(data, codec="zstd", asbytes=True)
    (tmp_path / "b").write_bytes(data)
    (tmp_path / "scratch").mkdir()
    reading = Reading()
    if kind in ("gz", "zst"):
        unfolded = sum(len(piece) for piece in stream.pieces(tmp_path / "b", reading))
        assert unfolded < 8 << 20
    else:
        found = {
            member.name: member.file is not None for member in members(tmp_path / "b", tmp_path / "scratch", reading)
        }
        assert found["a"] and not found.get("bomb")
    assert "decompression bomb" in reading.damage


def test_damaged_and_encrypted_archives_say_so(tmp_path: Path) -> None:
    whole = zipped(FILES)
    (tmp_path / "cut.zip").write_bytes(whole[:-30])
    (tmp_path / "cut.tar.gz").write_bytes(gzip.compress(tarred(FILES))[:-2000])
    encrypted = bytearray(zipped({"a": FINDINGS}))
    encrypted[6] |= 1
    encrypted[encrypted.rindex(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(bytes(encrypted))
    (tmp_path / "findings.json").write_bytes(FINDINGS)
    listed = {
        entry["path"]: entry for entry in kit_json("new", tmp_path / "case", *sorted(tmp_path.iterdir()))["files"]
    }
    assert "broken" in listed["cut.zip"]["note"]
    assert "cut" in listed["cut.tar.gz"]["note"]
    assert listed["cut.tar.gz/logs/audit.jsonl.gz"]["rows"] > 1000
    assert "encrypted" in listed["locked.zip/a"]["note"]


def found_in(data: bytes, folder: Path) -> tuple[dict[str, bytes | str], str]:
    """The files of an archive, each with its content or why it is refused, and the archive's damage."""
    (folder / "archive").write_bytes(data)
    (folder / "scratch").mkdir()
    reading = Reading()
    listed = members(folder / "archive", folder / "scratch", reading)
    return {each.name: each.file.read_bytes() if each.file else each.refusal for each in listed}, reading.damage


SMALL = {"a": b"first", "b": b"second", "c": b"third"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda tar: tar[:1030] + b"!" + tar[1031:], "bad checksum"),
        (lambda tar: tar + tarred({"d": b"fourth"}), "more follows its end mark"),
        (lambda tar: tar[:1024], "no end mark"),
        (lambda tar: tar[:1100], "cut or broken"),
    ],
    ids=["a wrong byte", "two in a row", "cut between files", "cut in a header"],
)
def test_a_tar_never_ends_early_in_silence(change: Callable[[bytes], bytes], says: str, tmp_path: Path) -> None:
    found, damage = found_in(change(tarred(SMALL)), tmp_path)
    assert found["a"] == b"first" and says in damage


@pytest.mark.parametrize("size", ["abc", "-5", "99999999999", str(1 << 60)])
def test_a_size_in_a_pax_header_that_is_none_is_damage(size: str, tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as made:
        for name, data in SMALL.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if name == "b":
                info.pax_headers = {"size": size}
            made.addfile(info, io.BytesIO(data))
    found, damage = found_in(out.getvalue(), tmp_path)
    assert found["a"] == b"first" and damage


def declared(kind: bytes, size: int, before: int = 0) -> bytes:
    """A tar whose second header declares that so many bytes follow, of which some do."""
    info = tarfile.TarInfo("huge")
    info.type, info.size = kind, size
    whole = tarred({"a": b"first"})
    return whole[:1024] + info.tobuf(format=tarfile.GNU_FORMAT) + b" " * before


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        (tarfile.REGTYPE, 1 << 60),
        (tarfile.REGTYPE, archive.LARGEST_MEMBER + 1),
        (tarfile.DIRTYPE, 1 << 60),
        (tarfile.XHDTYPE, 1 << 30),
        (tarfile.XGLTYPE, 1 << 30),
        (tarfile.GNUTYPE_LONGNAME, 1 << 30),
        (tarfile.GNUTYPE_LONGLINK, 1 << 50),
    ],
)
def test_what_a_header_declares_is_neither_held_nor_passed_over(kind: bytes, size: int, tmp_path: Path) -> None:
    found, damage = found_in(gzip.compress(declared(kind, size, 8 << 20)), tmp_path)
    assert found["a"] == b"first" and f"declares {size:,} bytes" in damage


def test_archives_in_an_archive_share_how_many_files_they_may_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MOST_MEMBERS", 20)
    inner = zipped({str(number): b"x" for number in range(8)})
    found, damage = found_in(zipped({str(number): inner for number in range(9)}), tmp_path)
    assert len(found) < 20 and "more than 20 files" in damage


def test_holes_of_a_sparse_file_do_not_fill_the_disk(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as made:
        info = tarfile.TarInfo("holes")
        info.size = 3
        info.pax_headers = {"GNU.sparse.size": str(1 << 40), "GNU.sparse.numblocks": "1", "GNU.sparse.map": "0,3"}
        made.addfile(info, io.BytesIO(b"abc"))
    found, _ = found_in(out.getvalue(), tmp_path)
    assert "holes" in str(found["holes"])


def test_a_zip_in_front_of_a_zip_is_said(tmp_path: Path) -> None:
    found, damage = found_in(zipped({"hidden": b"x" * 500}) + zipped(SMALL), tmp_path)
    assert found == SMALL and "belong to no file" in damage


@pytest.mark.parametrize("behind", [gzip.compress(b"hidden" * 100, mtime=0), b"x" * 40], ids=["gzip", "text"])
def test_what_follows_a_zip_is_said(behind: bytes, tmp_path: Path) -> None:
    found, damage = found_in(zipped(SMALL) + behind, tmp_path)
    assert found == SMALL and f"{len(behind)} bytes of it belong to no file" in damage


def test_a_file_that_its_directory_does_not_list_is_said(tmp_path: Path) -> None:
    data = zipped(SMALL | {"d": b"hidden" * 20})
    last = data.rfind(b"PK\x01\x02")
    end = bytearray(data[data.rfind(b"PK\x05\x06") :])
    end[8:12] = (3).to_bytes(2, "little") * 2
    end[12:16] = (last - data.find(b"PK\x01\x02")).to_bytes(4, "little")
    found, damage = found_in(data[:last] + bytes(end), tmp_path)
    assert found == SMALL and "belong to no file" in damage


def test_one_wrong_place_in_a_directory_costs_one_file(tmp_path: Path) -> None:
    data = bytearray(zipped(SMALL))
    first = data.find(b"PK\x01\x02")
    data[first + 42 : first + 46] = (0x7FFFFFFF).to_bytes(4, "little")
    found, _ = found_in(bytes(data), tmp_path)
    assert found["b"] == SMALL["b"] and found["c"] == SMALL["c"] and isinstance(found["a"], str)


def test_a_folders_name_with_content_and_a_pipes_mode_are_files(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr("hidden.log/", b"content")
        pipe = zipfile.ZipInfo("-")  # as `cat log | zip logs.zip -` makes it
        pipe.create_system, pipe.external_attr = 3, 0o010600 << 16
        made.writestr(pipe, b"piped")
        made.mkdir("folder")
    found, damage = found_in(out.getvalue(), tmp_path)
    assert (found, damage) == ({"hidden.log": b"content", "-": b"piped"}, "")


def test_archives_in_an_archive_share_what_they_may_unfold_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "BOMB_BYTES", 4 << 20)
    inner = zipped({"zeros": b"\0" * (3 << 20)})
    found, damage = found_in(zipped({str(number): inner for number in range(9)}), tmp_path)
    assert len(found) < 9 and "bomb" in damage


def test_many_files_of_one_name_take_no_square_of_the_time() -> None:
    taken = dict[str, int]()
    labels = {archive._label("", "a", taken) for _ in range(50_000)}
    assert len(labels) == 50_000


def test_a_whole_zip_has_no_damage(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(Unseekable(out), "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in SMALL.items():
            made.writestr(name, data)
    assert found_in(out.getvalue(), tmp_path) == (SMALL, "")


class Unseekable(io.RawIOBase):
    """A pipe, for which zipfile writes sizes behind the files."""

    def __init__(self, to: io.BytesIO) -> None:
        self._to = to

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._to.write(data)


def test_what_is_there_of_a_file_that_is_cut_in_its_archive_is_read(tmp_path: Path) -> None:
    lines = gzip.decompress(LOG).splitlines(keepends=True)[:200]
    data = tarred({"findings.json": FINDINGS, "audit.jsonl": b"".join(lines)})
    (tmp_path / "cut.tar").write_bytes(data[: len(data) - 100_000])
    _, _, log = kit_json("new", tmp_path / "case", tmp_path / "cut.tar")["files"]
    assert 0 < log["rows"] < 200 and "unexpected end of data" in log["note"]


def test_a_file_that_is_only_a_cut_zip_says_so(tmp_path: Path) -> None:
    (tmp_path / "logs.zip").write_bytes(zipped(FILES)[:2000])
    done = kit("new", tmp_path / "case", tmp_path / "logs.zip")
    assert done.returncode == 2 and "the zip archive is broken" in done.stderr


def test_two_files_never_have_one_path(tmp_path: Path) -> None:
    inner = zipped({"x": FINDINGS})
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr("inner.zip", inner)
        made.writestr("inner.zip/x", LOG)
    (tmp_path / "outer.zip").write_bytes(out.getvalue())
    files = kit_json("new", tmp_path / "case", tmp_path / "outer.zip")["files"]
    assert [one["path"] for one in files] == ["outer.zip", "outer.zip/inner.zip/x", "outer.zip/inner.zip/x-2"]
    assert [one["taken_as"] for one in files[1:]] == ["GuardDuty findings", "Kubernetes audit log"]
    for table in ("findings", "audit"):
        (row,) = Store(tmp_path / "case").rows(f"SELECT file, item FROM {table} LIMIT 1")
        assert Raw(tmp_path / "case").text(row["file"], row["item"])


@given(st.sampled_from(["zip", "tar", "tar.gz"]), st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_archive_gives_files_or_says_why(kind: str, data: st.DataObject) -> None:
    whole = {"zip": zipped(SMALL), "tar": tarred(SMALL)[:4096], "tar.gz": gzip.compress(tarred(SMALL))}[kind]
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 6))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(1, len(changed)))
    with tempfile.TemporaryDirectory() as folder:
        found, damage = found_in(bytes(changed[:cut]), Path(folder))
        assert len(found) >= len(SMALL) or damage


@given(st.binary(max_size=600), st.sampled_from([b"PK\x03\x04", b"PK\x05\x06", b""]))
@settings(max_examples=60, deadline=None)
def test_no_bytes_make_an_archive_end_in_a_traceback(data: bytes, beginning: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found_in(beginning + data, Path(folder))
