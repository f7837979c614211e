// One run as the server knows it: its identities, its frames in pieces, and the edits that change them.

import { get, getBytes, post, Queue, Recent, Refusal } from "/page/studio/api.js";
import { Mask } from "/page/studio/masks.js";
import { told } from "/page/studio/words.js";

const PIECE = 40; // frames asked for at once
const PIECES = 40; // kept as the server sent them
const DECODED = 80; // frames whose masks are kept decoded

export class Run extends EventTarget {
  // waiting(share) is called while the server looks through a run for the first time.
  static async open(id, waiting) {
    const path = `/${encodeURIComponent(id)}`;
    let info = await get(path);
    for (; info.opening !== null && info.opening !== undefined; info = await get(path)) {
      waiting(info.opening);
      await new Promise((done) => setTimeout(done, 300));
    }
    const [times, tracks] = await Promise.all([getBytes(`${path}/times`), get(`${path}/tracks`)]);
    return new Run(path, info, new Float32Array(times), tracks);
  }

  constructor(path, info, times, { revision, tracks }) {
    super();
    Object.assign(this, { path, info, times, revision });
    this.count = info.frames;
    this.size = info.size; // height, width
    this.editable = info.editable;
    this.tracks = new Map(tracks.map((track) => [track.id, track]));
    this.lines = []; // of the log
    this.pieces = new Recent(PIECES);
    this.decoded = new Recent(DECODED);
    this.changes = new Queue();
    this.generation = 0;
    this.author = ""; // the person's name for the log
  }

  // Seconds at which a frame is shown.
  time(frame) {
    return this.times.length ? this.times[Math.min(Math.max(Math.floor(frame), 0), this.times.length - 1)] : frame / (this.info.fps || 25);
  }

  // The frame that is shown at a time: the last one that began by then, with half a millisecond for rounding.
  frameAt(second) {
    let low = 0, high = this.count - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.time(middle) <= second + 0.0005) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  labelName(label) {
    return String(this.info.classes[label] ?? `class ${label}`).replaceAll("_", " ");
  }

  // The objects of a frame, or null while they are on their way.
  peek(frame) {
    const known = this.decoded.get(frame);
    if (known) return known;
    const piece = this.pieces.get(Math.floor(frame / PIECE));
    const plain = piece?.frames?.get(frame);
    if (!plain) return null;
    const objects = plain.map((object) => ({ ...object, mask: Mask.fromRle(object.mask) }));
    objects.sort((a, b) => a.box[0] - b.box[0] || a.id - b.id); // from left to right, as they are numbered
    return this.decoded.set(frame, objects);
  }

  async frame(frame) {
    for (let tries = 0; ; tries++) {
      const objects = this.peek(frame);
      if (objects || tries > 2) return objects ?? [];
      await this.fetch(Math.floor(frame / PIECE));
    }
  }

  fetch(number) {
    if (number < 0 || number * PIECE >= this.count) return null;
    const known = this.pieces.get(number);
    if (known) return known.waiting;
    const generation = this.generation, piece = { frames: null, waiting: null };
    this.pieces.set(number, piece);
    piece.waiting = get(`${this.path}/frames?first=${number * PIECE}&count=${PIECE}`).then((answer) => {
      if (generation !== this.generation) return; // edits came in between
      piece.frames = new Map(answer.frames.map(({ frame, objects }) => [frame, objects]));
      piece.waiting = null;
      this.dispatchEvent(new Event("frames"));
    }, (error) => {
      if (this.pieces.values.get(number) === piece) this.pieces.values.delete(number);
      throw error;
    });
    return piece.waiting;
  }

  // What playback is about to need.
  prefetch(frame) {
    for (const number of [Math.floor(frame / PIECE), Math.floor((frame + PIECE / 2) / PIECE)]) this.fetch(number)?.catch(() => {});
  }

  forget() {
    this.generation++;
    this.pieces.clear();
    this.decoded.clear();
  }

  // Edits as the contract has them. Gives the line that tells what they did; a Refusal where they were not taken.
  edit(edits) {
    return this.change(() => post(`${this.path}/edits`, { ...this.stamp, edits }));
  }

  get stamp() {
    return { base: this.revision, ...(this.author ? { author: this.author } : {}) };
  }

  undo() {
    return this.change(() => post(`${this.path}/undo`, this.stamp));
  }

  redo() {
    return this.change(() => post(`${this.path}/redo`, this.stamp));
  }

  change(work) {
    return this.changes.add(async () => {
      try {
        return await this.take(await work());
      } catch (error) {
        if (error.status !== 409 || !error.answer.edits?.length) throw error;
        await this.reload(error.answer.edits);
        const others = error.answer.edits.map((line) => `${line.author || "another window"} ${told(line, this)}`);
        throw new Refusal(409, { detail: `Not done: ${others.slice(-2).join("; ")} came first, and is shown now. Press again if it still holds.` });
      }
    });
  }

  // What an accepted change did.
  async take({ revision, edits, tracks, removed, notes }) {
    // What an undo brings back may be anything.
    const whole = revision - edits.length > this.revision || edits.some(({ op }) => op === "undo" || op === "redo");
    this.revision = revision;
    for (const id of removed) this.tracks.delete(id);
    for (const track of tracks) this.tracks.set(track.id, track);
    this.lines.push(...edits);
    edits = edits.filter(({ op }) => op !== "begin"); // of the log itself
    this.forget();
    if (whole) await this.reload([]);
    else this.dispatchEvent(new Event("change"));
    return { edits, text: [...edits.map((line) => told(line, this)), ...(notes || [])].join(". ") };
  }

  // Everything anew, after what others did.
  async reload(edits) {
    const { revision, tracks } = await get(`${this.path}/tracks`);
    this.revision = revision;
    this.tracks = new Map(tracks.map((track) => [track.id, track]));
    this.lines.push(...edits.filter((line) => !this.lines.some((known) => known.n === line.n)));
    this.forget();
    this.dispatchEvent(new Event("change"));
  }

  async readLog() {
    const lines = await get(`${this.path}/edits?since=0`);
    this.lines = lines.edits ?? lines;
    this.dispatchEvent(new Event("log"));
  }

  // What other windows do, and how far tasks are, as it happens.
  listen() {
    this.events = new EventSource(`/api/studio${this.path}/changes?since=${this.revision}`);
    this.events.onmessage = ({ data }) => {
      const news = JSON.parse(data);
      if (news.type === "edits" || news.op) this.hear(news.edits ?? [news]);
      else this.dispatchEvent(new CustomEvent("task", { detail: news }));
    };
  }

  hear(edits) {
    this.changes.add(async () => {
      const newer = edits.filter((line) => line.n > this.revision);
      if (!newer.length) return;
      await this.reload(newer);
      const last = newer.at(-1);
      this.dispatchEvent(new CustomEvent("others", { detail: `${last.author || "Another window"}: ${told(last, this)}` }));
    }).catch(() => {});
  }
}
