// What changes a mask in the frame that is shown: brush, eraser, polygon, clicks, a new object. By mouse, finger and keys.

import { post } from "/page/studio/api.js";
import { Mask } from "/page/studio/masks.js";

export const HINTS = {
  brush: "Draw what is missing. [ and ] change the size, Escape ends. Keys: arrows, Enter.",
  eraser: "Draw what is too much. [ and ] change the size, Escape ends. Keys: arrows, Enter.",
  polygon: "Corner after corner; Enter, or the first corner again, closes it. Backspace takes one back.",
  refine: "Click what belongs to it, with shift or alt what does not. Keys: arrows, Enter, shift Enter.",
  create: "Draw a box around the new object, or click it. Keys: arrows, Enter at two corners.",
};
const CLOSE = 10; // pixels of the screen at which a corner is the first one again

export class Tools extends EventTarget {
  // studio: commit(edits), say(text, kind), label(id) -> Promise of a label or null
  constructor(run, player, selection, picture, studio) {
    super();
    Object.assign(this, { run, player, selection, picture, studio });
    this.name = null;
    this.outside = false; // what clicks mean on a screen without shift
    this.radius = Math.max(3, Math.round(run.size[1] * 0.015));
    this.cursor = null; // frame pixels, for keys and for the brush's ring
    this.forget();
    picture.marks = (context, pixel) => this.paint(context, pixel);
    player.addEventListener("wanted", () => this.forget());
    selection.addEventListener("change", () => this.forget());
  }

  forget() {
    this.corners = [];
    this.clicks = [];
    this.box = this.last = null;
  }

  use(name) {
    if (name && this.player.playing) this.player.pause();
    this.name = this.name === name ? null : name;
    this.forget();
    this.cursor = this.name ? this.begin() : null;
    this.picture.canvas.classList.toggle("drawing", Boolean(this.name));
    if (this.name === "refine") this.warm();
    if (this.name) this.studio.say(this.needsObject && this.id === null ? "Choose an object first: click it, or press its number." : HINTS[this.name]);
    this.dispatchEvent(new Event("change"));
    this.picture.paint();
  }

  // The model looks at the frame before the first click, which is then answered at once.
  warm() {
    const { frame } = this.player;
    if (this.id !== null) post(`${this.run.path}/refine`, { frame, id: this.id, clicks: [] }).catch((error) => this.studio.say(error.message, "problem"));
  }

  get id() {
    return this.selection.ids.at(-1) ?? null;
  }

  get needsObject() {
    return ["brush", "eraser", "refine"].includes(this.name);
  }

  // Keys begin in the middle of the object.
  begin() {
    const box = this.picture.object(this.id)?.box;
    return box ? [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2] : [this.run.size[1] / 2, this.run.size[0] / 2];
  }

  resize(factor) {
    this.radius = Math.min(this.run.size[1] / 4, Math.max(0.5, this.radius * factor));
    this.picture.paint();
  }

  // The mask that is changed: what was drawn but has not come back yet, the object's own, or none.
  get mask() {
    const { draft } = this.picture;
    return draft?.id === this.id ? draft.mask : this.picture.object(this.id)?.mask ?? Mask.empty();
  }

  down(event) {
    if (this.player.frame !== this.player.wanted) return; // not what the person sees
    const point = this.picture.point(event);
    if (this.needsObject && this.id === null) {
      const id = this.picture.at(point);
      if (id === null) return this.studio.say("Choose an object first: click it, or press its number.");
      this.selection.choose(id);
      if (this.name === "refine") return;
    }
    this.act(point, event.shiftKey || event.altKey, (event.pointerType === "touch" ? 2 : 1) * this.screenPixel);
  }

  get screenPixel() {
    return this.run.size[1] / (this.picture.canvas.clientWidth || 1) / this.picture.zoom.scale;
  }

  // The beginning of a stroke or a box; a corner; a click.
  act(point, other, pixel) {
    if (this.name === "brush" || this.name === "eraser") {
      this.last = point;
      this.draw(point);
    } else if (this.name === "create") this.box = [point, point];
    else if (this.name === "refine") this.click(point, !(other || this.outside));
    else if (this.name === "polygon") {
      const [first] = this.corners;
      if (this.corners.length > 2 && Math.hypot(point[0] - first[0], point[1] - first[1]) < CLOSE * pixel) return this.finish();
      this.corners.push(point);
      this.picture.paint();
    }
  }

  move(event) {
    this.cursor = this.picture.point(event);
    if (this.last) this.draw(this.cursor);
    if (this.box) this.box[1] = this.cursor;
    this.picture.paint();
  }

  up() {
    if (this.last) this.commit(this.id, this.mask);
    if (this.box) this.create();
    this.last = null;
  }

  // A second finger, or the system, took the pointer away.
  drop() {
    if (this.last) this.picture.draft = null;
    this.last = this.box = null;
    this.picture.paint();
  }

  draw(point) {
    const mask = this.mask.stroke(this.last, point, this.radius, this.name === "brush", this.run.size);
    this.picture.draft = { id: this.id, mask: new Mask(mask.window, mask.bits) };
    this.last = point;
    this.picture.paint();
  }

  finish() {
    if (this.name !== "polygon" || this.corners.length < 3) return;
    const mask = Mask.polygon(this.corners, this.run.size);
    this.corners = [];
    if (!mask.box) return this.studio.say("These corners enclose nothing.", "problem");
    if (this.id === null) this.named(mask);
    else this.commit(this.id, mask);
  }

  async click(point, inside) {
    const { id } = this, { frame } = this.player;
    this.clicks.push([Math.round(point[0] * 10) / 10, Math.round(point[1] * 10) / 10, inside ? 1 : 0]);
    this.picture.paint();
    const answer = await this.refined({ frame, id, box: null, clicks: this.clicks });
    if (answer && this.player.wanted === frame) await this.commit(id, Mask.fromRle(answer.mask));
  }

  async create() {
    const [[ax, ay], [bx, by]] = this.box, { frame } = this.player, pixel = this.screenPixel;
    this.box = null;
    const small = Math.abs(ax - bx) < 4 * pixel && Math.abs(ay - by) < 4 * pixel;
    const box = small ? null : [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)];
    const answer = await this.refined({ frame, id: null, box, clicks: small ? [[ax, ay, 1]] : [] });
    if (answer) await this.named(Mask.fromRle(answer.mask), answer.label);
  }

  async refined(wish) {
    try {
      return await post(`${this.run.path}/refine`, wish);
    } catch (error) {
      this.clicks.pop();
      this.studio.say(error.message, "problem");
      this.picture.paint();
      return null;
    }
  }

  // A new object gets its class before it gets its number.
  async named(mask, proposal) {
    const { frame } = this.player;
    this.picture.draft = { id: -1, mask };
    this.picture.paint();
    const label = await this.studio.label("Class of the new object", proposal);
    const made = label === null ? null : await this.studio.commit([{ op: "create", label, frame, mask: mask.toRle(this.run.size) }]);
    this.picture.draft = null;
    this.picture.paint();
    const id = made?.edits[0].id;
    if (made) this.selection.choose(typeof id === "object" ? id.id : id);
  }

  // What was drawn stays in sight until the server has it, and goes where it refuses.
  async commit(id, mask) {
    const { frame } = this.player, draft = { id, mask };
    this.picture.draft = draft;
    const rle = mask.box ? mask.toRle(this.run.size) : null, { clicks } = this;
    await this.studio.commit([{ op: "mask", id, frame, mask: rle, ...(this.picture.object(id) ? {} : { label: this.run.tracks.get(id)?.label }) }]);
    await this.run.frame(frame).catch(() => {});
    if (this.picture.draft === draft) this.picture.draft = null;
    if (this.name === "refine") this.clicks = clicks;
    this.picture.paint();
  }

  key(event) {
    const step = this.run.size[1] * (event.shiftKey ? 0.002 : 0.01);
    const ways = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (ways[event.key] && this.name) {
      this.cursor ??= this.begin();
      this.cursor = this.cursor.map((value, axis) => Math.min(this.run.size[1 - axis], Math.max(0, value + ways[event.key][axis])));
      if (this.box) this.box[1] = this.cursor;
    } else if (event.key === "Enter" && this.name) this.enter(event);
    else if (event.key === "Backspace" && this.corners.length) this.corners.pop();
    else return false;
    this.picture.paint();
    return true;
  }

  enter(event) {
    if (this.needsObject && this.id === null) return this.studio.say("Choose an object first: click it, or press its number.");
    const point = [...this.cursor], [first] = this.corners;
    const again = this.corners.length > 2 && Math.hypot(point[0] - first[0], point[1] - first[1]) < 1;
    if (this.name === "polygon" && (event.ctrlKey || again || String(this.corners.at(-1)) === String(point))) return this.finish();
    if (this.box) return this.create();
    this.act(point, event.shiftKey || event.altKey, 0);
    if (this.last) this.up();
  }

  paint(context, pixel) {
    context.lineWidth = 2 * pixel;
    context.strokeStyle = "#fff";
    if (this.cursor && (this.name === "brush" || this.name === "eraser")) ring(context, this.cursor, this.radius);
    else if (this.cursor && this.name) cross(context, this.cursor, 8 * pixel);
    if (this.box) context.strokeRect(this.box[0][0], this.box[0][1], this.box[1][0] - this.box[0][0], this.box[1][1] - this.box[0][1]);
    if (this.corners.length) {
      context.beginPath();
      for (const corner of [...this.corners, this.cursor]) context.lineTo(...corner);
      context.stroke();
      for (const corner of this.corners) ring(context, corner, 4 * pixel);
    }
    for (const [x, y, inside] of this.clicks) {
      context.strokeStyle = inside ? "#35e08a" : "#ff6a61";
      ring(context, [x, y], 5 * pixel);
    }
  }
}

function ring(context, [x, y], radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 7);
  context.stroke();
}

function cross(context, [x, y], size) {
  context.beginPath();
  context.moveTo(x - size, y);
  context.lineTo(x + size, y);
  context.moveTo(x, y - size);
  context.lineTo(x, y + size);
  context.stroke();
}
