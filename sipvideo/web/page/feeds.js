// Where results come from: a live source of the server, or this browser's own camera seen by the server's network.
// Both tell: onresult({objects, size, bitmap, age}), onstatus({state, text}), and take pause(), resume(), reset(), stop().

import { decodeObjects, pack, unpack } from "/page/protocol.js";

const FIRST_PAUSE = 0.5, LONGEST_PAUSE = 8; // seconds before a lost connection is tried again
const SEND_SIDE = 640; // pixels of the longer side of a picture sent; the network sees no more
const PATIENCE = 10_000; // milliseconds without an answer after which the next picture goes out

// A WebSocket that comes back.
class Connection {
  constructor(path, onmessage, onstatus) {
    this.path = path;
    this.onmessage = onmessage;
    this.onstatus = onstatus;
    this.pause = FIRST_PAUSE;
    this.ended = false;
    this.open();
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.socket = new WebSocket(`${scheme}://${location.host}${this.path}`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => {
      this.pause = FIRST_PAUSE;
      this.onopen?.();
    };
    this.socket.onmessage = (event) => this.onmessage(event.data);
    this.socket.onclose = (event) => this.lost(event);
  }

  async lost(event) {
    if (this.ended) return;
    const reason = event.reason || (await whyRefused());
    if (this.ended) return;
    this.onstatus({ state: "waiting", text: `${reason}, trying again in ${Math.ceil(this.pause)} s` });
    this.timer = setTimeout(() => this.open(), this.pause * 1000);
    this.pause = Math.min(this.pause * 2, LONGEST_PAUSE);
  }

  get isOpen() {
    return this.socket.readyState === WebSocket.OPEN;
  }

  send(data) {
    if (this.isOpen) this.socket.send(data instanceof Uint8Array ? data : JSON.stringify(data));
  }

  close() {
    this.ended = true;
    clearTimeout(this.timer);
    this.socket.close();
  }
}

// Browsers do not tell why a WebSocket was refused; the server does.
async function whyRefused() {
  try {
    const answer = await fetch("/api/health", { cache: "no-store" });
    if (answer.status === 401) return "The token is no longer right: open the address that the server printed";
    const health = await answer.json();
    if (health.visitors >= health.max_visitors) return "As many visitors as the server takes are here";
    return "Connection lost";
  } catch {
    return "The server does not answer";
  }
}

function tryZones(feed, rules) {
  if (!feed.connection?.isOpen) return Promise.resolve(""); // sent when it is open again
  feed.connection.send({ type: "zones", rules });
  return new Promise((done) => (feed.tried = done));
}

export class ServerFeed {
  constructor(key, onresult, onstatus) {
    this.key = key;
    this.onresult = onresult;
    this.onstatus = onstatus;
    this.paused = false;
    this.offsets = []; // [round trip, server's clock minus ours], milliseconds
    this.owed = []; // numbers of results that came while paused
    this.connection = new Connection(`/api/sources/${encodeURIComponent(key)}/live`, (data) => this.take(data), onstatus);
    this.connection.onopen = () => this.askClock();
    this.timer = setInterval(() => this.askClock(), 5000);
  }

  askClock() {
    this.connection.send({ type: "clock", sent: performance.now() });
  }

  async take(data) {
    if (typeof data === "string") return this.takeText(JSON.parse(data));
    const { header, rest } = unpack(data);
    if (this.paused) {
      this.owed.push(header.number);
      return;
    }
    const { objects, picture } = decodeObjects(header, rest);
    const bitmap = await createImageBitmap(new Blob([picture], { type: "image/jpeg" }));
    requestAnimationFrame(() => {
      if (!this.paused && !this.connection.ended) {
        this.onresult({ objects, video: header.video, size: header.size, bitmap, age: this.age(header.captured), bytes: header.objects.reduce((sum, o) => sum + o.bytes, 0) });
      }
      bitmap.close();
      this.connection.send({ type: "shown", number: header.number });
    });
  }

  takeText(message) {
    if (message.type === "status") this.onstatus(message);
    if (message.type === "zones") this.onzones?.(message);
    if (message.type === "counts") this.oncounts?.(message);
    if (message.type === "tried") this.tried?.(message.problem);
    if (message.type === "clock") {
      const now = performance.now(), trip = now - message.sent;
      this.offsets = [...this.offsets.slice(-7), [trip, message.clock * 1000 - (message.sent + trip / 2)]];
    }
  }

  // Milliseconds since the capture, by the server's clock as the quickest round trip of late told it.
  age(captured) {
    if (!this.offsets.length) return null;
    const best = this.offsets.reduce((a, b) => (b[0] < a[0] ? b : a));
    return performance.now() + best[1] - captured * 1000;
  }

  pause() {
    this.paused = true;
  }

  resume() {
    this.paused = false;
    for (const number of this.owed) this.connection.send({ type: "shown", number });
    this.owed = [];
  }

  reset() {
    this.connection.send({ type: "reset" });
  }

  // Zones for this viewer alone; what is wrong with them.
  tryZones(rules) {
    return tryZones(this, rules);
  }

  stop() {
    clearInterval(this.timer);
    this.connection.close();
  }
}

export class WebcamFeed {
  constructor(video, facing, onresult, onstatus) {
    this.video = video;
    this.facing = facing;
    this.onresult = onresult;
    this.onstatus = onstatus;
    this.paused = this.stopped = false;
    this.flying = 0; // when the picture that has no answer yet was sent; 0: none
    this.canvas = document.createElement("canvas");
  }

  // Asks for the camera; throws with one line for people.
  async start() {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Error("Browsers give the camera only to pages from https or from this machine itself (localhost).");
    }
    const wanted = { width: { ideal: 1280 }, height: { ideal: 720 }, facingMode: this.facing };
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
    } catch (error) {
      throw new Error(REFUSALS[error.name] || `The camera cannot be opened: ${error.message}`);
    }
    if (this.stopped) return this.stop();
    this.stream.getVideoTracks()[0].onended = () => this.onstatus({ state: "failed", text: "The camera was taken away" });
    this.video.srcObject = this.stream;
    await this.video.play();
    this.connection = new Connection("/api/webcam", (data) => this.take(data), this.onstatus);
    this.connection.onopen = () => {
      this.flying = 0;
      this.onstatus({ state: "live", text: "live" });
      this.onzones?.(null);
    };
    this.watch();
  }

  // One picture under way at a time, always the newest.
  watch() {
    if (this.stopped) return;
    const next = (now, about) => {
      this.watch();
      this.newest = about?.captureTime ?? now;
      this.send();
    };
    if (this.video.requestVideoFrameCallback) this.video.requestVideoFrameCallback(next);
    else requestAnimationFrame(next);
  }

  async send() {
    const now = performance.now();
    if (this.paused || !this.newest || !this.connection.isOpen || !this.video.videoWidth) return;
    if (this.flying && now - this.flying < PATIENCE) return;
    this.flying = now;
    const captured = this.newest;
    this.newest = null;
    this.under?.close();
    this.under = await createImageBitmap(this.video); // shown when its masks are here, so that both fit
    const scale = Math.min(1, SEND_SIDE / Math.max(this.video.videoWidth, this.video.videoHeight));
    this.canvas.width = Math.round(this.video.videoWidth * scale);
    this.canvas.height = Math.round(this.video.videoHeight * scale);
    this.canvas.getContext("2d").drawImage(this.under, 0, 0, this.canvas.width, this.canvas.height);
    const blob = await new Promise((done) => this.canvas.toBlob(done, "image/jpeg", 0.8));
    const bytes = await blob.arrayBuffer();
    this.sent = bytes.byteLength;
    this.connection.send(pack({ captured }, bytes));
  }

  take(data) {
    if (typeof data === "string") {
      const message = JSON.parse(data);
      if (message.type === "tried") this.tried?.(message.problem);
      return;
    }
    const { header, rest } = unpack(data);
    const bitmap = this.under;
    this.under = null;
    this.flying = 0;
    this.send(); // a newer picture may be there already
    this.onstatus({ state: "live", text: "live", choice: header.choice });
    if (header.type === "problem") return this.onstatus({ state: "failed", text: header.problem });
    if (header.counts) this.oncounts?.(header.counts);
    if (this.paused) return;
    const { objects } = decodeObjects(header, rest);
    requestAnimationFrame(() => {
      if (this.stopped || this.paused || !bitmap) return;
      this.onresult({ objects, video: header.video, size: header.size, bitmap, age: performance.now() - header.captured, bytes: rest.byteLength, sent: this.sent });
      bitmap.close();
    });
  }

  pause() {
    this.paused = true;
  }

  resume() {
    this.paused = false;
  }

  reset() {
    this.connection?.send({ type: "reset" });
  }

  tryZones(rules) {
    return tryZones(this, rules);
  }

  stop() {
    this.stopped = true;
    this.connection?.close();
    this.stream?.getTracks().forEach((track) => track.stop());
    this.video.srcObject = null;
  }
}

const REFUSALS = {
  NotAllowedError: "The camera was not allowed. Allow it in the browser's address bar, then start again.",
  NotFoundError: "There is no camera on this device.",
  NotReadableError: "Another program is using the camera.",
  OverconstrainedError: "There is no such camera on this device.",
};
