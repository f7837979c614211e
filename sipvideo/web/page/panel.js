// The list of objects, the figures and the chart beside the picture.

const RECENT = 3000; // milliseconds over which frames per second are counted
const SPAN = 60_000; // milliseconds that the chart shows

export class ObjectList {
  constructor(stage) {
    this.stage = stage;
    this.list = document.getElementById("objects");
    this.count = document.getElementById("objects-count");
    this.empty = document.getElementById("objects-empty");
    this.rows = new Map();
    stage.onhighlight = (id) => {
      for (const [key, row] of this.rows) row.item.classList.toggle("chosen", key === id);
    };
  }

  show(objects) {
    for (const [id, row] of this.rows) {
      if (objects.some((object) => object.id === id)) continue;
      row.item.remove();
      this.rows.delete(id);
      if (this.stage.highlighted === id) this.stage.highlight(null);
    }
    for (const object of objects) this.row(object);
    this.count.textContent = objects.length;
    this.empty.hidden = objects.length > 0;
  }

  row(object) {
    let row = this.rows.get(object.id);
    if (!row) {
      row = this.addRow(object);
      this.rows.set(object.id, row);
    }
    set(row.name, object.class);
    set(row.score, `${Math.round(object.score * 100)} %`);
    set(row.seen, duration(object.seen));
  }

  addRow(object) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    const part = (name, text = "") => {
      const span = document.createElement("span");
      span.className = name;
      span.textContent = text;
      button.append(span);
      return span;
    };
    const id = part("id", object.id);
    id.style.background = object.colour;
    const row = { item, name: part("name"), score: part("score"), seen: part("seen") };
    row.score.title = "how sure the network is";
    row.seen.title = "time in sight";
    button.onpointerenter = (event) => event.pointerType === "mouse" && this.stage.highlight(object.id);
    button.onpointerleave = (event) => event.pointerType === "mouse" && this.stage.highlight(null);
    button.onfocus = () => button.matches(":focus-visible") && this.stage.highlight(object.id);
    button.onblur = () => this.stage.highlight(null);
    button.onclick = (event) => {
      if (event.pointerType !== "mouse") this.stage.highlight(this.stage.highlighted === object.id ? null : object.id);
    };
    item.append(button);
    const next = [...this.rows.keys()].filter((id) => id > object.id).sort((a, b) => a - b)[0];
    this.list.insertBefore(item, next === undefined ? null : this.rows.get(next).item);
    return row;
  }
}

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function duration(seconds) {
  if (seconds >= 60 && seconds % 60 === 0) return seconds % 3600 ? `${seconds / 60} min` : `${seconds / 3600} h`;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")} min`;
}

export class Speed {
  constructor() {
    this.fps = document.getElementById("fps");
    this.age = document.getElementById("age");
    this.canvas = document.getElementById("chart");
    this.clear();
    setInterval(() => this.tick(), 500);
    new ResizeObserver(() => this.paint()).observe(this.canvas);
  }

  clear() {
    this.frames = []; // [moment, age] of the last seconds
    this.samples = []; // [moment, frames per second, age]: one per half second
    this.idle = true;
  }

  frame(age) {
    this.idle = false;
    this.frames.push([performance.now(), age]);
  }

  tick() {
    const now = performance.now();
    this.frames = this.frames.filter((frame) => now - frame[0] < RECENT);
    const ages = this.frames.map((frame) => frame[1]).filter((age) => age !== null).sort((a, b) => a - b);
    const span = this.frames.length > 1 ? Math.max(now - this.frames[0][0], 500) / 1000 : 1;
    const fps = this.frames.length > 1 ? (this.frames.length - 1) / span : 0;
    const age = ages.length ? ages[ages.length >> 1] : null;
    set(this.fps, this.idle ? "–" : fps.toFixed(fps < 10 ? 1 : 0));
    set(this.age, age === null ? "–" : String(Math.round(age)));
    if (!this.idle) this.samples.push([now, fps, age]);
    this.samples = this.samples.filter((sample) => now - sample[0] < SPAN);
    this.paint();
  }

  paint() {
    const ratio = Math.min(devicePixelRatio || 1, 2), canvas = this.canvas;
    canvas.width = Math.round(canvas.clientWidth * ratio);
    canvas.height = Math.round(canvas.clientHeight * ratio);
    const context = canvas.getContext("2d"), style = getComputedStyle(canvas);
    context.scale(ratio, ratio);
    context.strokeStyle = style.getPropertyValue("--line");
    context.fillStyle = style.getPropertyValue("--muted");
    context.font = "11px system-ui, sans-serif";
    this.curve(context, 1, style.getPropertyValue("--fps"), 30, "left");
    this.curve(context, 2, style.getPropertyValue("--age"), 200, "right");
  }

  curve(context, column, colour, least, side) {
    const width = this.canvas.clientWidth, height = this.canvas.clientHeight;
    // One slow frame must not flatten the rest of the minute: it is cut off.
    const values = this.samples.map((sample) => sample[column] ?? 0).sort((a, b) => a - b);
    const top = niceTop(Math.max(least, values[Math.floor((values.length - 1) * 0.95)] ?? 0));
    const left = 24, right = width - 34, low = height - 6, high = 8;
    context.textAlign = side === "left" ? "right" : "left";
    context.textBaseline = "middle";
    const now = performance.now();
    for (const share of [0, 0.5, 1]) {
      const y = low - share * (low - high);
      context.globalAlpha = 1;
      context.fillText(short(top * share), side === "left" ? left - 6 : right + 6, y);
      if (side === "right") continue;
      context.lineWidth = 1;
      context.beginPath();
      context.moveTo(left, y);
      context.lineTo(right, y);
      context.stroke();
    }
    context.save();
    context.beginPath();
    context.rect(left, high - 2, right - left, low - high + 4);
    context.clip();
    context.strokeStyle = colour;
    context.lineWidth = 2;
    context.lineJoin = "round";
    context.beginPath();
    for (const sample of this.samples) {
      if (sample[column] === null) continue;
      context.lineTo(right - ((now - sample[0]) / SPAN) * (right - left), low - (sample[column] / top) * (low - high));
    }
    context.stroke();
    context.restore();
  }
}

const short = (value) => (value >= 10_000 ? `${value / 1000}k` : String(Math.round(value)));

function niceTop(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 3, 5, 10].map((factor) => factor * power).find((top) => top >= value);
}
