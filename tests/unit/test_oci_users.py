"""Users of an image, by the files inside its root, whatever those are."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.model import errors
from orchestrator.runtime.oci.users import User, resolve_user


@pytest.fixture
def root(tmp_path: Path) -> Path:
    etc = tmp_path / "root" / "etc"
    etc.mkdir(parents=True)
    (etc / "passwd").write_text(
        "# a comment\nroot:x:0:0:root:/root:/bin/sh\nbroken:x:many:0::/:\n"
        "app:x:1000:1001:app:/srv/app:/bin/sh\n7:x:1007:1007::/home/7:\nshort\n"
    )
    (etc / "group").write_text("root:x:0:\napp:x:1001:\nlogs:x:2000:other,app\nwww:x:33:app\n")
    return tmp_path / "root"


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("", User(home="/root")),
        ("app", User(1000, 1001, (33, 2000), "/srv/app")),
        ("1000", User(1000, 1001, (33, 2000), "/srv/app")),
        ("app:logs", User(1000, 2000, (), "/srv/app")),
        ("app:4", User(1000, 4, (), "/srv/app")),
        ("4:logs", User(4, 2000, (), "/")),
        ("4", User(4, 0, (), "/")),
        ("7", User(1007, 1007, (), "/home/7")),
    ],
)
def test_names_and_numbers(root: Path, text: str, user: User) -> None:
    assert resolve_user(root, text) == user


@pytest.mark.parametrize("text", ["nobody", "broken", "-1", "4294967295", "app:nogroup"])
def test_what_is_not_there_is_refused(root: Path, text: str) -> None:
    with pytest.raises(errors.RuntimeError, match="is not in the image's"):
        resolve_user(root, text)


def test_image_without_such_files_has_numbers(tmp_path: Path) -> None:
    assert resolve_user(tmp_path, "12:34") == User(12, 34)
    with pytest.raises(errors.RuntimeError):
        resolve_user(tmp_path, "app")


@pytest.mark.parametrize("target", ["../../outside", "/outside", "/etc", "/dev/zero"])
def test_no_link_leads_out_of_the_image(tmp_path: Path, root: Path, target: str) -> None:
    (tmp_path / "outside").write_text("app:x:5:5::/:\n")
    (root / "etc/passwd").unlink()
    (root / "etc/passwd").symlink_to(target)
    with pytest.raises(errors.RuntimeError, match="is not in the image's"):
        resolve_user(root, "app")


def test_link_inside_the_image_is_followed(root: Path) -> None:
    (root / "etc/passwd").rename(root / "passwd")
    (root / "etc/passwd").symlink_to("/passwd")
    assert resolve_user(root, "app").uid == 1000
