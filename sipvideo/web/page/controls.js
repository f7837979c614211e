// What a viewer can do with the picture: the same by button and by key.

export const KEYS = [
  [" ", "pause", "pause, go on"],
  ["r", "record", "start, stop recording"],
  ["s", "screenshot", "save the picture"],
  ["c", "labels", "classes on, off"],
  ["b", "boxes", "boxes on, off"],
  ["t", "trails", "trails on, off"],
  ["o", "fainter", "masks fainter"],
  ["O", "stronger", "masks stronger"],
  ["z", "zones", "draw zones and lines"],
  ["x", "reset", "identities start anew"],
  ["f", "fullscreen", "full screen on, off"],
  ["h", "help", "this list"],
];
const STEP = 0.15;
const STORED = "sipvideo.picture";
const FORMATS = ["video/mp4;codecs=avc1.42E01E", "video/webm;codecs=vp9", "video/webm;codecs=vp8", "video/webm"];

// What this viewer chose last, and the rest as the server says.
export function storedSettings({ labels, boxes, trails, opacity }) {
  const settings = { labels, boxes, trails, opacity };
  try {
    return { ...settings, ...JSON.parse(localStorage.getItem(STORED)) };
  } catch {
    return settings;
  }
}

export class Controls {
  constructor(stage, settings, live) {
    this.stage = stage;
    this.settings = settings;
    this.live = live; // has feed, paused, setPaused(), resetIdentities(), flip(), notice()
    this.opacity = document.getElementById("opacity");
    this.recorder = null;
    document.getElementById("tools").onclick = (event) => {
      const button = event.target.closest("button[data-do]");
      if (button) this.do(button.dataset.do);
    };
    this.opacity.oninput = () => this.change({ opacity: this.opacity.value / 100 });
    addEventListener("keydown", (event) => this.key(event));
    addEventListener("beforeunload", (event) => this.recorder && event.preventDefault());
    this.listKeys();
    this.update();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (document.getElementById("live").hidden || event.target.matches("select, input:not([type=range])")) return;
    if (event.key === " " && event.target.closest("button")?.offsetParent) return; // presses it, unless it went with its dialog
    const found = KEYS.find(([key]) => key === event.key) || KEYS.find(([key]) => key === event.key.toLowerCase() && !event.shiftKey);
    if (!found) return;
    event.preventDefault();
    this.do(found[1]);
  }

  do(name) {
    const { settings } = this;
    if (name in settings && name !== "opacity") this.change({ [name]: !settings[name] });
    else if (name === "fainter" || name === "stronger") {
      const step = name === "stronger" ? STEP : -STEP;
      this.change({ opacity: Math.min(1, Math.max(0, Math.round((settings.opacity + step) * 100) / 100)) });
    } else if (name === "pause") this.live.setPaused(!this.live.paused);
    else if (name === "reset") this.live.resetIdentities();
    else if (name === "flip") this.live.flip();
    else if (name === "zones") this.live.drawZones(!this.live.drawing);
    else if (name === "screenshot") this.screenshot();
    else if (name === "record") this.recorder ? this.stopRecording() : this.startRecording();
    else if (name === "fullscreen") this.fullscreen();
    else if (name === "help") document.getElementById("help").showModal();
    this.update();
  }

  change(values) {
    Object.assign(this.settings, values);
    localStorage.setItem(STORED, JSON.stringify(this.settings));
    this.stage.paint();
    this.update();
  }

  update() {
    const pressed = { ...this.settings, pause: this.live.paused, record: this.recorder !== null, zones: this.live.drawing };
    for (const button of document.querySelectorAll("#tools button[aria-pressed]")) {
      button.setAttribute("aria-pressed", String(Boolean(pressed[button.dataset.do])));
    }
    const pause = document.querySelector('[data-do="pause"]');
    pause.querySelector("use").setAttribute("href", this.live.paused ? "#i-play" : "#i-pause");
    pause.lastChild.textContent = this.live.paused ? "Go on" : "Pause";
    this.opacity.value = Math.round(this.settings.opacity * 100);
    for (const name of ["pause", "record", "screenshot", "zones", "reset"]) {
      document.querySelector(`[data-do="${name}"]`).disabled = !this.live.feed;
    }
  }

  screenshot() {
    if (!this.stage.size) return;
    this.stage.compose(document.createElement("canvas")).toBlob((blob) => save(blob, named("png")), "image/png");
  }

  startRecording() {
    const type = window.MediaRecorder && FORMATS.find((format) => MediaRecorder.isTypeSupported(format));
    if (!type || !this.stage.size) return this.live.notice(type ? "There is no picture yet." : "This browser cannot record.");
    const canvas = this.stage.compose(document.createElement("canvas"));
    const recorder = new MediaRecorder(canvas.captureStream(30), { mimeType: type, videoBitsPerSecond: 6_000_000 });
    const parts = [], begun = performance.now();
    const badge = document.getElementById("recording"), time = document.getElementById("recording-time");
    const draw = () => {
      if (this.recorder !== recorder) return;
      this.stage.compose(canvas);
      time.textContent = clock((performance.now() - begun) / 1000);
      requestAnimationFrame(draw);
    };
    recorder.ondataavailable = (event) => parts.push(event.data);
    recorder.onstop = () => save(new Blob(parts, { type }), named(type.startsWith("video/mp4") ? "mp4" : "webm"));
    recorder.start(1000);
    this.recorder = recorder;
    badge.hidden = false;
    draw();
  }

  stopRecording() {
    this.recorder?.stop();
    this.recorder = null;
    document.getElementById("recording").hidden = true;
    this.update();
  }

  fullscreen() {
    const { box } = this.stage;
    if (document.fullscreenElement) document.exitFullscreen();
    else if (box.requestFullscreen) box.requestFullscreen();
    else box.querySelector("video").webkitEnterFullscreen?.(); // phones that know it for videos only
  }

  listKeys() {
    const list = document.getElementById("keys");
    for (const [key, , about] of KEYS) {
      const term = document.createElement("dt"), description = document.createElement("dd"), cap = document.createElement("kbd");
      cap.textContent = key === " " ? "space" : key === "O" ? "shift O" : key.toUpperCase();
      term.append(cap);
      description.textContent = about;
      list.append(term, description);
    }
  }
}

const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

const named = (suffix) => `sipvideo-${new Date().toISOString().slice(0, 19).replace(/[:T]/g, "-")}.${suffix}`;

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
