// The picture with its objects on top: on screen, in screenshots and in recordings.

const FONT = '600 {}px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';

export class Stage {
  constructor(box, settings, looks) {
    this.box = box;
    this.settings = settings;
    this.looks = looks; // what no button changes: tags, seconds of trails, outlines
    this.video = box.querySelector("video");
    this.picture = box.querySelector("#picture");
    this.overlay = box.querySelector("#overlay");
    this.objects = [];
    this.size = null; // height, width of the frame, in whose pixels objects are told
    this.mirrored = false;
    this.highlighted = null;
    this.trails = new Map();
    this.zones = null; // painted over everything
    new ResizeObserver(() => this.paint()).observe(this.overlay);
  }

  use(kind) {
    this.video.hidden = kind !== "video";
    this.picture.hidden = true; // until there is one
    this.size = null;
    this.clear();
  }

  clear() {
    this.objects = [];
    this.trails.clear();
    this.highlighted = null;
    this.paint();
  }

  // One result: objects in pixels of a frame of [height, width], and its picture where the server sent one.
  show(objects, size, bitmap) {
    this.setSize(size);
    if (bitmap) {
      this.picture.hidden = false;
      if (this.picture.width !== bitmap.width || this.picture.height !== bitmap.height) {
        this.picture.width = bitmap.width;
        this.picture.height = bitmap.height;
      }
      this.picture.getContext("2d").drawImage(bitmap, 0, 0);
    }
    this.objects = objects;
    this.follow();
    this.paint();
  }

  setSize(size) {
    if (this.size && this.size[0] === size[0] && this.size[1] === size[1]) return;
    this.size = size;
    this.box.style.setProperty("--ratio", size[1] / size[0]);
  }

  follow() {
    const now = performance.now() / 1000;
    for (const { id, box, colour } of this.objects) {
      const trail = this.trails.get(id) || { points: [], colour };
      trail.points.push([(box[0] + box[2]) / 2, box[3] - (box[3] - box[1]) * 0.08, now]);
      this.trails.set(id, trail);
    }
    for (const [id, trail] of this.trails) {
      trail.points = trail.points.filter((point) => now - point[2] < this.looks.seconds);
      if (!trail.points.length) this.trails.delete(id);
    }
  }

  paint() {
    const canvas = this.overlay;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    if (this.size && width) this.paintObjects(context, width / this.size[1], ratio);
    if (this.size && width) this.zones?.paint(context, width, height, ratio);
  }

  // Picture and objects on one canvas, in pixels of the picture.
  compose(canvas) {
    const { width, height } = this.picture;
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    const context = canvas.getContext("2d");
    context.save();
    if (this.mirrored) context.transform(-1, 0, 0, 1, width, 0);
    context.drawImage(this.picture, 0, 0);
    context.restore();
    if (this.size) this.paintObjects(context, width / this.size[1], Math.max(1, height / 540));
    if (this.size) this.zones?.paint(context, width, height, Math.max(1, height / 540));
    return canvas;
  }

  paintObjects(context, scale, ratio) {
    context.save();
    context.scale(scale, scale);
    if (this.mirrored) context.transform(-1, 0, 0, 1, this.size[1], 0);
    if (this.settings.trails) this.paintTrails(context, (2.5 * ratio) / scale);
    // Large ones below, so that small ones stay visible.
    const area = ({ window: [x0, y0, x1, y1] }) => (x1 - x0) * (y1 - y0);
    const order = [...this.objects].sort((a, b) => area(b) - area(a));
    for (const object of order) this.paintMask(context, object, ratio / scale);
    context.restore();
    if (this.settings.labels) this.paintLabels(context, scale, ratio, order);
  }

  paintMask(context, object, pixel) {
    const chosen = this.highlighted === object.id;
    const faint = this.highlighted !== null && !chosen ? 0.35 : 1;
    context.fillStyle = context.strokeStyle = object.colour;
    context.globalAlpha = Math.min(1, this.settings.opacity + (chosen ? 0.2 : 0)) * faint;
    context.fill(object.path, "evenodd");
    context.globalAlpha = faint;
    context.lineJoin = "round";
    context.lineWidth = (chosen ? 3.5 : 1.75) * pixel;
    if (object.carried) context.setLineDash([5 * pixel, 3 * pixel]); // moved along, not seen anew
    if (this.looks.outlines || chosen) context.stroke(object.path);
    context.setLineDash([]);
    if (this.settings.boxes || chosen) {
      const [x0, y0, x1, y1] = object.box;
      context.lineWidth = 1.5 * pixel;
      context.strokeRect(x0, y0, x1 - x0, y1 - y0);
    }
    context.globalAlpha = 1;
  }

  paintTrails(context, width) {
    const now = performance.now() / 1000;
    context.lineCap = "round";
    context.lineWidth = width;
    for (const { points, colour } of this.trails.values()) {
      context.strokeStyle = colour;
      for (let k = 1; k < points.length; k++) {
        context.globalAlpha = Math.max(0, 1 - (now - points[k][2]) / this.looks.seconds);
        context.beginPath();
        context.moveTo(points[k - 1][0], points[k - 1][1]);
        context.lineTo(points[k][0], points[k][1]);
        context.stroke();
      }
    }
    context.globalAlpha = 1;
  }

  paintLabels(context, scale, ratio, order) {
    ratio *= Math.min(1, Math.max(0.78, (this.size[1] * scale) / ratio / 700)); // small on small screens
    const height = Math.round(19 * ratio), pad = 6 * ratio, gap = 3 * ratio;
    context.font = FONT.replace("{}", Math.round(11.5 * ratio));
    context.textBaseline = "middle";
    const taken = [];
    const right = this.size[1] * scale, bottom = this.size[0] * scale;
    for (const object of [...order].sort((a, b) => b.score - a.score)) {
      if (this.highlighted !== null && this.highlighted !== object.id) continue;
      const said = { class: object.class, id: object.id, score: object.score.toFixed(2) };
      const text = ["class", "id", "score"].filter((part) => this.looks.tags.includes(part)).map((part) => said[part]).join(" ");
      const width = context.measureText(text).width + 2 * pad;
      const box = object.box.map((value) => value * scale);
      if (this.mirrored) [box[0], box[2]] = [right - box[2], right - box[0]];
      const x = Math.min(Math.max((box[0] + box[2] - width) / 2, gap), right - width - gap);
      const place = [box[1] - height - gap, box[1] + gap, box[3] - height - gap, (box[1] + box[3] - height) / 2]
        .map((y) => [x, Math.min(Math.max(y, gap), bottom - height - gap), width, height])
        .find((r) => !taken.some((t) => r[0] < t[0] + t[2] && t[0] < r[0] + r[2] && r[1] < t[1] + t[3] && t[1] < r[1] + r[3]));
      if (!place) continue; // the list beside the picture names it
      taken.push(place);
      context.fillStyle = object.colour;
      context.beginPath();
      context.roundRect(...place, 5 * ratio);
      context.fill();
      context.fillStyle = "#0b0f14";
      context.fillText(text, place[0] + pad, place[1] + height / 2 + 0.5 * ratio);
    }
  }

  // The object at a point of the screen, the smallest where several lie.
  at(clientX, clientY) {
    if (!this.size) return null;
    const bounds = this.overlay.getBoundingClientRect();
    let x = ((clientX - bounds.left) / bounds.width) * this.size[1];
    if (this.mirrored) x = this.size[1] - x;
    const y = ((clientY - bounds.top) / bounds.height) * this.size[0];
    const hit = ({ window: [x0, y0, x1, y1], mask }) =>
      x >= x0 && x < x1 && y >= y0 && y < y1 && mask[Math.floor(y - y0) * (x1 - x0) + Math.floor(x - x0)];
    const hits = this.objects.filter(hit).sort((a, b) => a.mask.length - b.mask.length);
    return hits.length ? hits[0].id : null;
  }

  highlight(id) {
    if (this.highlighted === id) return;
    this.highlighted = id;
    this.paint();
    this.onhighlight?.(id);
  }
}
