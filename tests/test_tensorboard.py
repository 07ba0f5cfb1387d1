"""TensorBoard itself, in a real browser, shows what a run has recorded."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from browser import browsing, needs_chromium
from conftest import make_job

from neuronlab.population import train_many

pytestmark = needs_chromium


@contextmanager
def serving(logdir: Path) -> Iterator[str]:
    """TensorBoard on the runs below a folder; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir)]
    server = subprocess.Popen([*command, "--port", str(port)], stderr=subprocess.DEVNULL)
    address = f"http://localhost:{port}"
    try:
        deadline = time.monotonic() + 60
        while not _answers(address):
            assert time.monotonic() < deadline, "TensorBoard does not answer"
            time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait()


def _answers(address: str) -> bool:
    try:
        return urllib.request.urlopen(f"{address}/data/runs").read() != b"[]"
    except OSError:
        return False


def test_every_tab_shows_the_run(train: Callable[..., Path]) -> None:
    folder = train("data=line", "model=neuron", "optimizer.lr=0.01", "trainer.max_epochs=20")
    train("experiment=blobs", "trainer.max_epochs=20", name="blobs")
    with serving(folder.parent) as address, browsing(1400, 1000) as page:
        page.goto(f"{address}/?tagFilter=val%2Floss#timeseries")
        page.wait_for_selector("scalar-card:has-text('val/loss') line-chart")
        page.goto(f"{address}/?tagFilter=weights#timeseries")
        page.wait_for_selector("histogram-card:has-text('weights/layer1.weight') svg path")
        page.goto(f"{address}/?tagFilter=fit#timeseries")
        page.wait_for_selector("image-card img")
        shown = page.locator("image-card img").first
        page.wait_for_function("image => image.complete", arg=shown.element_handle())
        assert shown.evaluate("image => image.naturalWidth") == 520
        page.goto(f"{address}/#hparams")
        page.wait_for_selector("vaadin-grid >> text=blobs")
        page.wait_for_selector("vaadin-grid >> text=val/loss")


def test_a_sweep_and_the_readme_s_picture(tmp_path: Path, pictures: Path) -> None:
    jobs = [
        make_job(
            tmp_path / f"sweep/activation={activation},optimizer={optimizer},seed={seed}", *given
        )
        for activation in ("relu", "silu")
        for optimizer in ("sgd", "adam")
        for seed in (0, 1, 2)
        for given in [(f"activation={activation}", f"optimizer={optimizer}", f"seed={seed}")]
    ]
    train_many(jobs)
    with serving(tmp_path) as address, browsing(1440, 640) as page:
        with urllib.request.urlopen(f"{address}/data/runs") as answer:
            assert set(json.load(answer)) == {f"sweep/{job.folder.name}" for job in jobs}
        wanted = "%5E(train%7Cval)%2Floss%7Cgradient_norm%2Flayer1.weight"
        page.goto(f"{address}/?tagFilter={wanted}#timeseries")
        page.click("button:has-text('Settings')")  # which closes them
        for tag in ("train/loss", "val/loss"):
            card = f"scalar-card:has-text('{tag}')"
            page.wait_for_selector(f"{card} >> text={jobs[0].folder.name}")
        page.wait_for_timeout(2000)  # charts move into place
        page.screenshot(path=pictures / "tensorboard.png")
        page.goto(f"{address}/#hparams")
        page.wait_for_selector(f"vaadin-grid >> text={jobs[-1].folder.name}")
    assert (pictures / "tensorboard.png").read_bytes().startswith(b"\x89PNG")


PLAYGROUND = ("circle", "xor", "gauss", "spiral", "plane", "bumps")


def test_the_playground_s_problems_and_the_readme_s_picture(
    train: Callable[..., Path], pictures: Path
) -> None:
    given = ("model.hidden=[8,8]", "activation=tanh", "optimizer=adam", "optimizer.lr=0.03")
    how = (*given, "data.batch_size=null", "callbacks.pictures.count=1")
    for name in PLAYGROUND:
        noise = 0.3 if name == "gauss" else 0.0
        epochs = 400 if name == "spiral" else 150
        folder = train(
            f"data={name}", *how, f"data.noise={noise}", f"trainer.max_epochs={epochs}", name=name
        )
    with serving(folder.parent) as address, browsing(1440, 830) as page:
        page.goto(f"{address}/?tagFilter=fit#timeseries")
        page.click("button:has-text('Settings')")  # which closes them
        for name in PLAYGROUND:
            page.wait_for_selector(f"image-card:has-text('{name}') img")
        page.wait_for_function(
            "[...document.querySelectorAll('image-card img')].every(image => image.complete)"
        )
        widths = page.locator("image-card img").evaluate_all("all => all.map(i => i.naturalWidth)")
        page.wait_for_timeout(2000)  # cards move into place
        page.screenshot(path=pictures / "playground.png")
    assert widths == [520] * len(PLAYGROUND)
