// A lane per identity over the time of the film. Only what is in sight is painted, so that hours and hundreds stay fluid.

import { Headings, LANE, lanes, paintLane } from "/page/studio/lanes.js";
import { clock, exactClock } from "/page/studio/words.js";

const RULER = 26; // pixels of height
const TICKS = [0.04, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
const DRAG = 6; // pixels after which a press is a drag

export class Timeline extends EventTarget {
  // parts: { box, scroller, list, canvas, spacer, ruler } elements.
  constructor(run, player, selection, parts) {
    super();
    Object.assign(this, { run, player, selection, ...parts });
    this.filter = { label: "", seconds: 0, score: 0, most: 1, order: "first" };
    this.view = { first: 0, last: run.count };
    this.doubts = [];
    this.range = null; // [first, last] marked by the person
    this.drag = null;
    this.pointers = new Map();
    this.headings = new Headings(this.list, (id, event) => this.press(id, event));
    for (const target of [run, selection]) target.addEventListener("change", () => this.update());
    for (const name of ["frame", "wanted"]) player.addEventListener(name, () => this.follow());
    new ResizeObserver(() => this.paintSoon()).observe(this.box);
    this.scroller.addEventListener("scroll", () => this.paintSoon(), { passive: true });
    this.box.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    for (const element of [this.canvas, this.ruler]) {
      element.onpointerdown = (event) => this.down(event);
      element.onpointermove = (event) => this.move(event);
      element.onpointerup = (event) => this.up(event);
      element.onpointercancel = (event) => this.cancel(event);
    }
    this.update();
  }

  update() {
    this.lanes = lanes(this.run, this.filter, this.selection);
    this.spacer.style.height = `${this.lanes.length * LANE}px`;
    this.paintSoon();
  }

  get width() {
    return this.canvas.clientWidth || 1;
  }

  x(frame) {
    return ((frame - this.view.first) / (this.view.last - this.view.first)) * this.width;
  }

  frameOf(clientX) {
    const bounds = this.canvas.getBoundingClientRect();
    const frame = this.view.first + ((clientX - bounds.left) / bounds.width) * (this.view.last - this.view.first);
    return Math.min(this.run.count - 1, Math.max(0, Math.floor(frame)));
  }

  laneAt(clientY) {
    const place = Math.floor((clientY - this.canvas.getBoundingClientRect().top + this.scroller.scrollTop) / LANE);
    return this.lanes[place] ?? null;
  }

  // Zoom so that the frame at part (0..1) of the width stays where it is.
  zoom(factor, part) {
    const { first, last } = this.view, span = Math.min(this.run.count, Math.max(12, (last - first) / factor));
    part ??= Math.min(1, Math.max(0, (this.player.wanted - first) / (last - first)));
    const held = first + part * (last - first);
    this.look(held - part * span, span);
  }

  look(first, span) {
    span = Math.min(span, this.run.count);
    first = Math.min(Math.max(0, first), this.run.count - span);
    this.view = { first, last: first + span };
    this.paintSoon();
  }

  // The playhead stays in sight.
  follow() {
    const { first, last } = this.view, frame = this.player.wanted, span = last - first;
    if (frame < first || frame >= last) this.look(this.player.playing ? frame : frame - span / 2, span);
    else this.paintSoon();
  }

  // A lane comes into sight.
  reveal(id) {
    const place = this.lanes.findIndex((track) => track.id === id);
    if (place < 0) return;
    const top = place * LANE, { scrollTop, clientHeight } = this.scroller;
    if (top < scrollTop || top + LANE > scrollTop + clientHeight) this.scroller.scrollTop = Math.max(0, top - clientHeight / 2);
  }

  // Up and down in the list of lanes.
  walk(step, more) {
    if (!this.lanes.length) return;
    const last = this.lanes.findIndex((track) => track.id === this.selection.ids.at(-1));
    const next = this.lanes[last < 0 ? 0 : Math.min(this.lanes.length - 1, Math.max(0, last + step))].id;
    if (last < 0 || !more) this.selection.choose(next);
    else if (!this.selection.has(next)) this.selection.choose(next, true);
    this.reveal(next);
  }

  press(id, event) {
    this.selection.choose(id, event.shiftKey || event.ctrlKey || event.metaKey || this.several);
  }

  wheel(event) {
    const onRuler = event.target === this.ruler, across = Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey;
    if (event.ctrlKey || event.metaKey || (onRuler && !across)) {
      const bounds = this.canvas.getBoundingClientRect();
      this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.1 : 0.004)), Math.min(1, Math.max(0, (event.clientX - bounds.left) / bounds.width)));
    } else if (across) {
      const span = this.view.last - this.view.first;
      this.look(this.view.first + ((event.deltaX || event.deltaY) / this.width) * span, span);
    } else return;
    event.preventDefault();
  }

  down(event) {
    if (event.button > 0) return;
    this.pointers.set(event.pointerId, event);
    event.target.setPointerCapture(event.pointerId);
    if (this.pointers.size === 2) return this.beginPinch();
    const lane = event.target === this.canvas ? this.laneAt(event.clientY) : null;
    this.drag = { lane, x: event.clientX, y: event.clientY, kind: event.target === this.ruler ? "scrub" : null, onto: null };
    if (this.drag.kind) this.player.seek(this.frameOf(event.clientX));
  }

  move(event) {
    if (!this.pointers.has(event.pointerId)) return this.hover(event);
    this.pointers.set(event.pointerId, event);
    if (this.pinch) return this.pinched();
    const { drag } = this;
    if (!drag) return;
    const dx = Math.abs(event.clientX - drag.x), dy = Math.abs(event.clientY - drag.y);
    if (!drag.kind && Math.max(dx, dy) > DRAG) drag.kind = dy > dx && drag.lane && this.run.editable ? "join" : "scrub";
    if (drag.kind === "scrub") this.player.seek(this.frameOf(event.clientX));
    if (drag.kind === "join") {
      const onto = this.laneAt(event.clientY);
      drag.onto = onto && onto !== drag.lane ? onto : null;
      const bounds = this.canvas.getBoundingClientRect();
      Object.assign(drag, { at: event.clientY - bounds.top, left: event.clientX - bounds.left });
      this.paintSoon();
    }
  }

  up(event) {
    const { drag } = this;
    this.cancel(event);
    if (!drag) return;
    if (drag.kind === "join" && drag.onto) this.dispatchEvent(new CustomEvent("join", { detail: { into: drag.onto.id, from: drag.lane.id } }));
    if (drag.kind) return;
    if (drag.lane) this.press(drag.lane.id, event);
    this.player.seek(this.frameOf(event.clientX));
  }

  cancel(event) {
    this.pointers.delete(event.pointerId);
    this.drag = this.pinch = null;
    this.paintSoon();
  }

  beginPinch() {
    this.drag = null;
    const [a, b] = [...this.pointers.values()];
    this.pinch = { apart: Math.max(20, Math.abs(a.clientX - b.clientX)), middle: (a.clientX + b.clientX) / 2, view: { ...this.view } };
  }

  pinched() {
    const [a, b] = [...this.pointers.values()], { apart, middle, view } = this.pinch, bounds = this.canvas.getBoundingClientRect();
    const span = Math.max(12, ((view.last - view.first) * apart) / Math.max(20, Math.abs(a.clientX - b.clientX)));
    const held = view.first + ((middle - bounds.left) / bounds.width) * (view.last - view.first);
    this.look(held - (((a.clientX + b.clientX) / 2 - bounds.left) / bounds.width) * span, span);
  }

  hover(event) {
    const frame = this.frameOf(event.clientX);
    event.target.title = `${exactClock(this.run.time(frame))}, frame ${frame}`;
  }

  paintSoon() {
    this.painting ??= requestAnimationFrame(() => {
      this.painting = null;
      this.paint();
    });
  }

  paint() {
    const style = getComputedStyle(this.box), colour = (name) => style.getPropertyValue(name);
    this.paintRuler(prepare(this.ruler, RULER), colour);
    const height = this.scroller.clientHeight, context = prepare(this.canvas, height), { scrollTop } = this.scroller;
    const begin = Math.floor(scrollTop / LANE), shown = this.lanes.slice(begin, begin + Math.ceil(height / LANE) + 1);
    const x = (frame) => this.x(frame);
    if (this.run.info.range) this.shade(context, this.run.info.range, height, colour("--line"));
    shown.forEach((track, k) => {
      const top = (begin + k) * LANE - scrollTop, chosen = this.selection.has(track.id);
      if (chosen || this.drag?.onto === track) {
        context.fillStyle = colour(this.drag?.onto === track ? "--accent" : "--soft");
        context.fillRect(0, top, this.width, LANE);
      }
      paintLane(context, track, top, this.view, x, this.width);
    });
    if (this.range) {
      context.fillStyle = colour("--warn");
      context.globalAlpha = 0.22;
      context.fillRect(x(this.range[0]), 0, Math.max(2, x(this.range[1] + 1) - x(this.range[0])), height);
      context.globalAlpha = 1;
    }
    this.paintPlayhead(context, height, colour("--text"));
    if (this.drag?.kind === "join") this.paintDrag(context, height, colour);
    this.headings.show(shown, begin, this.lanes.length, this.run, this.selection);
  }

  paintDrag(context, height, colour) {
    const { lane, onto, at, left } = this.drag, text = onto ? `join ${lane.id} into ${onto.id}` : `drop ${lane.id} on a lane to join them`;
    context.font = "600 12px system-ui, sans-serif";
    context.textBaseline = "middle";
    const width = context.measureText(text).width + 16, y = Math.min(height - 12, Math.max(12, at));
    context.fillStyle = colour("--text");
    context.beginPath();
    context.roundRect(left + 12, y - 11, width, 22, 7);
    context.fill();
    context.fillStyle = colour("--surface");
    context.fillText(text, left + 20, y + 1);
  }

  paintRuler(context, colour) {
    const { first, last } = this.view, begin = this.run.time(first), end = this.run.time(Math.min(last, this.run.count - 1));
    const tick = TICKS.find((seconds) => (seconds / Math.max(end - begin, 0.001)) * this.width > 74) ?? 3600;
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.fillStyle = colour("--muted");
    for (let second = Math.ceil(begin / tick) * tick; second <= end; second += tick) {
      const x = this.x(this.run.frameAt(second));
      context.fillRect(x, RULER - 6, 1, 6);
      context.fillText(tick < 1 ? exactClock(second + 1e-6) : clock(second + 1e-6), x + 4, RULER - 12);
    }
    context.fillStyle = colour("--bad");
    for (const doubt of this.doubts) context.fillRect(this.x(doubt.first) - 1, RULER - 4, 3, 4);
    this.paintPlayhead(context, RULER, colour("--text"));
  }

  paintPlayhead(context, height, colour) {
    const left = this.x(this.player.wanted), wide = Math.max(2, this.x(this.player.wanted + 1) - left);
    context.fillStyle = colour;
    context.globalAlpha = 0.25;
    context.fillRect(left, 0, wide, height);
    context.globalAlpha = 1;
    context.fillRect(left, 0, 1.5, height);
  }

  // What lies outside of the frames that a person may change.
  shade(context, [first, last], height, colour) {
    context.fillStyle = colour;
    context.globalAlpha = 0.6;
    context.fillRect(0, 0, this.x(first), height);
    context.fillRect(this.x(last + 1), 0, this.width, height);
    context.globalAlpha = 1;
  }
}

function prepare(canvas, height) {
  const ratio = Math.min(devicePixelRatio || 1, 2), width = Math.round(canvas.clientWidth * ratio);
  canvas.style.height = `${height}px`;
  if (canvas.width !== width || canvas.height !== Math.round(height * ratio)) Object.assign(canvas, { width, height: Math.round(height * ratio) });
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, canvas.clientWidth, height);
  return context;
}
