"""The notebooks as they lie in the repository; tests/container runs them."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def read(notebook: Path) -> dict[str, Any]:
    return dict(json.loads(notebook.read_text(encoding="utf-8")))


def test_there_are_two() -> None:
    assert [notebook.name for notebook in NOTEBOOKS] == ["classification.ipynb", "segmentation.ipynb"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_it_holds_no_outputs_and_no_traces_of_a_run(notebook: Path) -> None:
    document = read(notebook)
    code = [cell for cell in document["cells"] if cell["cell_type"] == "code"]
    assert code
    assert [cell["id"] for cell in code if cell["outputs"] or cell["execution_count"] is not None] == []
    assert [cell["id"] for cell in document["cells"] if cell["metadata"]] == []
    assert document["metadata"] == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_cells_have_names_that_stay(notebook: Path) -> None:
    """A random id would change whenever a cell is written again, and so would every difference."""
    ids = [cell["id"] for cell in read(notebook)["cells"]]
    assert len(set(ids)) == len(ids)
    assert all(name.replace("-", "").isalpha() for name in ids)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_what_costs_money_is_deleted_even_if_a_cell_fails(notebook: Path) -> None:
    """The kernel's end deletes the endpoint, and says so before there is one."""
    cells = {cell["id"]: "".join(cell["source"]) for cell in read(notebook)["cells"]}
    statements = [ast.unparse(statement) for statement in ast.parse(cells["deploy"]).body]
    registered = statements.index("atexit.register(delete_endpoint)")
    made = [index for index, text in enumerate(statements) if ".deploy(" in text or "create_model(" in text]
    assert made
    assert registered < min(made)
    assert "delete_endpoint()" in cells["delete"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_channels_on_sagemaker_end_with_a_slash(notebook: Path) -> None:
    """S3 matches prefixes: `train` would also match `train_annotation`. Here the SDK's upload only returns its URI."""
    (cell,) = ["".join(one["source"]) for one in read(notebook)["cells"] if "def channel(" in "".join(one["source"])]
    (function,) = [node for node in ast.parse(cell).body if isinstance(node, ast.FunctionDef)]
    upload = SimpleNamespace(upload_data=lambda path, key_prefix: f"s3://bucket/{key_prefix}")
    names: dict[str, Any] = {"LOCAL": False, "NAME": "cars", "session": upload, "InputData": SimpleNamespace}
    exec(compile(ast.Module([function], []), notebook.name, "exec"), names)
    made = names["channel"]("train", Path("train"))
    assert getattr(made, "data_source", made) == "s3://bucket/cars/pictures/train/"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_the_image_is_not_named_as_makes_is(notebook: Path) -> None:
    """`export IMAGE=…:tag` would change what the next `make build` builds."""
    text = notebook.read_text(encoding="utf-8")
    assert 'os.environ.get(\\"IMAGE_URI\\")' in text
    assert "set `IMAGE_URI` to the URI that `make push` printed" in text
