// A mask inside of its window, and COCO's run lengths (column by column, of the whole frame) as files have them.

import { outline } from "/page/protocol.js";

export class Mask {
  // window: [x0, y0, x1, y1] in frame pixels, x1 and y1 exclusive; bits: one byte per pixel of it, row by row.
  constructor(window, bits) {
    this.window = window;
    this.bits = bits;
  }

  static empty() {
    return new Mask([0, 0, 0, 0], new Uint8Array(0));
  }

  static fromRle({ size: [height], counts }) {
    const runs = typeof counts === "string" ? decodeCounts(counts) : counts;
    const columns = [[], []]; // x, [first, last) of every vertical piece
    let window = null, place = 0;
    for (let k = 0; k < runs.length; place += runs[k], k++) {
      if (k % 2 === 0 || !runs[k]) continue;
      for (let start = place, end = place + runs[k]; start < end;) {
        const x = Math.floor(start / height), y0 = start - x * height, y1 = Math.min(height, y0 + end - start);
        columns[0].push(x);
        columns[1].push([y0, y1]);
        window = window ? [Math.min(window[0], x), Math.min(window[1], y0), Math.max(window[2], x + 1), Math.max(window[3], y1)] : [x, y0, x + 1, y1];
        start += y1 - y0;
      }
    }
    if (!window) return Mask.empty();
    const width = window[2] - window[0], bits = new Uint8Array(width * (window[3] - window[1]));
    columns[0].forEach((x, k) => {
      for (let y = columns[1][k][0]; y < columns[1][k][1]; y++) bits[(y - window[1]) * width + x - window[0]] = 1;
    });
    return new Mask(window, bits);
  }

  toRle([height, width]) {
    const [x0, y0, x1, y1] = this.window, runs = [0];
    let end = 0; // of the last run inside
    for (let x = x0; x < x1; x++) {
      for (let y = y0; y < y1; y++) {
        if (!this.bits[(y - y0) * (x1 - x0) + x - x0]) continue;
        const place = x * height + y;
        if (place === end && runs.length > 1) runs[runs.length - 1]++;
        else if (place === 0) runs.push(1);
        else if (runs.length === 1) (runs[0] = place), runs.push(1);
        else runs.push(place - end, 1);
        end = place + 1;
      }
    }
    if (end < height * width) runs.length === 1 ? (runs[0] = height * width) : runs.push(height * width - end);
    return { size: [height, width], counts: encodeCounts(runs) };
  }

  get area() {
    let area = 0;
    for (const bit of this.bits) area += bit;
    return area;
  }

  get path() {
    const [x0, y0, x1, y1] = this.window;
    this.drawn ??= outline(this.bits, x1 - x0, y1 - y0, x0, y0);
    return this.drawn;
  }

  has(x, y) {
    const [x0, y0, x1, y1] = this.window;
    return x >= x0 && y >= y0 && x < x1 && y < y1 && this.bits[Math.floor(y - y0) * (x1 - x0) + Math.floor(x - x0)] === 1;
  }

  // The same mask in a window that holds another one, too; to be changed.
  spread([a0, b0, a1, b1]) {
    const [x0, y0, x1, y1] = this.window, none = x1 <= x0;
    const window = none ? [a0, b0, a1, b1] : [Math.min(x0, a0), Math.min(y0, b0), Math.max(x1, a1), Math.max(y1, b1)];
    const width = window[2] - window[0], bits = new Uint8Array(width * (window[3] - window[1]));
    for (let y = y0; y < y1; y++) bits.set(this.bits.subarray((y - y0) * (x1 - x0), (y - y0 + 1) * (x1 - x0)), (y - window[1]) * width + x0 - window[0]);
    return new Mask(window, bits);
  }

  // A round brush drawn from one point to another; inside: adds, otherwise takes away.
  stroke([ax, ay], [bx, by], radius, inside, [height, width]) {
    const reach = [
      Math.max(0, Math.floor(Math.min(ax, bx) - radius)), Math.max(0, Math.floor(Math.min(ay, by) - radius)),
      Math.min(width, Math.ceil(Math.max(ax, bx) + radius)), Math.min(height, Math.ceil(Math.max(ay, by) + radius)),
    ];
    if (reach[2] <= reach[0] || reach[3] <= reach[1]) return this;
    const mask = this.spread(inside ? reach : this.window), [x0, y0, x1, y1] = mask.window;
    const long = (bx - ax) ** 2 + (by - ay) ** 2;
    for (let y = Math.max(reach[1], y0); y < Math.min(reach[3], y1); y++) {
      for (let x = Math.max(reach[0], x0); x < Math.min(reach[2], x1); x++) {
        const px = x + 0.5 - ax, py = y + 0.5 - ay;
        const part = long ? Math.min(1, Math.max(0, (px * (bx - ax) + py * (by - ay)) / long)) : 0;
        if ((px - part * (bx - ax)) ** 2 + (py - part * (by - ay)) ** 2 <= radius ** 2) mask.bits[(y - y0) * (x1 - x0) + x - x0] = inside ? 1 : 0;
      }
    }
    return mask;
  }

  // What corners [x, y] enclose, by the even-odd rule at the middles of pixels.
  static polygon(corners, [height, width]) {
    const xs = corners.map((corner) => corner[0]), ys = corners.map((corner) => corner[1]);
    const window = [
      Math.max(0, Math.floor(Math.min(...xs))), Math.max(0, Math.floor(Math.min(...ys))),
      Math.min(width, Math.ceil(Math.max(...xs))), Math.min(height, Math.ceil(Math.max(...ys))),
    ];
    const wide = Math.max(0, window[2] - window[0]), bits = new Uint8Array(wide * Math.max(0, window[3] - window[1]));
    for (let y = window[1]; y < window[3]; y++) {
      const crossings = [];
      corners.forEach(([ax, ay], k) => {
        const [bx, by] = corners[(k + 1) % corners.length];
        if (ay <= y + 0.5 !== by <= y + 0.5) crossings.push(ax + ((y + 0.5 - ay) / (by - ay)) * (bx - ax));
      });
      crossings.sort((a, b) => a - b);
      for (let k = 0; k + 1 < crossings.length; k += 2) {
        const from = Math.max(window[0], Math.ceil(crossings[k] - 0.5)), to = Math.min(window[2], Math.ceil(crossings[k + 1] - 0.5));
        if (to > from) bits.fill(1, (y - window[1]) * wide + from - window[0], (y - window[1]) * wide + to - window[0]);
      }
    }
    return new Mask(window, bits);
  }

  get box() {
    const [x0, y0, x1, y1] = this.window, box = [Infinity, Infinity, -Infinity, -Infinity];
    this.bits.forEach((bit, k) => {
      if (!bit) return;
      const x = x0 + (k % (x1 - x0)), y = y0 + Math.floor(k / (x1 - x0));
      box[0] = Math.min(box[0], x);
      box[1] = Math.min(box[1], y);
      box[2] = Math.max(box[2], x + 1);
      box[3] = Math.max(box[3], y + 1);
    });
    return box[2] > box[0] ? box : null;
  }
}

// Numbers of five bits per character, low ones first; from the fourth on they are told as differences to the last but one.
function decodeCounts(text) {
  const runs = [];
  for (let place = 0; place < text.length;) {
    let value = 0, shift = 0, code;
    do {
      code = text.charCodeAt(place++) - 48;
      value |= (code & 31) << shift;
      shift += 5;
    } while (code & 32);
    if (code & 16 && shift < 32) value |= -1 << shift;
    runs.push(runs.length > 2 ? value + runs[runs.length - 2] : value);
  }
  return runs;
}

function encodeCounts(runs) {
  let text = "";
  runs.forEach((run, k) => {
    let value = k > 2 ? run - runs[k - 2] : run, more = true;
    while (more) {
      let code = value & 31;
      value >>= 5;
      more = code & 16 ? value !== -1 : value !== 0;
      if (more) code |= 32;
      text += String.fromCharCode(code + 48);
    }
  });
  return text;
}
