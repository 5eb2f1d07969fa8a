"""The product in a real JupyterLab, seen through a real Chromium."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mlflow import MlflowClient
from playwright.sync_api import expect

from mlops_nb.commands import group

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from conftest import Lab
    from mlflow.entities import Run as MlflowRun
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.system

TOUR_PATIENCE = 300_000  # milliseconds for all its cells, on a busy machine
ERROR = "[data-mime-type='application/vnd.jupyter.error'], [data-mime-type*='stderr']"
EXECUTED = re.compile(r"\[\d+\]:")
ENDED = """panel => {
    const prompts = [...panel.querySelectorAll(".jp-CodeCell .jp-InputArea-prompt")];
    const texts = prompts.map(prompt => prompt.textContent);
    return texts.some(text => /\\d/.test(text)) && !texts.some(text => text.includes("*"));
}"""


# -- fixtures --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tour(new_page: Callable[[], Page], lab: Lab) -> Locator:
    """The tour, opened and run from the menu."""
    panel = opened(new_page(), lab, lab.root / "tour.ipynb")
    run_all(panel, patience=TOUR_PATIENCE)
    return panel


@pytest.fixture
def store(lab: Lab) -> MlflowClient:
    """The workspace's store, as plain MLflow sees it."""
    return MlflowClient(f"sqlite:///{lab.root}/mlflow.db")


@pytest.fixture
def notebook(
    lab: Lab,
    request: pytest.FixtureRequest,
    write_notebook: Callable[[Path, Sequence[str]], Path],
) -> Callable[..., Path]:
    """Writes a notebook of the given cells into a workspace of its own in the lab."""
    folder = lab.root / request.node.name
    folder.mkdir()
    (folder / "mlops.toml").touch()

    return lambda *sources: write_notebook(folder / "cells.ipynb", sources)


@pytest.fixture
def page(new_page: Callable[[], Page], lab: Lab) -> Iterator[Page]:
    page = new_page()
    yield page
    page.close()


# -- the tour --------------------------------------------------------------------------------


def test_every_cell_of_the_tour_runs_without_an_error(tour: Locator, lab: Lab) -> None:
    prompts = tour.locator(".jp-CodeCell .jp-InputArea-prompt")
    assert prompts.count() == sum(cell["cell_type"] == "code" for cell in cells_of(lab))
    for text in prompts.all_text_contents():
        assert EXECUTED.fullmatch(text)
    assert tour.locator(ERROR).all_text_contents() == []


def test_runs_and_comparison_are_tables_in_the_page(
    tour: Locator, lab: Lab, shots: Path | None
) -> None:
    runs = output(tour, lab, "tour-runs").locator("table.mlops-table")
    expect(runs).to_be_visible()
    expect(runs.locator("tbody tr")).to_have_count(2)
    expect(runs.locator("thead")).to_contain_text("test_auc")
    compared = output(tour, lab, "tour-compare").locator("table.mlops-table")
    expect(compared).to_be_visible()
    expect(compared.locator("thead th")).to_have_count(3)
    expect(compared.locator("tbody")).to_contain_text("test_auc (max)")
    expect(compared.locator("tbody")).to_contain_text("flights@v1")
    if shots is not None:
        picture(tour, lab, "tour-compare-why", shots / "tour.png")


def test_the_store_holds_what_the_page_shows(tour: Locator, lab: Lab, store: MlflowClient) -> None:
    first, second = runs_of(store, "tour")
    assert [run.info.status for run in (first, second)] == ["FINISHED", "FINISHED"]
    shown = output(tour, lab, "tour-compare").inner_text()
    for run in (first, second):
        assert run.info.run_name in shown
        assert f"{run.data.metrics['test_auc']:.4g}" in shown
        assert run.inputs is not None
        assert {each.dataset.name for each in run.inputs.dataset_inputs} == {"flights"}
    champion = store.get_model_version_by_alias("flights-late", "champion")
    best = max((first, second), key=lambda run: run.data.metrics["test_auc"])
    assert champion.run_id == best.info.run_id


def test_a_run_of_the_browser_says_where_it_comes_from(
    tour: Locator, lab: Lab, store: MlflowClient, tmp_path: Path
) -> None:
    last = runs_of(store, "tour")[-1]
    assert last.data.tags["mlops_nb.life"] == "interactive"
    assert last.data.tags["mlflow.source.name"] == str(lab.root / "tour.ipynb")
    path = store.download_artifacts(last.info.run_id, "notebook/executed.ipynb", str(tmp_path))
    executed = json.loads(Path(path).read_text("utf-8"))["cells"]
    ids = [cell["metadata"]["mlops_nb"]["cell_id"] for cell in executed]
    assert ids == [cell["id"] for cell in cells_of(lab) if cell["cell_type"] == "code"]


def test_the_step_of_the_tour_is_a_run_of_its_own(tour: Locator, store: MlflowClient) -> None:
    (step,) = runs_of(store, "train")
    assert step.info.status == "FINISHED"
    assert step.data.tags["mlops_nb.life"] == "step"
    assert step.data.params["max_depth"] == "8"


# -- what goes wrong -------------------------------------------------------------------------


def test_a_cell_that_raises_in_the_browser_leaves_a_failed_run_that_names_it(
    page: Page, lab: Lab, notebook: Callable[..., Path]
) -> None:
    path = notebook("%load_ext mlops_nb\n%mlops track", "raise ValueError('no rows')", "1 + 1")
    panel = opened(page, lab, path)
    run_all(panel)
    expect(panel.locator(ERROR)).to_have_count(1)
    (run,) = runs_of(MlflowClient(f"sqlite:///{path.parent}/mlflow.db"), "cells")
    raising = json.loads(path.read_text("utf-8"))["cells"][1]["id"]
    assert run.info.status == "FAILED"
    assert run.data.tags["mlops_nb.exception"] == "ValueError: no rows"
    assert run.data.tags["mlops_nb.failed_cell"] == f"2 (id {raising})"


def test_a_misspelt_command_is_one_line_with_a_suggestion(
    page: Page, lab: Lab, notebook: Callable[..., Path], shots: Path | None
) -> None:
    panel = opened(page, lab, notebook("%load_ext mlops_nb", ""))
    run_all(panel)
    cell = panel.locator(".jp-CodeCell").nth(1)
    cell.locator(".cm-content").click()
    page.keyboard.type("%mlops shwo last")
    page.keyboard.press("Control+Enter")
    error = cell.locator(ERROR)
    expect(error).to_have_text("UsageError: no command %mlops shwo; did you mean show?")
    if shots is not None:
        page.screenshot(path=shots / "misspelt.png")


def test_tab_offers_the_commands(page: Page, lab: Lab, notebook: Callable[..., Path]) -> None:
    panel = opened(page, lab, notebook("%load_ext mlops_nb", ""))
    run_all(panel)
    editor = panel.locator(".jp-CodeCell").nth(1).locator(".cm-content")
    offered = page.locator(".jp-Completer .jp-Completer-match")
    editor.click()
    page.keyboard.type("%mlops ")
    page.keyboard.press("Tab")
    expect(offered.filter(has_text="track")).to_have_count(1)
    assert set(group().commands) <= {text.strip() for text in offered.all_text_contents()}
    page.keyboard.press("Escape")
    page.keyboard.type("co")
    page.keyboard.press("Tab")
    expect(offered).to_have_text(["compare"])
    page.keyboard.press("Enter")
    expect(editor).to_have_text("%mlops compare")


# -- seeing and doing ------------------------------------------------------------------------


def opened(page: Page, lab: Lab, path: Path) -> Locator:
    """The panel of a notebook whose kernel is ready (which only the status bar says truly)."""
    page.goto(lab.address(path))
    page.locator("#jupyterlab-splash").wait_for(state="detached")
    panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
    panel.wait_for()
    expect(page.locator("#jp-main-statusbar")).to_contain_text(re.compile(r"Python 3.*\| Idle"))
    expect(panel.locator(".jp-Spinner")).to_have_count(0)
    return panel


def run_all(panel: Locator, *, patience: float = 120_000) -> None:
    """*Run All Cells* from the menu, until no cell waits or runs any more."""
    page = panel.page
    page.locator(".lm-MenuBar-itemLabel", has_text=re.compile("^Run$")).click()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile("^Run All Cells$")).click()
    expect(panel.locator(".jp-CodeCell .jp-InputArea-prompt").first).not_to_have_text("[ ]:")
    page.wait_for_function(ENDED, arg=panel.element_handle(), timeout=patience)


def cells_of(lab: Lab) -> list[dict[str, str]]:
    cells: list[dict[str, str]] = json.loads((lab.root / "tour.ipynb").read_text("utf-8"))["cells"]
    return cells


def cell(panel: Locator, lab: Lab, cell_id: str) -> Locator:
    """The tour's cell with this id."""
    position = [cell["id"] for cell in cells_of(lab)].index(cell_id)
    return panel.locator(".jp-Cell").nth(position)


def output(panel: Locator, lab: Lab, cell_id: str) -> Locator:
    return cell(panel, lab, cell_id).locator(".jp-Cell-outputArea")


def picture(panel: Locator, lab: Lab, cell_id: str, path: Path) -> None:
    """The page from this cell downwards, without the file browser."""
    panel.page.keyboard.press("Control+b")
    panel.page.mouse.move(600, 795)  # a row under the pointer is highlighted
    cell(panel, lab, cell_id).evaluate("cell => cell.scrollIntoView({block: 'start'})")
    expect(panel.page.locator(".jp-FileBrowser")).to_be_hidden()
    panel.page.screenshot(path=path)


def runs_of(store: MlflowClient, experiment: str) -> list[MlflowRun]:
    """The runs of an experiment, oldest first."""
    found = store.get_experiment_by_name(experiment)
    assert found is not None
    return list(store.search_runs([found.experiment_id], order_by=["attributes.start_time ASC"]))
