// Puts the page together: which source is watched, what its state is, and which tab is open.

import { Controls, storedSettings } from "/page/controls.js";
import { ServerFeed, WebcamFeed } from "/page/feeds.js";
import { ObjectList, Speed } from "/page/panel.js";
import { Stage } from "/page/stage.js";
import { Videos } from "/page/videos.js";
import { LiveZones } from "/page/live_zones.js";

const WEBCAM = "webcam";
const element = (id) => document.getElementById(id);
const STATES = { live: "Live", connecting: "Connecting", ended: "Ended", closed: "Closed", paused: "Paused" };

class Live {
  constructor(health) {
    this.settings = storedSettings(health.looks);
    this.stage = new Stage(element("stage"), this.settings, health.looks);
    this.speed = new Speed();
    this.list = new ObjectList(this.stage);
    this.feed = null;
    this.paused = false;
    this.facing = "user";
    this.ages = []; // of the last frames, milliseconds
    this.zones = new LiveZones(this.stage, element("zones"), health.classes);
    this.controls = new Controls(this.stage, this.settings, this);
    element("source").onchange = () => this.choose(element("source").value);
    element("start").onclick = () => this.startWebcam();
    element("overlay").onpointermove = (event) => {
      if (event.pointerType === "mouse" && !this.drawing) this.stage.highlight(this.stage.at(event.clientX, event.clientY));
    };
    element("overlay").onpointerleave = () => this.stage.highlight(null);
    element("overlay").onclick = (event) => this.drawing || this.stage.highlight(this.stage.at(event.clientX, event.clientY));
  }

  async begin() {
    const sources = await (await fetch("/api/sources", { cache: "no-store" })).json();
    const select = element("source");
    for (const { id, name } of sources) select.append(new Option(shortName(name), id));
    select.append(new Option("Your webcam", WEBCAM));
    this.choose(select.value);
  }

  choose(key) {
    this.end();
    const own = key === WEBCAM;
    element("invite").hidden = !own;
    this.status({ state: own ? "idle" : "connecting", text: own ? "Not started" : "Connecting" });
    this.mirror(false);
    this.stage.use(own ? "video" : "picture");
    if (!own) this.feed = new ServerFeed(key, (result) => this.show(result), (status) => this.status(status));
    if (!own) this.zones.follow(this.feed, element("source").selectedOptions[0].text);
    this.controls.update();
  }

  async startWebcam() {
    this.end();
    element("start").disabled = true;
    const feed = new WebcamFeed(element("video"), this.facing, (result) => this.show(result), (status) => this.status(status));
    this.zones.follow(feed, WEBCAM);
    this.feed = feed; // whoever chooses another source meanwhile ends it
    this.status({ state: "connecting", text: "Waiting for the camera" });
    try {
      await feed.start();
      if (feed.stopped) return;
      element("invite").hidden = true;
      this.mirror(this.facing === "user");
      const devices = await navigator.mediaDevices.enumerateDevices();
      element("flip").hidden = devices.filter((device) => device.kind === "videoinput").length < 2;
      this.stage.setSize([element("video").videoHeight, element("video").videoWidth]);
    } catch (error) {
      if (feed.stopped) return;
      feed.stop();
      this.feed = null;
      this.status({ state: "failed", text: "No camera" });
      element("invite-text").textContent = error.message;
      element("start").textContent = "Try again";
    } finally {
      element("start").disabled = false;
      this.controls.update();
    }
  }

  // People expect to see themselves as in a mirror.
  mirror(mirrored) {
    this.stage.mirrored = this.zones.editor.mirrored = mirrored;
    element("stage").classList.toggle("mirrored", mirrored);
  }

  get drawing() {
    return this.zones.editor.active;
  }

  drawZones(drawing) {
    this.stage.highlight(null);
    this.zones.open(drawing);
    this.controls.update();
  }

  flip() {
    this.facing = this.facing === "user" ? "environment" : "user";
    this.startWebcam();
  }

  end() {
    this.controls.stopRecording();
    this.feed?.stop();
    this.feed = null;
    this.paused = false;
    this.stage.clear();
    this.list.show([]);
    this.speed.clear();
    this.zones.leave();
    element("flip").hidden = true;
    this.notice("");
  }

  show({ objects, video, size, bitmap, age, bytes, sent }) {
    if (video !== this.video) this.stage.trails.clear(); // the same ids are others now
    this.video = video;
    this.stage.show(objects, size, bitmap);
    this.list.show(objects);
    this.speed.frame(age);
    this.last = { objects: objects.length, maskBytes: bytes, pictureBytes: sent };
    if (age !== null) this.ages = [...this.ages.slice(-999), age];
    element("overlay").setAttribute("aria-label", `${objects.length} objects in the picture`);
  }

  setPaused(paused) {
    if (!this.feed) return;
    this.paused = paused;
    if (paused) this.feed.pause();
    else this.feed.resume();
    this.status(this.lastStatus);
    this.controls.update();
  }

  resetIdentities() {
    this.feed?.reset();
    this.stage.trails.clear();
  }

  status(status) {
    this.lastStatus = status;
    element("choice").hidden = !status.choice;
    element("choice").textContent = status.choice || "";
    const state = this.paused ? "paused" : status.state;
    const quiet = state === "live" && status.silent > 2;
    element("status").dataset.state = quiet ? "waiting" : state;
    // Troubles are told in full, over the picture.
    element("status-text").textContent = STATES[state] || { waiting: "Reconnecting", failing: "Failing", failed: "Failed", idle: "Not started" }[state] || state;
    const troubled = ["waiting", "failing", "failed", "ended"].includes(state) || quiet;
    const again = status.retry_in ? ` in ${Math.ceil(status.retry_in)} s` : "";
    const text = status.problem && state === "waiting" ? `Reconnecting${again}: ${status.problem}` : sentence(status.text);
    this.notice(troubled && this.feed ? text : "");
  }

  notice(text) {
    element("notice").hidden = !text;
    element("notice").textContent = text;
  }
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function shortName(name) {
  const parts = name.split("/").filter(Boolean);
  return name.includes("://") ? name : parts[parts.length - 1] || name;
}

function openTab(name) {
  for (const tab of ["live", "videos"]) {
    element(tab).hidden = tab !== name;
    element(`tab-${tab}`).setAttribute("aria-selected", String(tab === name));
    element(`tab-${tab}`).tabIndex = tab === name ? 0 : -1;
  }
}

function setUpPage() {
  for (const name of ["live", "videos"]) {
    element(`tab-${name}`).onclick = () => openTab(name);
    element(`tab-${name}`).onkeydown = (event) => {
      if (event.key !== "ArrowRight" && event.key !== "ArrowLeft") return;
      const other = name === "live" ? "videos" : "live";
      openTab(other);
      element(`tab-${other}`).focus();
    };
  }
  if (location.hash === "#videos") openTab("videos");
  const root = document.documentElement, stored = localStorage.getItem("sipvideo.theme");
  if (stored) root.dataset.theme = stored;
  element("theme").onclick = () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem("sipvideo.theme", root.dataset.theme);
  };
}

setUpPage();
const health = await (await fetch("/api/health", { cache: "no-store" })).json();
const live = new Live(health);
window.sipvideo = live; // for curious people and for tests
live.begin();
new Videos(health);
