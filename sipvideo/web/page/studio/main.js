// Puts the studio together: a run, its picture, its timeline, its panels, and what keys and buttons do.

import { ACTIONS } from "/page/studio/actions.js";
import { get } from "/page/studio/api.js";
import { Beside } from "/page/studio/beside.js";
import { Commands } from "/page/studio/commands.js";
import { Doubts } from "/page/studio/doubts.js";
import { Files } from "/page/studio/files.js";
import { LabelPicker } from "/page/studio/labels.js";
import { Learning } from "/page/studio/learning.js";
import { Log } from "/page/studio/log.js";
import { Picture } from "/page/studio/picture.js";
import { Player, SPEEDS } from "/page/studio/player.js";
import { Run } from "/page/studio/run.js";
import { Selection } from "/page/studio/selection.js";
import { StageInput } from "/page/studio/stage_input.js";
import { Tasks } from "/page/studio/tasks.js";
import { Timeline } from "/page/studio/timeline.js";
import { Tools } from "/page/studio/tools.js";
import { exactClock, sentence } from "/page/studio/words.js";

const element = (id) => document.getElementById(id);
const parts = (names) => Object.fromEntries(Object.entries(names).map(([name, id]) => [name, element(id)]));

class Studio {
  constructor(run) {
    this.run = run;
    this.selection = new Selection();
    this.player = new Player(run, element("video"), element("still"));
    this.picture = new Picture(run, this.player, this.selection, element("overlay"), element("stage"));
    this.timeline = new Timeline(run, this.player, this.selection, parts({ box: "lanes", scroller: "scroller", list: "headings", canvas: "lane-canvas", spacer: "spacer", ruler: "ruler" }));
    this.tools = new Tools(run, this.player, this.selection, this.picture, this);
    this.input = new StageInput(this.picture, this.tools, this.selection);
    this.picker = new LabelPicker(element("labels"), element("label"), element("label-list"), element("labels-title"));
    this.doubts = new Doubts(run, this, parts({ list: "doubt-list", count: "doubt-count", none: "no-doubts", about: "doubt-kinds" }));
    this.log = new Log(run, parts({ list: "log-list", none: "no-log", author: "author" }), (frame) => this.player.seek(frame));
    this.tasks = new Tasks(run, parts({ box: "task", cancelButton: "cancel" }));
    this.files = new Files(run, element("files"), this);
    this.learning = new Learning(run, element("learning"), this);
    this.commands = new Commands(this, element("keys"));
    this.pending = null; // what waits for a second identity
    this.listen();
    this.setUp();
    this.player.seek(0);
    for (const note of run.info.notes ?? []) this.say(note);
    this.doubts.read().catch((error) => this.say(error.message, "problem"));
    run.listen();
  }

  listen() {
    const { run, player, selection, timeline } = this;
    for (const name of ["frame", "state"]) player.addEventListener(name, () => this.update());
    for (const target of [run, this.tools]) target.addEventListener("change", () => this.update());
    player.addEventListener("making", ({ detail }) => this.say(detail < 1 ? `A film that browsers play is being made: ${Math.floor(detail * 100)} %. Until then it plays frame by frame.` : "The film plays now."));
    run.addEventListener("others", ({ detail }) => this.tasks.waiting.size || this.say(detail)); // a task of this window tells itself
    selection.addEventListener("change", () => this.chosen());
    this.doubts.addEventListener("change", () => {
      timeline.doubts = this.doubts.open;
      timeline.paintSoon();
    });
    timeline.addEventListener("join", ({ detail }) => this.commit([{ op: "join", ...detail }]).then((done) => done && selection.set([detail.into])));
  }

  setUp() {
    const { run, timeline } = this, labels = [...new Set([...run.tracks.values()].map((track) => track.label))];
    element("studio").hidden = false;
    document.body.classList.toggle("reading", !run.editable);
    element("reading").hidden = run.editable;
    element("range").hidden = !run.info.range;
    if (run.info.range) element("range").textContent = `yours: ${run.info.range.map((frame) => exactClock(run.time(frame))).join(" to ")}`;
    element("speed").replaceChildren(...SPEEDS.map((speed) => new Option(`${speed}×`, speed)));
    element("speed").onchange = () => this.player.setSpeed(Number(element("speed").value));
    element("opacity").oninput = () => {
      this.picture.opacity = element("opacity").value / 100;
      this.picture.paint();
    };
    element("f-label").append(...labels.sort((a, b) => a - b).map((label) => new Option(run.labelName(label), label)));
    for (const [id, name] of [["f-label", "label"], ["f-seconds", "seconds"], ["f-score", "score"], ["f-most", "most"], ["f-order", "order"]]) {
      element(id).onchange = element(id).oninput = () => {
        timeline.filter[name] = ["seconds", "score", "most"].includes(name) ? Number(element(id).value) : element(id).value;
        timeline.update();
        this.update();
      };
    }
    const toggle = (id, use) => (element(id).onclick = () => {
      const on = element(id).getAttribute("aria-pressed") !== "true";
      element(id).setAttribute("aria-pressed", String(on));
      use(on);
    });
    toggle("several", (on) => (this.input.several = timeline.several = on));
    toggle("outside", (on) => (this.tools.outside = on));
    for (const tab of element("tabs").children) {
      tab.onclick = () => this.openTab(tab);
      tab.onkeydown = ({ key }) => {
        if (key === "ArrowRight" || key === "ArrowLeft") this.openTab(key === "ArrowRight" ? tab.nextElementSibling : tab.previousElementSibling, true);
      };
    }
  }

  openTab(chosen, focus = false) {
    if (!chosen) return;
    for (const tab of element("tabs").children) {
      tab.setAttribute("aria-selected", String(tab === chosen));
      tab.tabIndex = tab === chosen ? 0 : -1;
      element(tab.getAttribute("aria-controls")).hidden = tab !== chosen;
    }
    if (focus) chosen.focus();
    this.log.build();
    if (chosen.id === "tab-learning") this.learning.open();
  }

  update() {
    const { player, run, tools, timeline } = this, at = exactClock(run.time(player.frame));
    element("place").innerHTML = `${at} <small>frame ${player.frame} of ${run.count}</small>`;
    element("place").dataset.frame = player.frame;
    element("play").querySelector("use").setAttribute("href", player.playing ? "#i-pause" : "#i-play");
    element("speed").value = player.speed;
    element("lane-count").textContent = `${timeline.lanes.length} of ${run.tracks.size} identities`;
    const pressed = { ghosts: this.picture.ghosts, tags: this.picture.labels, range: Boolean(timeline.range || this.begun !== undefined), [tools.name]: true };
    for (const button of document.querySelectorAll(".bar button[data-do][aria-pressed]")) button.setAttribute("aria-pressed", String(Boolean(pressed[button.dataset.do])));
  }

  say(text, kind = "") {
    element("said").textContent = text && sentence(text);
    element("said").dataset.kind = kind;
  }

  // Writes edits; says what they did. Gives null where the server did not take them.
  async commit(edits) {
    try {
      const done = await this.run.edit(edits);
      this.say(done.text);
      return done;
    } catch (error) {
      this.say(error.message, "problem");
      return null;
    }
  }

  label(title, proposal) {
    return this.picker.ask(title, this.run.info.classes, proposal);
  }

  show(doubt) {
    this.selection.set(doubt.ids.filter((id) => this.run.tracks.has(id)));
    for (const id of [...this.selection.ids].reverse()) this.timeline.reveal(id);
    this.player.seek(doubt.first);
  }

  chosen() {
    this.update();
    if (!this.pending || this.selection.ids.length < 2) return;
    const { pending } = this;
    this.pending = null;
    this[pending]();
  }

  // Two identities, or the wish to choose the second one.
  two(name, text) {
    if (this.selection.ids.length >= 2) return this.selection.ids.slice(0, 2);
    this.pending = this.selection.ids.length ? name : null;
    this.say(this.pending ? text : "Choose two objects first: click one, and the other with shift.");
    return null;
  }

  one() {
    const id = this.selection.ids.at(-1);
    if (id === undefined) this.say("Choose an object first: click it, or press its number.");
    return id;
  }
}

Object.assign(Studio.prototype, ACTIONS);

function setUpTheme() {
  const root = document.documentElement, stored = localStorage.getItem("sipvideo.theme");
  if (stored) root.dataset.theme = stored;
  element("theme").onclick = () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem("sipvideo.theme", root.dataset.theme);
  };
}

function listRuns(runs) {
  document.body.classList.add("choosing");
  element("runs").hidden = false;
  element("no-runs").hidden = runs.length > 0;
  element("run-list").replaceChildren(...runs.map((run) => {
    const item = Object.assign(document.createElement("li"), { className: "card job" }), link = document.createElement("a");
    Object.assign(link, { href: `/studio?run=${encodeURIComponent(run.id)}`, textContent: run.name, className: "name" });
    const about = Object.assign(document.createElement("p"), { className: "about", textContent: `${exactClock(run.duration)}, ${run.frames} frames${run.identities === null ? "" : `, ${run.identities} identities`}${run.revision ? `, ${run.revision} edits` : ""}` });
    item.append(link, about);
    return item;
  }));
}

// A server that has the studio alone leads from its start page to here.
async function hideElsewhere() {
  const answer = await fetch("/", { redirect: "manual" }).catch(() => null);
  for (const link of document.querySelectorAll(".elsewhere")) link.hidden = answer?.type === "opaqueredirect";
}

async function begin() {
  setUpTheme();
  hideElsewhere();
  const answer = await get(""), runs = answer.runs ?? answer;
  const wanted = new URLSearchParams(location.search).get("run") ?? (runs.length === 1 ? runs[0].id : null);
  const choice = element("run");
  choice.hidden = runs.length < 2 || wanted === null;
  choice.replaceChildren(...runs.map((run) => new Option(run.name, run.id)));
  choice.value = wanted;
  choice.onchange = () => (location.search = `?run=${encodeURIComponent(choice.value)}`);
  if (wanted === null) return listRuns(runs);
  document.title = `${runs.find((run) => run.id === wanted)?.name ?? wanted} · Studio · sipvideo`;
  const run = await Run.open(wanted, (share) => {
    element("runs").hidden = element("no-runs").hidden = false;
    element("no-runs").textContent = `Opening it for the first time: ${Math.floor(share * 100)} %`;
  });
  element("runs").hidden = true;
  window.studio = new Studio(run); // for curious people and for tests
  const beside = new URLSearchParams(location.search).get("beside");
  if (beside === null) return;
  try {
    studio.beside = new Beside(await Run.open(beside, () => {}), studio, element("beside"), element("here"));
  } catch (error) {
    studio.say(`${beside}: ${error.message}`, "problem");
  }
}

begin().catch((error) => {
  element("runs").hidden = false;
  element("no-runs").hidden = false;
  element("no-runs").textContent = error.message;
});
