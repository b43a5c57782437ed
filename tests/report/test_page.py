"""The report as a browser shows it."""

from __future__ import annotations

import gzip
import html
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import expect, sync_playwright

import kit
from kit.report import make_report
from kit.show import by_namespace
from tests import cases
from tests.command import RECORDINGS
from tests.report.conftest import browser_path
from tests.report.page_numbers import disagreeing

pytestmark = pytest.mark.browser
HOSTILE = (
    "</script></pre><img src=x onerror=document.body.dataset.injected=1><a href='http://198.51.100.9/'>\"'\u202egpj"
)
SHORT = "<a href='//x'>k</a>"  # short enough that no label cuts it
FIGURES = 3  # timeline, lives of pods, coverage
Look = Callable[[Path], dict[str, Any]]


@pytest.fixture(scope="module")
def seen(report: Path, look: Look) -> dict[str, Any]:
    return look(report)


def test_every_figure_is_drawn(seen: dict[str, Any]) -> None:
    assert seen["plots"] == seen["charts"] == FIGURES
    assert seen["marks"] > 20


def test_the_page_asks_for_nothing(seen: dict[str, Any]) -> None:
    assert seen["asked"] == []


def test_the_look_sees_a_page_that_does_ask(report: Path, look: Look, tmp_path: Path) -> None:
    asks = tmp_path / "asks.html"
    asks.write_text("<!DOCTYPE html><title>x</title><body><main><img src='http://127.0.0.1:9/x.png'></main>")
    assert look(asks)["asked"] == ["http://127.0.0.1:9/x.png"]


def test_no_button_sends_a_chart_to_a_cloud(seen: dict[str, Any]) -> None:
    assert seen["modebar"] > 0
    assert (seen["cloud"], seen["logos"]) == (0, 0)


def test_the_page_does_not_scroll_sideways(seen: dict[str, Any]) -> None:
    assert seen["overflow"] <= 0


def test_the_summary_fits_the_first_screen(seen: dict[str, Any]) -> None:
    assert 0 < seen["summary_ends"] <= 900


@pytest.mark.parametrize(("width", "contents"), [(1400, True), (800, False)])
def test_the_first_screen_is_the_brief_and_folds_when_it_is_narrow(report: Path, width: int, contents: bool) -> None:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_path(), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.goto(report.as_uri())
        ends = page.locator(".brief .two").evaluate("brief => brief.getBoundingClientRect().bottom")
        shown = {name: page.get_by_text(name, exact=True).first.is_visible() for name in ("Open now", "Next", "Story")}
        opened = page.locator("nav > details").get_attribute("open") is not None
        story = page.locator("table.story").first.is_visible()
        page.goto(f"{report.as_uri()}#Evidence-files")
        reached = page.locator("#Evidence-files ~ *, details:has(#Evidence-files) table").first.is_visible()
        browser.close()
    assert 0 < ends <= 900 and all(shown.values()), (ends, shown)
    assert opened is contents and story is contents
    assert reached


def test_the_page_is_a_few_screens_and_folded_figures_wait(seen: dict[str, Any]) -> None:
    assert seen["screens"] <= 12
    assert 0 < seen["drawn_at_once"] < FIGURES


# Text against the ground that it stands on (WCAG 2.2, 1.4.3), and headings that leave no level out. axe-core says the same of the page and more.
FAULTS = """() => {
  document.querySelectorAll("details:not(.appendix)").forEach(fold => { fold.open = true; });
  const light = colour => colour.slice(0, 3).map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, place) => sum + c * [0.2126, 0.7152, 0.0722][place], 0);
  const parts = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const ground = element => {
    for (let box = element; box; box = box.parentElement) {
      const colour = parts(getComputedStyle(box).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const faults = [];
  for (const element of document.querySelectorAll("body *:not(svg *, script, style)")) {
    const says = [...element.childNodes].filter(node => node.nodeType === 3).map(node => node.data.trim()).join("");
    if (!says || !element.checkVisibility() || element.closest(".js-plotly-plot")) continue;
    const [one, other] = [light(parts(getComputedStyle(element).color)), light(ground(element))].sort((a, b) => b - a);
    if ((one + 0.05) / (other + 0.05) < 4.5) faults.push(`contrast ${((one + 0.05) / (other + 0.05)).toFixed(2)}: ${says.slice(0, 40)}`);
  }
  let level = 0;
  for (const heading of document.querySelectorAll("h1, h2, h3, h4")) {
    if (!heading.checkVisibility()) continue;
    const next = Number(heading.tagName[1]);
    if (next > level + 1) faults.push(`heading ${next} after ${level}: ${heading.textContent.slice(0, 40)}`);
    level = next;
  }
  return faults;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_can_be_read_in_light_and_dark(report: Path, scheme: Any) -> None:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_path(), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1400, "height": 900}, color_scheme=scheme)
        page.goto(report.as_uri())
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        faults = page.evaluate(FAULTS)
        page.evaluate("document.querySelector('.about dd').style.cssText = 'color: #999; background: #aaa'")
        spoilt = page.evaluate(FAULTS)
        browser.close()
    assert (ground == "rgb(255, 255, 255)") is (scheme == "light")
    assert faults == []
    assert any("contrast" in fault for fault in spoilt)


def test_each_box_of_the_attack_path_leads_to_a_call(report: Path) -> None:
    page = BeautifulSoup(report.read_text(encoding="utf-8"), "html.parser")
    links = page.select("svg a")
    assert len(links) > 3
    for link in links:
        target = page.find(id=str(link["href"]).removeprefix("#"))
        assert target is not None and target.name == "details"


def test_nothing_stands_twice(report: Path) -> None:
    page = BeautifulSoup(report.read_text(encoding="utf-8"), "html.parser")
    texts = [table.get_text(" ", strip=True) for table in page.select("main table")]
    long = [text for text in texts if len(text) > 400]
    assert len(long) > 10 and len(long) == len(set(long))


def test_the_code_is_hidden_and_every_link_leads_somewhere(seen: dict[str, Any]) -> None:
    assert seen["code"] is False
    assert seen["dead_links"] == 0


def test_no_number_of_the_page_disagrees_with_its_table(report: Path) -> None:
    compared, wrong = disagreeing(report.read_text(encoding="utf-8"))
    assert wrong == [] and compared > 50


def test_a_number_that_disagrees_is_seen(report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    tile = re.search(r'<div class="tile"><b>(\d+)', page)
    assert tile
    changed = page[: tile.start(1)] + "9999" + page[tile.end(1) :]
    assert any("9999" in one for one in disagreeing(changed)[1])


def test_only_the_kits_own_scripts_run(report: Path, look: Look, tmp_path: Path) -> None:
    text = report.read_text(encoding="utf-8")
    policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="(default-src[^"]*)"', text)
    assert policy and not re.search(r"unsafe-eval|script-src[^;]*unsafe-inline", policy[1])
    injected = tmp_path / "injected.html"
    runs = "document.body.dataset.injected = 'yes'"
    attack = f'<main><script>{runs}</script><img src="x:" onerror="{runs}"><a id="a" href="javascript:{runs}">a</a>'
    injected.write_text(text + attack, encoding="utf-8")
    seen = look(injected)
    assert seen["injected"] == "" and seen["plots"] == FIGURES


def test_no_error_is_said_in_the_browser(report: Path) -> None:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_path(), args=["--no-sandbox", "--disable-gpu"])
        page, errors = browser.new_page(), list[str]()
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(report.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
        expect(page.locator(".js-plotly-plot .main-svg:first-child")).to_have_count(FIGURES, timeout=60_000)
        browser.close()
    assert errors == []


def test_hostile_names_stay_text(make_case: Callable[..., Path], look: Look, tmp_path: Path) -> None:
    evidence = _hostile(tmp_path)
    report = make_report(make_case("hostile", evidence))
    text = report.read_text(encoding="utf-8")
    assert (
        f"store/{html.escape(SHORT, quote=False)}".replace("&", "\\u0026") in text
        or "store/&lt;a href='//x'&gt;k&lt;/a&gt;" in text
    )
    assert "&lt;img src=x onerror=" in text and "<img src=x" not in text
    assert "\u202e" not in text and "⟨U+202E⟩" in text
    seen = look(report)
    assert (seen["injected"], seen["images"], seen["links"], seen["asked"]) == ("", 0, 0, [])
    assert seen["plots"] == FIGURES
    assert seen["overflow"] <= 0


def _hostile(folder: Path) -> Path:
    """The recording with a pod, a secret, the user agent, the title of findings and the cluster named by an enemy."""
    recording, made = RECORDINGS / "stolen_sa_token", folder / "evidence"
    found = json.loads((recording / "findings.json").read_text())["Findings"]
    call = next(
        one["Service"]["Action"]["KubernetesApiCallAction"]
        for one in found
        if "KubernetesApiCallAction" in one["Service"]["Action"]
    )
    cluster = found[0]["Resource"]["EksClusterDetails"]["Name"]
    hostile = json.dumps(HOSTILE, ensure_ascii=False)[1:-1]
    pod, secret = _attacked(recording)
    names = {call["UserAgent"]: f"{hostile}ua", cluster: f"{hostile}cluster", secret: f"{hostile}secret", pod: SHORT}
    for path in sorted(recording.rglob("*.json*")):
        if path.name == "ground_truth.json":
            continue
        target = made / path.relative_to(recording)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode()
        for name, hostile_name in names.items():
            text = text.replace(f'"{name}"', f'"{hostile_name}"')
        target.with_suffix("" if path.suffix == ".gz" else path.suffix).write_text(text)
    return made


def _attacked(recording: Path) -> tuple[str, str]:
    """A pod's and a secret's name that the report shows."""
    truth = json.loads((recording / "findings-runtime.json").read_text())["Findings"]
    pods = [one["Resource"]["KubernetesDetails"]["KubernetesWorkloadDetails"]["Name"] for one in truth]
    log = gzip.decompress((recording / "audit.jsonl.gz").read_bytes()).decode()
    secrets = [
        json.loads(line)["objectRef"].get("name")
        for line in log.splitlines()
        if '"resource":"secrets"' in line and '"verb":"get"' in line
    ]
    return pods[0], next(name for name in secrets if name)


def test_figures_are_in_each_notebook_by_themselves(report: Path, look: Look, tmp_path: Path) -> None:
    executed = json.loads((report.parent / "notebooks" / "20_timeline.ipynb").read_text())
    shown = [
        "".join(output["data"]["text/html"])
        for cell in executed["cells"]
        for output in cell.get("outputs", [])
        if "text/html" in output.get("data", {})
    ]
    alone = tmp_path / "alone.html"
    alone.write_text("<!DOCTYPE html><title>x</title><body><main>" + "".join(shown), encoding="utf-8")
    assert look(alone)["plots"] == 1


def test_a_copy_far_from_its_case_is_whole(report: Path, look: Look, tmp_path: Path) -> None:
    copy = tmp_path / "copy.html"
    shutil.copy(report, copy)
    assert look(copy)["plots"] == FIGURES


def test_an_owner_is_whom_a_label_of_the_namespace_or_an_annotation_of_the_workload_names(tmp_path: Path) -> None:
    evidence = Path(shutil.copytree(RECORDINGS / "exec_kube_system", tmp_path / "evidence"))
    for name, key, sort in (("namespaces", "example.com/team", "labels"), ("deployments", "owner", "annotations")):
        path = evidence / "cluster" / f"{name}.json"
        listed = json.loads(path.read_text())
        for one in listed["items"]:
            one["metadata"].setdefault(sort, {})[key] = f"{one['metadata']['name']} people"
        path.write_text(json.dumps(listed))
    case = kit.open_case(cases.copied(tmp_path / "case", evidence))
    page = BeautifulSoup(by_namespace.by_namespace(case).html, "html.parser")
    rows = [[cell.get_text(" ") for cell in row.select("td")] for row in page.select("tbody tr")]
    for namespace, workloads, _, owners in rows:
        assert f"example.com/team={namespace} people" in owners
        for name in re.findall(r"deployments/(\S+) \(", workloads):
            assert f"owner={name} people" in owners
    assert any("deployments/" in workloads for _, workloads, _, _ in rows)


def test_a_zoom_in_the_timeline_moves_the_lives_of_pods_too(report: Path) -> None:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_path(), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.set_default_timeout(240_000)  # the page brings 5 MB of plotly.js, which a busy machine reads slowly
        page.goto(f"{report.as_uri()}#Pods-over-time")
        lives = page.locator(".kit-chart[data-name=lifetimes] .js-plotly-plot")
        lives.locator(".main-svg").first.wait_for()
        start, end = page.evaluate(
            """() => {
            const plot = name => document.querySelector(`.kit-chart[data-name=${name}] .js-plotly-plot`);
            const [start, end] = plot("timeline").layout.xaxis.range.map(at => new Date(`${at}Z`).getTime());
            const range = [start + (end - start) / 4, start + (end - start) / 2].map(at => new Date(at).toISOString().slice(0, -1));
            return Plotly.relayout(plot("timeline"), {"xaxis.range[0]": range[0], "xaxis.range[1]": range[1]}).then(() => range);
        }"""
        )
        shown = page.evaluate(
            "document.querySelector('.kit-chart[data-name=lifetimes] .js-plotly-plot').layout.xaxis.range"
        )
        coverage = page.evaluate("document.querySelectorAll('.kit-chart[data-moves]').length")
        browser.close()
    assert [at[:22] for at in shown] == [start[:22], end[:22]] and coverage == 2
