"""Names of images: the normal form of each, and what is said of what names none."""

from __future__ import annotations

import pytest

from orchestrator.model.errors import ConfigError
from orchestrator.model.image import ImageReference, image_problem, normal_image

DIGEST = f"sha256:{'0123456789abcdef' * 4}"


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.29", "docker.io/library/nginx:1.29"),
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("index.docker.io/team/app:v1", "docker.io/team/app:v1"),
        ("team/app", "docker.io/team/app:latest"),
        ("foo.bar", "docker.io/library/foo.bar:latest"),
        ("host:5000", "docker.io/library/host:5000"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("Registry.Example.org/x/app", "registry.example.org/x/app:latest"),
        ("10.0.0.1:80/a__b/c-d/e.f_g:Tag_1.0-x", "10.0.0.1:80/a__b/c-d/e.f_g:Tag_1.0-x"),
        ("[fd00::1]:5000/app", "[fd00::1]:5000/app:latest"),
        (f"app@{DIGEST}", f"docker.io/library/app@{DIGEST}"),
        (f"r.example/app:2@{DIGEST}", f"r.example/app:2@{DIGEST}"),
        (f"team/{'a' * 64}", f"docker.io/team/{'a' * 64}:latest"),
    ],
)
def test_the_normal_form(text: str, normal: str) -> None:
    reference = ImageReference.parse(text)
    assert str(reference) == normal
    assert ImageReference.parse(normal) == reference
    assert normal_image(text) == normal
    assert not image_problem(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it must name an image, like nginx:1.29"),
        ("a b", "it must not contain blanks"),
        ("a\n", "it must not contain blanks"),
        ("docker://nginx", "it must begin with a registry or a path: leave out docker://"),
        ("https://r.example/a", "it must begin with a registry or a path: leave out https://"),
        ("Nginx", "its name must be in lower-case letters"),
        ("team/App:1", "its name must be in lower-case letters"),
        ("nginx:", "its tag must be 1 to 128 letters, digits, '_', '.' or '-', the first no"),
        ("nginx:-1", "its tag must be 1 to 128 letters"),
        ("nginx:1:2", "its tag must be 1 to 128 letters"),
        (f"nginx:{'1' * 129}", "its tag must be 1 to 128 letters"),
        ("nginx@", "after '@' it must have sha256: and 64 of 0-9 and a-f"),
        ("nginx@sha256:0123", "after '@' it must have sha256: and 64 of 0-9 and a-f"),
        (f"nginx@{DIGEST.upper()}", "after '@' it must have sha256: and 64 of 0-9 and a-f"),
        (f"nginx@{DIGEST}@{DIGEST}", "after '@' it must have sha256: and 64 of 0-9 and a-f"),
        ("r.example:0/a", "its registry 'r.example:0' must be a host name, with :port if it has"),
        ("r.example:65536/a", "its registry 'r.example:65536' must be a host name"),
        ("-r.example/a", "its registry '-r.example' must be a host name"),
        ("r..example/a", "its registry 'r..example' must be a host name"),
        ("r.example/", "its name must be made of a-z and 0-9, with '.', '_' or '-' between"),
        ("a//b", "its name must be made of a-z and 0-9"),
        ("/a", "its name must be made of a-z and 0-9"),
        ("a/../b", "its name must be made of a-z and 0-9"),
        ("-a", "its name must be made of a-z and 0-9"),
        ("-A", "its name must be made of a-z and 0-9"),
        ("a___b", "its name must be made of a-z and 0-9"),
        ("é", "its name must be made of a-z and 0-9"),
        (":1", "its name must be made of a-z and 0-9"),
        ("a" * 64, "64 hexadecimal digits alone name no image: write NAME@sha256:..."),
        ("/".join(["x" * 50] * 5), "its name may have at most 255 characters, the registry incl"),
    ],
)
def test_what_names_no_image(text: str, problem: str) -> None:
    assert image_problem(text).startswith(problem)
    with pytest.raises(ConfigError) as caught:
        ImageReference.parse(text)
    assert str(caught.value).startswith(f"the image {text!r} cannot be: {problem}")
    assert normal_image(text) == text


def test_a_tag_is_pinned_to_a_digest() -> None:
    tagged = ImageReference.parse("registry.example.org:5000/team/app:2")
    assert (tagged.registry, tagged.tag, tagged.is_pinned) == (
        "registry.example.org:5000",
        "2",
        False,
    )
    pinned = tagged.pinned(DIGEST)
    assert str(pinned) == f"registry.example.org:5000/team/app@{DIGEST}"
    assert pinned.is_pinned
    assert ImageReference.parse(f"app:2@{DIGEST}").is_pinned
