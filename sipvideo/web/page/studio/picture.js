// The masks over the picture: what is there, what is chosen, neighbours as ghosts, and what is being drawn.

import { identityColour } from "/page/studio/words.js";

const FONT = '650 {}px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';
const GHOSTS = [[-2, 0.25], [-1, 0.6], [1, 0.6], [2, 0.25]]; // frames away, opacity

export class Picture extends EventTarget {
  constructor(run, player, selection, canvas, box) {
    super();
    Object.assign(this, { run, player, selection, canvas, box });
    this.opacity = 0.45;
    this.ghosts = false;
    this.labels = true;
    this.numbered = true; // by keys that choose them
    this.draft = null; // { id, mask }: shown in place of the object's own
    this.marks = null; // what a tool paints over everything: (context, scale) => {}
    this.zoom = { scale: 1, x: 0, y: 0 }; // x, y: of the window's corner, in parts of the picture
    box.style.setProperty("--ratio", run.size[1] / run.size[0]);
    new ResizeObserver(() => this.paint()).observe(canvas);
    player.addEventListener("frame", () => this.paint());
    run.addEventListener("frames", () => this.paint());
    run.addEventListener("change", () => this.refresh());
    selection.addEventListener("change", () => this.paint());
  }

  get objects() {
    return this.shown ?? [];
  }

  object(id) {
    return this.objects.find((object) => object.id === id);
  }

  // After an edit: the old masks stay until the new ones are here.
  async refresh() {
    await this.run.frame(this.player.frame).catch(() => {});
    this.paint();
  }

  zoomAt(factor, clientX, clientY) {
    const [x, y] = this.parts(clientX, clientY), scale = Math.min(12, Math.max(1, this.zoom.scale * factor));
    const px = (x - this.zoom.x) * this.zoom.scale, py = (y - this.zoom.y) * this.zoom.scale; // stays under the pointer
    this.move(scale, x - px / scale, y - py / scale);
  }

  move(scale, x, y) {
    const most = 1 - 1 / scale;
    this.zoom = { scale, x: Math.min(most, Math.max(0, x)), y: Math.min(most, Math.max(0, y)) };
    for (const layer of [this.player.video, this.player.still]) {
      layer.style.transform = `scale(${scale}) translate(${-this.zoom.x * 100}%, ${-this.zoom.y * 100}%)`;
    }
    this.paint();
  }

  parts(clientX, clientY) {
    const bounds = this.canvas.getBoundingClientRect();
    return [
      (clientX - bounds.left) / bounds.width / this.zoom.scale + this.zoom.x,
      (clientY - bounds.top) / bounds.height / this.zoom.scale + this.zoom.y,
    ];
  }

  // A point of the screen in frame pixels.
  point({ clientX, clientY }) {
    const [x, y] = this.parts(clientX, clientY);
    return [x * this.run.size[1], y * this.run.size[0]];
  }

  // The object at a point of the frame, the smallest where several lie.
  at([x, y]) {
    const hits = this.objects.filter(({ mask }) => mask.has(x, y)).sort((a, b) => a.mask.bits.length - b.mask.bits.length);
    return hits[0]?.id ?? null;
  }

  paint() {
    const { canvas, run } = this, ratio = Math.min(devicePixelRatio || 1, 2);
    const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    this.shown = run.peek(this.player.frame) ?? (this.shownAt === this.player.frame ? this.shown : null);
    this.shownAt = this.player.frame;
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    const scale = (width / run.size[1]) * this.zoom.scale, pixel = ratio / scale;
    context.save();
    context.scale(scale, scale);
    context.translate(-this.zoom.x * run.size[1], -this.zoom.y * run.size[0]);
    if (this.ghosts && !this.player.playing) this.paintGhosts(context, pixel);
    for (const object of [...this.objects].sort((a, b) => this.selection.has(a.id) - this.selection.has(b.id))) {
      if (object.id !== this.draft?.id) this.paintMask(context, object.id, object.mask, pixel, object.score < 0.3 || object.filled);
    }
    if (this.draft) this.paintMask(context, this.draft.id, this.draft.mask, pixel, false);
    this.marks?.(context, pixel);
    context.restore();
    if (this.labels) this.paintTags(context, scale, ratio);
    canvas.setAttribute("aria-label", this.described());
    this.dispatchEvent(new Event("paint"));
  }

  paintMask(context, id, mask, pixel, unsure) {
    const chosen = this.selection.has(id), faint = this.selection.ids.length && !chosen ? 0.55 : 1;
    context.fillStyle = context.strokeStyle = identityColour(Math.max(id, 0));
    context.globalAlpha = Math.min(1, this.opacity + (chosen ? 0.1 : 0)) * faint;
    context.fill(mask.path, "evenodd");
    context.globalAlpha = faint;
    context.lineJoin = "round";
    context.lineWidth = (chosen ? 3 : 1.5) * pixel;
    if (unsure) context.setLineDash([5 * pixel, 3 * pixel]);
    context.stroke(mask.path);
    context.setLineDash([]);
    if (chosen) {
      context.strokeStyle = "#fff";
      context.lineWidth = pixel;
      context.stroke(mask.path);
    }
    context.globalAlpha = 1;
  }

  paintGhosts(context, pixel) {
    for (const [away, opacity] of GHOSTS) {
      const frame = this.player.frame + away, objects = this.run.peek(frame);
      if (!objects) {
        if (frame >= 0 && frame < this.run.count) this.run.frame(frame).catch(() => {});
        continue;
      }
      context.globalAlpha = opacity;
      context.lineWidth = 1.5 * pixel;
      context.setLineDash(away < 0 ? [6 * pixel, 4 * pixel] : [1.5 * pixel, 3 * pixel]);
      for (const { id, mask } of objects) {
        if (this.selection.ids.length && !this.selection.has(id)) continue;
        context.strokeStyle = identityColour(id);
        context.stroke(mask.path);
      }
    }
    context.setLineDash([]);
    context.globalAlpha = 1;
  }

  // The number that chooses an object, its class and its identity.
  paintTags(context, scale, ratio) {
    const size = Math.round(12 * ratio), height = Math.round(18 * ratio), pad = 5 * ratio, taken = [];
    context.font = FONT.replace("{}", size);
    context.textBaseline = "middle";
    this.objects.forEach((object, k) => {
      const chosen = this.selection.has(object.id);
      if (this.player.playing && this.selection.ids.length && !chosen) return;
      const short = this.numbered && k < 9 && !this.player.playing ? `${k + 1} · ` : "";
      const text = `${short}${this.run.labelName(object.label)} ${object.id}`, width = context.measureText(text).width + 2 * pad;
      const x = ((object.box[0] + object.box[2]) / 2 - this.zoom.x * this.run.size[1]) * scale - width / 2;
      const top = (object.box[1] - this.zoom.y * this.run.size[0]) * scale;
      const right = x + width / 2, below = (object.box[3] - this.zoom.y * this.run.size[0]) * scale;
      if (right < 0 || right > context.canvas.width || below < 0 || top > context.canvas.height) return; // out of sight
      const left = Math.min(Math.max(x, 2), context.canvas.width - width - 2);
      const places = [top - height - 2, top + 2, top + height + 4].map((y) => [left, Math.min(Math.max(y, 2), context.canvas.height - height - 2)]);
      const free = places.find(([a, b]) => !taken.some((t) => a < t[0] + t[2] && t[0] < a + width && b < t[1] + height && t[1] < b + height));
      if (!free && !chosen) return;
      const [a, b] = free ?? places[0];
      taken.push([a, b, width]);
      context.fillStyle = identityColour(object.id);
      context.beginPath();
      context.roundRect(a, b, width, height, 5 * ratio);
      context.fill();
      if (chosen) {
        context.strokeStyle = "#fff";
        context.lineWidth = 2 * ratio;
        context.stroke();
      }
      context.fillStyle = "#0b0f14";
      context.fillText(text, a + pad, b + height / 2 + 0.5 * ratio);
    });
  }

  described() {
    const names = this.objects.slice(0, 9).map((object, k) => `${k + 1}: ${this.run.labelName(object.label)} ${object.id}${this.selection.has(object.id) ? ", chosen" : ""}`);
    return `Frame ${this.player.frame}, ${this.objects.length} objects. ${names.join("; ")}`;
  }
}
