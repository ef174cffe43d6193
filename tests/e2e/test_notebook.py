"""The quickstart notebook, executed from its first cell by a real kernel against a real server."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT
from tests.e2e.conftest import start_program

SERVE = "from server.run import serve\nfrom server.settings import load_settings\nserve(load_settings())\n"
NOTEBOOK = ROOT / "docs" / "notebooks" / "quickstart.ipynb"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Jupyter's own packages
def test_the_quickstart_runs(demo_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = start_program(SERVE, tmp_path, VERNIER_BUNDLE=str(demo_bundle))
    monkeypatch.setenv("VERNIER_URL", running.url)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    try:
        NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=str(tmp_path))
    finally:
        running.stop()
    shown = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
    html = [data["text/html"] for data in shown if "text/html" in data]
    assert len(html) == 4
    assert all("data:image/jpeg;base64," in page for page in html)
    assert any("image/png" in data for data in shown)  # what `draw` gives
    assert not [data for data in shown if "_repr_html_" in data.get("text/plain", "")]
