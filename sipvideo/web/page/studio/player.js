// Which frame is shown: exact pictures from the server while paused, the browser's own player while the film runs.

import { getBlob, Recent } from "/page/studio/api.js";

export const SPEEDS = [0.1, 0.25, 0.5, 1, 2, 4, 8];
const PICTURES = 12; // exact ones kept
const CALM = 250; // milliseconds

export class Player extends EventTarget {
  // plays: otherwise it shows single frames alone, and the server need not make a film for it.
  constructor(run, video, still, plays = true) {
    super();
    Object.assign(this, { run, video, still });
    this.frame = 0; // shown, with its masks
    this.wanted = 0;
    this.playing = false;
    this.speed = 1;
    this.pictures = new Recent(PICTURES);
    this.canPlay = run.info.has_video;
    still.width = run.size[1];
    still.height = run.size[0];
    video.onerror = () => (this.canPlay = false); // then the exact pictures are played, as fast as they come
    video.onended = () => this.pause();
    if (plays && run.info.has_video) this.load();
  }

  // The film, or the wait for one that this browser plays: the server makes it of the source at the first request.
  async load() {
    const address = `/api/studio${this.run.path}/video`;
    const answer = await fetch(address, { headers: { Range: "bytes=0-0" } }).catch(() => null);
    this.canPlay = answer?.ok === true && answer.status !== 202;
    if (this.canPlay) this.video.src = address;
    else if (answer?.status === 202) {
      const { task } = await answer.json();
      this.run.addEventListener("task", ({ detail }) => {
        if (detail.task !== task) return;
        this.dispatchEvent(new CustomEvent("making", { detail: detail.state === "done" ? 1 : detail.done / (detail.total || 1) }));
        if (detail.state === "done") this.load();
      });
    }
  }

  // Shows this frame as soon as its picture and its masks are here. Several in a row: only the last one counts.
  async seek(frame) {
    this.wanted = Math.min(Math.max(Math.round(frame), 0), this.run.count - 1);
    if (this.playing) return this.jump();
    this.dispatchEvent(new Event("wanted"));
    this.seeking ??= this.settle().finally(() => (this.seeking = null));
    return this.seeking;
  }

  async settle() {
    const before = this.frame;
    clearTimeout(this.calm);
    do {
      const frame = this.wanted;
      const [picture] = await Promise.all([this.picture(frame).catch(() => null), this.run.frame(frame).catch(() => [])]);
      if (this.playing) return;
      this.showStill(picture);
      this.show(frame);
    } while (this.wanted !== this.frame);
    // Neighbours come beforehand: at once for who goes frame by frame, otherwise when nobody seeks any more.
    const soon = Math.abs(this.frame - before) < 3 ? 0 : CALM;
    this.calm = setTimeout(() => {
      for (const near of [this.frame + 1, this.frame - 1]) this.picture(near).catch(() => {});
    }, soon);
  }

  showStill(picture) {
    const context = this.still.getContext("2d");
    if (picture) context.drawImage(picture, 0, 0, this.still.width, this.still.height);
    else context.clearRect(0, 0, this.still.width, this.still.height);
    this.still.hidden = false;
  }

  show(frame) {
    this.frame = frame;
    this.dispatchEvent(new Event("frame"));
  }

  async picture(frame) {
    if (!this.run.info.has_video || frame < 0 || frame >= this.run.count) return null;
    const known = this.pictures.get(frame);
    if (known) return known;
    const waiting = getBlob(`${this.run.path}/frame/${frame}.jpg`).then((blob) => createImageBitmap(blob));
    this.pictures.set(frame, waiting);
    waiting.catch(() => this.pictures.values.delete(frame));
    return waiting;
  }

  step(frames) {
    if (this.playing) this.pause();
    return this.seek(this.wanted + frames);
  }

  toggle() {
    return this.playing ? this.pause() : this.play();
  }

  play() {
    if (this.frame >= this.run.count - 1) this.wanted = this.frame = 0;
    this.playing = true;
    this.dispatchEvent(new Event("state"));
    if (!this.canPlay) return this.playPictures();
    this.jump();
    this.video.playbackRate = this.speed;
    const started = this.video.play().catch(() => {
      if (!this.playing) return;
      this.canPlay = false;
      this.playPictures();
    });
    this.follow();
    return started;
  }

  jump() {
    this.video.currentTime = this.run.time(this.wanted) + 0.001; // behind the border, so that rounding shows no earlier frame
    this.origin = null; // of playing by pictures
  }

  follow() {
    this.video.requestVideoFrameCallback((_, { mediaTime }) => {
      if (!this.playing) return;
      this.still.hidden = true;
      this.wanted = this.run.frameAt(mediaTime);
      this.run.prefetch(this.wanted);
      this.show(this.wanted);
      this.follow();
    });
  }

  async playPictures() {
    this.origin = null;
    while (this.playing) {
      this.origin ??= { at: performance.now(), second: this.run.time(this.wanted) };
      const frame = this.run.frameAt(this.origin.second + ((performance.now() - this.origin.at) / 1000) * this.speed);
      this.run.prefetch(frame);
      const [picture] = await Promise.all([this.picture(frame).catch(() => null), this.run.frame(frame).catch(() => [])]);
      if (!this.playing) return;
      this.wanted = frame;
      this.showStill(picture);
      this.show(frame);
      if (frame >= this.run.count - 1) return this.pause();
      await new Promise(requestAnimationFrame);
    }
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    this.video.pause();
    this.dispatchEvent(new Event("state"));
    return this.seek(this.frame);
  }

  setSpeed(speed) {
    this.speed = speed;
    this.video.playbackRate = speed;
    this.origin = null;
    this.dispatchEvent(new Event("state"));
  }

  faster(steps) {
    const place = SPEEDS.indexOf(this.speed);
    this.setSpeed(SPEEDS[Math.min(Math.max(place + steps, 0), SPEEDS.length - 1)]);
  }
}
