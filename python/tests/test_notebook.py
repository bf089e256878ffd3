"""The notebook runs from top to bottom."""

import nbformat
from nbclient import NotebookClient

from conftest import ROOT


def test_the_quickstart_runs(tmp_path):
    notebook = nbformat.read(ROOT / "examples" / "quickstart.ipynb", as_version=4)
    for cell in notebook.cells:
        cell["source"] = cell["source"].replace('"role.cut"', f'"{tmp_path}/role.cut"')
        # What is tried is that it runs, not how well it learns.
        cell["source"] = cell["source"].replace("epochs=3", "epochs=1")
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(ROOT / "examples")}}).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = [output for cell in code for output in cell.outputs if output.output_type == "execute_result"]
    tables = [output.data["text/html"] for output in shown if "text/html" in output.data]
    assert any("true class by predicted class" in table for table in tables), "a report is a table"
    assert any("2 tasks on all-minilm-l6-v2" in table for table in tables), "a bank is a table"
