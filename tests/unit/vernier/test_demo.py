"""The demo gallery: made once, made again for another model, and never over what somebody else made."""

from pathlib import Path

import pytest

from index import open_gallery
from runtime.errors import BundleError, GalleryError
from server.settings import load_settings
from tests.unit.vernier.colour_bundle import write_colour_bundle
from vernier import demo


@pytest.fixture(autouse=True)
def few_scenes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In an empty directory, with few scenes."""
    monkeypatch.setattr(demo, "SCENES", 12)
    monkeypatch.chdir(tmp_path)
    for name in ("VERNIER_BUNDLE", "VERNIER_GALLERIES_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_colour_bundle(tmp_path / "colours")
    return tmp_path / "colours"


def test_scenes_are_drawn_at_the_first_start_alone(bundle: Path) -> None:
    done: list[tuple[int, int]] = []
    place = demo.demo_gallery(bundle, progress=lambda count, total: done.append((count, total)))
    assert done[-1] == (12, 12)
    assert place == Path(".galleries/demo/default")
    with open_gallery(place) as gallery:
        item = gallery.page(limit=1).items[0]
        assert gallery.info().items == 12
        assert item.metadata["caption"] == item.text
        assert set(item.targets) == {"image", "text"}
        assert gallery.picture(item.id) is not None
        version = gallery.info().version
    done.clear()
    assert demo.demo_gallery(bundle, progress=lambda count, total: done.append((count, total))) == place
    assert done == []
    with open_gallery(place) as gallery:
        assert gallery.info().version == version


def test_a_bundle_of_another_space_has_it_drawn_again(bundle: Path) -> None:
    place = demo.demo_gallery(bundle)
    another = bundle.parent / "turned"
    space = write_colour_bundle(another, turn=1).space
    with open_gallery(place), pytest.raises(GalleryError) as caught:
        demo.demo_gallery(another)
    assert caught.value.code == "gallery_locked"
    demo.demo_gallery(another)
    with open_gallery(place, space=space) as gallery:
        assert gallery.info().items == 12


def test_an_interrupted_start_is_made_good(bundle: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo.demo_gallery(bundle, progress=stop)
    assert not Path(".galleries/demo/default").exists()
    with open_gallery(demo.demo_gallery(bundle)) as gallery:
        assert gallery.info().items == 12


def test_a_gallery_of_somebody_else_is_left_alone(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERNIER_GALLERIES_DIR", "mine")
    open_gallery("mine/default", space="theirs", dim=3, create=True).close()
    assert demo.demo_gallery(bundle) == Path("mine/default")
    with open_gallery("mine/default", space="theirs") as gallery:
        assert gallery.info().items == 0


def test_settings_of_the_demo(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERNIER_BUNDLE", str(bundle))
    settings = demo.demo_settings(load_settings(port=1234))
    assert settings.bundle == bundle
    assert settings.galleries_dir == Path(".galleries/demo")
    assert settings.port == 1234
    assert demo.demo_settings(load_settings(galleries_dir=Path("elsewhere"))).galleries_dir == Path("elsewhere")
    assert Path("elsewhere/default").is_dir()


def test_the_bundle_of_the_working_directory_is_found(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "__file__", "/nowhere/vernier/demo.py")
    with pytest.raises(BundleError, match="there is no demo bundle"):
        demo.demo_bundle()
    (Path("bundles")).mkdir()
    bundle.rename("bundles/demo")
    assert demo.demo_bundle() == Path.cwd() / "bundles" / "demo"


def test_a_place_that_cannot_be_written_is_named(bundle: Path) -> None:
    Path(".galleries").write_text("a file")
    with pytest.raises(GalleryError, match="VERNIER_GALLERIES_DIR"):
        demo.demo_gallery(bundle)
