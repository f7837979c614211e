// Uploads, their progress, and their results.

import { duration } from "/page/panel.js";
import { Zones } from "/page/zones.js";

const ENDED = ["done", "failed", "cancelled", "interrupted"];
const WORDS = { waiting: "Waiting", running: "In work", done: "Done", failed: "Failed", cancelled: "Cancelled", interrupted: "Interrupted", uploading: "Uploading" };
const FILES = { "video.mp4": "Video", "results.json": "JSON", "results.jsonl": "JSON lines", "objects.csv": "CSV", "events.jsonl": "Events, JSON lines", "events.csv": "Events, CSV" };

export class Videos {
  constructor(limits) {
    this.limits = limits;
    this.list = document.getElementById("jobs");
    this.drop = document.getElementById("drop");
    this.cards = new Map();
    const file = document.getElementById("file");
    file.onchange = () => {
      this.upload(file.files);
      file.value = "";
    };
    // Anywhere on the page: a file that misses the field would replace the page.
    addEventListener("dragover", (event) => {
      event.preventDefault();
      this.drop.classList.add("over");
    });
    addEventListener("dragleave", (event) => event.relatedTarget || this.drop.classList.remove("over"));
    addEventListener("drop", (event) => {
      event.preventDefault();
      this.drop.classList.remove("over");
      if (event.dataTransfer.files.length) {
        document.getElementById("tab-videos").click();
        this.upload(event.dataTransfer.files);
      }
    });
    document.getElementById("limits").textContent = `Up to ${size(limits.max_upload)} and ${duration(limits.max_duration)}. Results, and the upload for the studio, are kept for ${duration(limits.keep)}.`;
    this.refresh();
  }

  upload(files) {
    const first = document.getElementById("zones-first").checked;
    for (const file of files) first ? this.list.prepend(new Preparation(file, this.limits.classes, (rules) => this.send(file, rules)).item) : this.send(file);
  }

  send(file, rules = {}) {
    const card = this.card(`upload-${crypto.randomUUID?.() ?? Math.random()}`);
    const job = { name: file.name, state: "uploading", frames: 0, problem: "", results: [] };
    if (file.size > this.limits.max_upload) {
      return card.show({ ...job, state: "failed", problem: `${size(file.size)} are too large: up to ${size(this.limits.max_upload)} are taken` });
    }
    const request = new XMLHttpRequest();
    const zones = rules.zones || rules.lines ? `&zones=${encodeURIComponent(JSON.stringify(rules))}` : "";
    request.open("POST", `/api/jobs?name=${encodeURIComponent(file.name)}${zones}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (event) => card.show({ ...job, sent: event.loaded, total: event.total });
    request.onload = () => {
      const answer = parse(request.responseText);
      if (request.status === 201) {
        this.cards.set(answer.id, card);
        card.adopt(answer.id);
        card.show(answer);
        this.refresh();
      } else card.show({ ...job, state: "failed", problem: answer.detail || `The server refused it (${request.status})` });
    };
    request.onerror = () => card.show({ ...job, state: "failed", problem: "The connection broke off" });
    request.onabort = () => card.remove();
    card.abort = () => request.abort();
    card.show({ ...job, sent: 0, total: file.size });
    request.send(file);
  }

  card(key) {
    const card = new Card(this, key);
    this.cards.set(key, card);
    this.list.prepend(card.item);
    return card;
  }

  async refresh() {
    clearTimeout(this.timer);
    let active = false;
    try {
      const jobs = await (await fetch("/api/jobs", { cache: "no-store" })).json();
      const present = new Set(jobs.map((job) => job.id));
      for (const job of jobs.reverse()) {
        if (job.state === "uploading") continue; // its own page shows it
        (this.cards.get(job.id) || this.card(job.id)).show(job);
        active ||= !ENDED.includes(job.state);
      }
      for (const card of this.cards.values()) if (card.key && !present.has(card.key) && !card.key.startsWith("upload-")) card.remove();
      const busy = document.getElementById("busy"), count = jobs.filter((job) => !ENDED.includes(job.state)).length;
      busy.hidden = !count;
      busy.textContent = count || "";
    } catch { /* the live view says that the server is away */ }
    this.timer = setTimeout(() => this.refresh(), active ? 500 : 5000);
  }
}

class Card {
  constructor(videos, key) {
    this.videos = videos;
    this.key = key;
    this.item = document.createElement("li");
    this.item.className = "card job";
    this.item.innerHTML = `<div class="line"><b class="name"></b><span class="chip"></span></div>
      <progress max="1" value="0" aria-label="Progress"></progress><p class="about"></p>
      <video controls playsinline preload="metadata" hidden></video><div class="actions"></div>`;
    const find = (selector) => this.item.querySelector(selector);
    Object.assign(this, { name: find(".name"), chip: find(".chip"), progress: find("progress"), about: find(".about"), video: find("video"), actions: find(".actions") });
  }

  adopt(id) {
    this.videos.cards.delete(this.key);
    this.key = id;
  }

  remove() {
    this.videos.cards.delete(this.key);
    this.item.remove();
  }

  show(job) {
    this.name.textContent = job.name;
    this.chip.textContent = WORDS[job.state];
    this.chip.dataset.state = job.state;
    this.progress.hidden = ENDED.includes(job.state);
    const done = job.state === "uploading" ? job.sent / job.total : job.frames / (job.frame_count || Infinity);
    if (job.frame_count === null) this.progress.removeAttribute("value");
    else this.progress.value = done;
    this.about.textContent = job.problem || this.told(job, done);
    this.about.classList.toggle("problem", Boolean(job.problem));
    if (this.state !== job.state) this.act(job);
    this.state = job.state;
  }

  told(job, done) {
    if (job.state === "uploading") return `${size(job.sent)} of ${size(job.total)}${done >= 1 ? ", looking at it" : ""}`;
    if (job.state === "waiting") return "Others are in work before it.";
    if (job.state === "running") {
      const left = job.frame_count && job.fps ? `, ${duration((job.frame_count - job.frames) / job.fps)} left` : "";
      return `${job.frames}${job.frame_count ? ` of ${job.frame_count}` : ""} frames, ${job.fps.toFixed(1)} per second${left}`;
    }
    const notes = (job.notes || []).map((note) => `. ${note}`).join("");
    const counts = Object.entries(job.counts || {}).map(([place, words]) => `. ${place}: ${Object.entries(words).map(([word, count]) => `${count} ${word}`).join(", ")}`).join("");
    return `${job.frames} frames, ${job.tracks} ${job.tracks === 1 ? "object" : "objects"}${counts}${notes}`;
  }

  act(job) {
    this.actions.replaceChildren();
    if (!ENDED.includes(job.state)) {
      this.button("Cancel", () => (job.state === "uploading" ? this.abort?.() : this.ask("POST", "/cancel")));
      return;
    }
    const film = job.results.find((file) => file.name === "video.mp4");
    this.video.hidden = !film;
    if (film && this.video.getAttribute("src") !== film.url) this.video.src = film.url;
    if (job.archive) this.link("All (zip)", job.archive, true);
    if (job.studio) this.link("Correct in the studio", job.studio);
    for (const file of job.results) if (FILES[file.name]) this.link(FILES[file.name], `${file.url}?download=true`, false, size(file.bytes));
    this.button(job.id ? "Remove" : "Dismiss", async () => {
      if (job.id) await this.ask("DELETE", "");
      this.remove();
    }, "quiet");
  }

  async ask(method, path) {
    await fetch(`/api/jobs/${this.key}${path}`, { method }).catch(() => null);
    this.videos.refresh();
  }

  button(text, onclick, kind = "") {
    const button = document.createElement("button");
    Object.assign(button, { textContent: text, onclick, className: kind });
    this.actions.append(button);
  }

  link(text, href, first, title = "") {
    const link = document.createElement("a");
    Object.assign(link, { textContent: text, href, title, className: first ? "button main" : "button" });
    if (!href.startsWith("/studio")) link.download = "";
    this.actions.append(link);
  }
}

// A film that is about to be uploaded, for zones to be drawn on its first picture. It is shown from this device.
class Preparation {
  constructor(file, classes, ready) {
    this.item = document.createElement("li");
    this.item.className = "card job preparing";
    this.item.innerHTML = `<b class="name"></b><div class="stage"><video playsinline muted preload="auto"></video><canvas tabindex="0" role="img" aria-label="First picture, to draw zones on"></canvas></div>
      <p class="about problem" role="alert" hidden></p><div class="zones"></div><div class="actions"></div>`;
    const find = (selector) => this.item.querySelector(selector);
    find(".name").textContent = file.name;
    Object.assign(this, { stage: find(".stage"), video: find("video"), canvas: find("canvas") });
    this.zones = new Zones({ canvas: this.canvas, panel: find(".zones"), classes, repaint: () => this.paint(), onchange: () => "" });
    this.zones.activate(true);
    const address = URL.createObjectURL(file);
    this.video.onloadeddata = () => {
      this.stage.style.setProperty("--ratio", this.video.videoWidth / this.video.videoHeight);
      this.paint();
    };
    this.video.onerror = () => {
      find("[role=alert]").hidden = false;
      find("[role=alert]").textContent = "This browser cannot show the film. The server may take it all the same; zones are then drawn blindly, in parts of the picture.";
    };
    this.video.src = address;
    new ResizeObserver(() => this.paint()).observe(this.canvas);
    const leave = () => {
      URL.revokeObjectURL(address);
      this.item.remove();
    };
    const button = (textContent, className, onclick) => find(".actions:last-child").append(Object.assign(document.createElement("button"), { type: "button", textContent, className, onclick }));
    button("Upload", "main", () => {
      leave();
      ready(this.zones.rules);
    });
    button("Cancel", "quiet", leave);
  }

  paint() {
    const ratio = Math.min(window.devicePixelRatio || 1, 2), { canvas } = this;
    canvas.width = Math.round(canvas.clientWidth * ratio);
    canvas.height = Math.round(canvas.clientHeight * ratio);
    this.zones?.paint(canvas.getContext("2d"), canvas.width, canvas.height, ratio);
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

export function size(bytes) {
  const power = Math.min(Math.floor(Math.log2(Math.max(bytes, 1)) / 10), 3);
  const value = bytes / 1024 ** power;
  return `${value.toFixed(value < 10 && power ? 1 : 0)} ${["bytes", "KB", "MB", "GB"][power]}`;
}
