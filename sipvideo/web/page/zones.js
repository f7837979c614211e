// Zones and lines drawn over a picture, by mouse, touch and keys, and the list beside it where they are named and set.

import { save } from "/page/controls.js";
import { COLOURS, counted, directions, fromRules, middles, nearest, paintPlaces, placeAt, placer, toRules } from "/page/places.js";

const STEP = 0.02; // parts of the picture per arrow key; a quarter with shift
const HINTS = {
  zone: "Tap corner after corner; the first one again, or Done, closes the zone. Keys: arrows, Enter, Backspace, Escape.",
  line: "Tap where the line begins and where it ends. Keys: arrows, Enter, Escape.",
};
const clamp = (value) => Math.min(1, Math.max(0, value));

export class Zones {
  // canvas: what is drawn on; panel: an empty element for the list; repaint(): paints the canvas, which calls paint();
  // onchange(rules): takes what was drawn, and returns (a promise of) what is wrong with it.
  constructor({ canvas, panel, repaint, onchange, classes = [] }) {
    Object.assign(this, { canvas, repaint, onchange, panel });
    this.places = [];
    this.others = {};
    this.counts = {};
    this.chosen = -1;
    this.draft = this.cursor = this.drag = null;
    this.active = this.mirrored = false;
    this.list = new PlaceList(this, panel, classes);
    canvas.addEventListener("pointerdown", (event) => this.active && this.down(event));
    canvas.addEventListener("pointermove", (event) => this.active && this.move(event));
    canvas.addEventListener("pointerup", (event) => this.active && this.up(event));
    canvas.addEventListener("pointercancel", () => this.active && this.drop());
    canvas.addEventListener("dblclick", () => this.active && this.draft && this.finish());
    canvas.addEventListener("keydown", (event) => this.active && this.key(event));
  }

  get rules() {
    return toRules(this.places, this.others);
  }

  // What the server has; what is being drawn stays.
  setRules(rules) {
    if (JSON.stringify(rules) === JSON.stringify(this.rules)) return;
    const name = this.places[this.chosen]?.name;
    const { zones, lines, ...others } = rules;
    this.others = others;
    this.places = fromRules({ zones, lines });
    this.chosen = this.places.findIndex((place) => place.name === name);
    this.drag = null;
    this.list.build();
    this.repaint();
  }

  setCounts(counts) {
    this.counts = counts;
    this.list.tell();
    this.repaint();
  }

  activate(active) {
    this.active = active;
    this.canvas.classList.toggle("drawing", active);
    if (!active) this.cancel();
    this.list.build();
    this.repaint();
  }

  begin(kind) {
    this.chosen = -1;
    this.draft = { kind, points: [] };
    this.cursor = null;
    this.list.build();
    this.canvas.focus({ preventScroll: true });
    this.canvas.scrollIntoView({ block: "nearest" });
    this.repaint();
  }

  choose(k) {
    this.chosen = k;
    this.list.build();
    this.repaint();
  }

  cancel() {
    this.draft = this.cursor = null;
    this.chosen = -1;
  }

  undo() {
    this.draft?.points.pop();
    this.list.build();
    this.repaint();
  }

  add(point) {
    this.draft.points.push(point);
    if (this.draft.kind === "line" && this.draft.points.length === 2) return this.finish();
    this.list.build();
    this.repaint();
  }

  finish() {
    const { kind, points } = this.draft;
    if (points.length < (kind === "zone" ? 3 : 2)) return;
    let number = 1;
    while (this.places.some((place) => place.name === `${kind} ${number}`)) number += 1;
    const place = { kind, name: `${kind} ${number}`, points, rest: {} };
    // The server's order: zones first.
    const after = kind === "zone" ? this.places.filter((one) => one.kind === "zone").length : this.places.length;
    this.places.splice(after, 0, place);
    this.draft = this.cursor = null;
    this.chosen = after;
    this.commit();
  }

  remove(k) {
    this.places.splice(k, 1);
    this.chosen = -1;
    this.commit();
  }

  async commit() {
    this.list.build();
    this.repaint();
    const asked = (this.asked = Symbol());
    const problem = await this.onchange(this.rules);
    if (asked === this.asked) this.list.problem(problem || "");
  }

  paint(context, width, height, ratio) {
    const { places, counts, chosen, draft, cursor, mirrored } = this;
    paintPlaces(context, width, height, ratio, { places, counts, chosen: this.active ? chosen : -1, draft, cursor, mirrored });
  }

  // Below: pointers and keys.

  pixel(event) {
    const bounds = this.canvas.getBoundingClientRect();
    return [event.clientX - bounds.left, event.clientY - bounds.top];
  }

  get at() {
    return placer(this.canvas.clientWidth, this.canvas.clientHeight, this.mirrored);
  }

  part([x, y]) {
    const along = clamp(x / this.canvas.clientWidth);
    return [this.mirrored ? 1 - along : along, clamp(y / this.canvas.clientHeight)];
  }

  down(event) {
    if (event.button) return;
    const pixel = this.pixel(event);
    if (this.draft) {
      const { kind, points } = this.draft;
      if (kind === "zone" && points.length > 2 && nearest([points[0]].map(this.at), pixel) === 0) return this.finish();
      if (kind === "line") this.drag = { line: pixel };
      return this.add(this.part(pixel));
    }
    if (this.grab(pixel)) this.canvas.setPointerCapture(event.pointerId);
    else this.choose(placeAt(this.places, this.at, pixel));
  }

  // A corner of the chosen place, or a new one from the middle of a side.
  grab(pixel) {
    const place = this.places[this.chosen];
    if (!place) return false;
    const points = place.points.map(this.at);
    let corner = nearest(points, pixel);
    if (corner < 0 && place.kind === "zone") {
      const side = nearest(middles(points), pixel);
      if (side < 0) return false;
      corner = side + 1;
      place.points.splice(corner, 0, this.part(pixel));
    }
    if (corner < 0) return false;
    this.drag = { point: place.points[corner] };
    return true;
  }

  move(event) {
    const pixel = this.pixel(event);
    if (this.drag?.point) [this.drag.point[0], this.drag.point[1]] = this.part(pixel);
    else if (this.draft && (event.pointerType === "mouse" || this.drag)) this.cursor = this.part(pixel);
    else return;
    this.repaint();
  }

  up(event) {
    const drag = this.drag, pixel = this.pixel(event);
    this.drag = null;
    if (drag?.point) return this.commit();
    // A line may also be drawn in one pull.
    if (drag?.line && this.draft && Math.hypot(pixel[0] - drag.line[0], pixel[1] - drag.line[1]) > 24) this.add(this.part(pixel));
  }

  drop() {
    if (this.drag?.point) this.commit();
    this.drag = null;
  }

  key(event) {
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (arrow && (this.draft || this.places[this.chosen])) this.step(arrow, event.shiftKey ? STEP / 4 : STEP);
    else if (event.key === "Enter" && this.draft) this.enter();
    else if (event.key === "Backspace" && this.draft) this.undo();
    else if (event.key === "Delete" && this.places[this.chosen]) this.remove(this.chosen);
    else if (event.key === "Escape" && (this.draft || this.chosen >= 0)) {
      this.cancel();
      this.list.build();
      this.repaint();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  step([dx, dy], size) {
    if (this.mirrored) dx = -dx;
    if (this.draft) {
      const [x, y] = this.cursor || this.draft.points.at(-1) || [0.5, 0.5];
      this.cursor = [clamp(x + dx * size), clamp(y + dy * size)];
      return this.repaint();
    }
    const { points } = this.places[this.chosen];
    const inner = points.every(([x, y]) => x + dx * size >= 0 && x + dx * size <= 1 && y + dy * size >= 0 && y + dy * size <= 1);
    if (inner) for (const point of points) point[0] += dx * size, (point[1] += dy * size);
    this.commit();
  }

  enter() {
    const { kind, points } = this.draft, point = this.cursor || [0.5, 0.5];
    const closing = points.length > 2 && nearest([points[0]].map(this.at), this.at(point)) === 0;
    if (kind === "zone" && closing) return this.finish();
    if (points.length && nearest([points.at(-1)].map(this.at), this.at(point)) === 0 && kind === "line") return;
    this.add([...point]);
  }

  async download() {
    const answer = await fetch("/api/zones", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(this.rules) });
    if (answer.ok) save(await answer.blob(), "zones.yaml");
    else this.list.problem((await answer.json()).detail);
  }
}

const WHEN = { foot: "it stands inside", touch: "any part of it is inside", share: "a share of it is inside" };
const WHEN_LINE = { foot: "its foot crosses", centre: "its middle crosses" };

// The list of places with their counts, and the settings of the chosen one.
class PlaceList {
  constructor(zones, panel, classes) {
    this.zones = zones;
    this.rows = [];
    this.ul = make("ul", { className: "places" });
    this.hint = make("p", { className: "hint" });
    this.actions = make("div", { className: "actions" });
    this.alert = make("p", { className: "about problem", role: "alert", hidden: true });
    this.scope = make("p", { className: "hint" });
    this.names = make("datalist", { id: `classes-${Math.random().toString(36).slice(2)}` });
    for (const name of classes) this.names.append(new Option(name));
    panel.append(this.ul, this.hint, this.actions, this.alert, this.scope, this.names);
    this.build();
  }

  problem(text) {
    this.alert.hidden = !text;
    this.alert.textContent = text;
  }

  tell() {
    for (const [place, count] of this.rows) count.textContent = counted(place, this.zones.counts);
  }

  build() {
    const { zones } = this, focused = document.activeElement?.dataset?.field;
    this.rows = [];
    this.ul.replaceChildren(...zones.places.map((place, k) => this.row(place, k)));
    this.tell();
    this.hint.textContent = zones.draft ? HINTS[zones.draft.kind] : zones.places.length ? "" : "Draw where to count: a zone that objects are in, or a line that they cross.";
    this.hint.hidden = !this.hint.textContent;
    this.actions.replaceChildren(...(zones.draft ? this.drafting() : this.tools()));
    // Building anew must not take the keyboard away from whoever fills in the form.
    if (focused) this.ul.querySelector(`[data-field="${focused}"]`)?.focus();
  }

  drafting() {
    const { zones } = this, { kind, points } = zones.draft;
    const done = button("Done", () => zones.finish(), "main");
    done.disabled = points.length < (kind === "zone" ? 3 : 2);
    const undo = button("Undo", () => zones.undo());
    undo.disabled = !points.length;
    const cancel = button("Cancel", () => {
      zones.cancel();
      this.build();
      zones.repaint();
    }, "quiet");
    return kind === "zone" ? [done, undo, cancel] : [cancel];
  }

  tools() {
    const { zones } = this;
    const file = button("Download YAML", () => zones.download());
    file.title = "the file that --zones takes";
    file.disabled = !zones.places.length;
    return [button("Draw a zone", () => zones.begin("zone")), button("Draw a line", () => zones.begin("line")), file];
  }

  row(place, k) {
    const { zones } = this;
    const item = make("li", { className: k === zones.chosen ? "chosen" : "" });
    const head = button("", () => zones.choose(k === zones.chosen ? -1 : k));
    head.setAttribute("aria-expanded", String(k === zones.chosen));
    const mark = make("i", {}), count = make("span", { className: "counted" });
    mark.style.background = COLOURS[k % COLOURS.length];
    head.append(mark, make("b", { textContent: place.name }), count);
    this.rows.push([place, count]);
    item.append(head);
    if (k === zones.chosen) item.append(place.kind === "zone" ? this.zoneForm(place, k) : this.lineForm(place, k));
    return item;
  }

  zoneForm(place, k) {
    const { rest } = place;
    const parts = [this.nameField(place), this.classesField(place), this.whenField(place, WHEN)];
    if (rest.when === "share") parts.push(this.number("Share of it, %", "share", Math.round((rest.share ?? 0.5) * 100), (value) => set(rest, "share", value && value / 100), { min: 1, max: 100 }));
    parts.push(this.number("Tell who stays longer than, s", "stay", rest.stay, (value) => set(rest, "stay", value), { min: 0, step: "any" }));
    parts.push(this.number("Tell when more are inside than", "more_than", rest.more_than, (value) => set(rest, "more_than", value), { min: 0 }));
    return this.form(place, k, parts);
  }

  lineForm(place, k) {
    const { rest } = place;
    const word = (index) => (value) => {
      const words = [...directions(place)];
      words[index] = value;
      rest.directions = words;
    };
    const parts = [this.nameField(place), this.classesField(place), this.whenField(place, WHEN_LINE)];
    parts.push(this.field("Along the arrow it is called", "forward", directions(place)[0], word(0)));
    parts.push(this.field("Against it", "backward", directions(place)[1], word(1)));
    const turn = button("Turn the arrow", () => {
      place.points.reverse();
      this.zones.commit();
    });
    return this.form(place, k, parts, [turn]);
  }

  form(place, k, parts, more = []) {
    const form = make("div", { className: "place-form" });
    parts.push(this.field("Corners, x y in %", "points", place.points.map((p) => p.map(percent).join(" ")).join(", "), (text) => this.setPoints(place, text)));
    const actions = make("div", { className: "actions" });
    actions.append(...more, button("Delete", () => this.zones.remove(k), "quiet"));
    form.append(...parts, actions);
    return form;
  }

  setPoints(place, text) {
    const points = text.split(",").map((pair) => pair.trim().split(/\s+/).map((value) => Number(value) / 100));
    const fits = place.kind === "zone" ? points.length > 2 : points.length === 2;
    if (!fits || points.some((p) => p.length !== 2 || !p.every(Number.isFinite))) throw new Error("Corners: expected pairs of numbers, such as 10 40, 50 40, 50 100");
    place.points = points;
  }

  nameField(place) {
    return this.field("Name", "name", place.name, (value) => {
      if (!value || this.zones.places.some((other) => other !== place && other.name === value)) throw new Error(value ? `There is a ${value} already.` : "A name is missing.");
      place.name = value;
    });
  }

  classesField(place) {
    const label = this.field("Only these classes", "classes", (place.rest.classes || []).join(", "), (value) => set(place.rest, "classes", value ? value.split(",").map((name) => name.trim()).filter(Boolean) : undefined));
    const input = label.querySelector("input");
    input.placeholder = "all";
    input.setAttribute("list", this.names.id);
    return label;
  }

  whenField(place, choices) {
    const select = make("select", {});
    for (const [value, text] of Object.entries(choices)) select.append(new Option(text, value, false, value === (place.rest.when || "foot")));
    return this.labelled("It counts when", "when", select, (value) => {
      set(place.rest, "when", value === "foot" ? undefined : value);
      if (value !== "share") delete place.rest.share;
    });
  }

  number(text, field, value, take, limits) {
    const input = make("input", { type: "number", value: value ?? "", placeholder: "never", ...limits });
    return this.labelled(text, field, input, (given) => take(given === "" ? undefined : Number(given)));
  }

  field(text, name, value, take) {
    return this.labelled(text, name, make("input", { type: "text", value, maxLength: name === "points" ? 5000 : 200, autocomplete: "off" }), (given) => take(given.trim()));
  }

  labelled(text, field, input, take) {
    const label = make("label", {});
    input.dataset.field = field;
    input.onchange = () => {
      try {
        take(input.value);
      } catch (error) {
        return this.problem(error.message);
      }
      this.zones.commit();
    };
    label.append(make("span", { textContent: text }), input);
    return label;
  }
}

const percent = (value) => String(Math.round(value * 1e4) / 100);

function set(rest, key, value) {
  if (value === undefined) delete rest[key];
  else rest[key] = value;
}

function make(kind, about) {
  return Object.assign(document.createElement(kind), about);
}

function button(text, onclick, className = "") {
  return make("button", { type: "button", textContent: text, onclick, className });
}
