"""sars_cov2: reading, splitting and scaling images from its two folders."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from sobench.data.sars_cov2 import sars_cov2
from sobench.data.store import Store
from sobench.errors import Failure


def write(root, counts: dict[str, int]) -> Store:
    """Images of a single grey value, which is their number; from 100 on in COVID."""
    for name, count in counts.items():
        (root / "mirror/sars_cov2" / name).mkdir(parents=True)
        for i in range(count):
            value = i + 100 * (name == "COVID")
            Image.new("RGB", (40 + i, 50), (value, 0, 255)).save(root / f"mirror/sars_cov2/{name}/{name} ({i}).png")
    return Store(root / "mirror", root / "cache")


def red(inputs: torch.Tensor) -> list[int]:
    return (inputs[:, 0, 0, 0] * 255).round().int().tolist()


def test_every_image_in_one_part_with_its_label(tmp_path):
    here = write(tmp_path, {"COVID": 13, "non-COVID": 12})
    (tmp_path / "mirror/sars_cov2/COVID/notes.txt").write_text("not an image")
    data = sars_cov2(here)
    assert data.train[0].shape == (21, 3, 32, 32) and data.test[0].shape == (4, 3, 32, 32)  # 25 * 482 / 2482
    assert data.train[0].dtype == torch.float32 and data.classes == 2
    found = {}
    for inputs, labels in (data.train, data.test):
        assert torch.equal(inputs[:, 2], torch.ones_like(inputs[:, 2])) and not inputs[:, 1].any()
        found |= dict(zip(red(inputs), labels.tolist()))
    assert found == dict.fromkeys(range(12), 0) | {100 + i: 1 for i in range(13)}


def test_the_papers_sizes(tmp_path, monkeypatch):
    """2,482 images are split into 2,000 and 482."""
    image = np.zeros((3, 32, 32), np.uint8)
    monkeypatch.setattr("sobench.data.sars_cov2._image", lambda path: image)
    here = write(tmp_path, {"COVID": 0, "non-COVID": 0})
    for name, count in (("COVID", 1252), ("non-COVID", 1230)):
        for i in range(count):
            (tmp_path / f"mirror/sars_cov2/{name}/{i}.png").touch()
    data = sars_cov2(here)
    assert (len(data.train[0]), len(data.test[0])) == (2000, 482)
    assert int(data.train[1].sum() + data.test[1].sum()) == 1252


def test_the_split_is_drawn_by_its_own_seed(tmp_path):
    here = write(tmp_path, {"COVID": 13, "non-COVID": 12})
    torch.manual_seed(1), np.random.seed(1)
    first, again, other = (sars_cov2(here, split_seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.test[0], again.test[0]) and set(red(first.test[0])) != set(red(other.test[0]))


def test_made_smaller_by_the_mean_over_what_a_pixel_covers(tmp_path):
    """A chequerboard of twice the side becomes grey; grey and transparent images are accepted."""
    here = write(tmp_path, {"COVID": 3, "non-COVID": 3})
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    for i, mode in enumerate(("L", "RGB", "RGBA")):
        Image.fromarray(board).convert(mode).save(tmp_path / f"mirror/sars_cov2/COVID/COVID ({i}).png")
    data = sars_cov2(here)
    boards = torch.cat([inputs[labels == 1] for inputs, labels in (data.train, data.test)])
    assert len(boards) == 3 and (boards[..., 1:-1, 1:-1] - 0.5).abs().max() < 0.01


def test_standardized_by_channel(tmp_path):
    here = write(tmp_path, {"COVID": 13, "non-COVID": 12})
    plain, standard = sars_cov2(here), sars_cov2(here, standardize=True)
    channel = plain.train[0][:, 0].double()
    expected = (plain.test[0][:, 0].double() - channel.mean()) / channel.std(correction=0)
    torch.testing.assert_close(standard.test[0][:, 0].double(), expected, rtol=1e-5, atol=1e-5)


def test_not_at_hand(tmp_path):
    here = write(tmp_path, {"COVID": 1})
    message = (
        rf"sars_cov2: cannot get its folders non-COVID and COVID; "
        rf"manual download: put them in {tmp_path}/cache/sars_cov2 or {tmp_path}/mirror/sars_cov2"
    )
    with pytest.raises(Failure, match=message):
        sars_cov2(here)


def test_an_empty_folder_and_a_damaged_image(tmp_path):
    here = write(tmp_path, {"COVID": 1, "non-COVID": 0})
    with pytest.raises(Failure, match=r"no .png files in .*non-COVID$"):
        sars_cov2(here)
    for content in (b"x", (tmp_path / "mirror/sars_cov2/COVID/COVID (0).png").read_bytes()[:60]):
        (tmp_path / "mirror/sars_cov2/non-COVID/a.png").write_bytes(content)
        with pytest.raises(Failure, match="a.png is not an image, or it is damaged"):
            sars_cov2(here)


def image(mode: str, size: tuple[int, int] = (4, 4), kind: str = "png") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize(
    "content, message",
    [
        (image("I;16"), "it has 16 pixels of mode I;16"),
        (image("1", (5000, 5000)), "it has 25,000,000 pixels of mode 1"),
        (image("RGB", kind="eps"), "cannot identify image file"),
        (image("RGB", kind="gif"), "cannot identify image file"),
    ],
    ids=["16 bits", "too many pixels", "a program", "another format"],
)
def test_an_image_of_another_kind(tmp_path, content, message):
    """16 bits would be cut to white; EPS is a program, which another program would carry out."""
    here = write(tmp_path, {"COVID": 13, "non-COVID": 12})
    (tmp_path / "mirror/sars_cov2/non-COVID/non-COVID (3).png").write_bytes(content)
    with pytest.raises(Failure, match=rf"non-COVID .3..png is not an image, or it is damaged .*{message}"):
        sars_cov2(here)


def test_a_photograph_under_the_name_of_a_png_is_read(tmp_path):
    here = write(tmp_path, {"COVID": 13, "non-COVID": 12})
    (tmp_path / "mirror/sars_cov2/COVID/COVID (0).png").write_bytes(image("RGB", (40, 50), "jpeg"))
    assert 0 in torch.cat([inputs.amax((1, 2, 3)) for inputs, _ in (sars_cov2(here).train, sars_cov2(here).test)])


def test_a_flipped_pixel_is_found_by_its_checksum(tmp_path):
    """zlib alone does not notice: the bytes are stored, not compressed, and their end is not read."""
    here = write(tmp_path, {"COVID": 13, "non-COVID": 12})
    path = tmp_path / "mirror/sars_cov2/COVID/COVID (0).png"
    stream = io.BytesIO()
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(stream, "png", compress_level=0)
    content = stream.getvalue()
    place = content.index(b"IDAT") + 4 + 2 + 5 + 8  # behind the headers of zlib and of its block
    path.write_bytes(content[:place] + bytes([content[place] ^ 64]) + content[place + 1 :])
    with pytest.raises(Failure, match=r"COVID \(0\).png is not an image, or it is damaged .*broken PNG file"):
        sars_cov2(here)
