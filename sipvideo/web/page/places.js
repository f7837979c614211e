// Zones and lines as the page holds them: from and to the server's rules, painted, and found under a finger.
// Points are parts of the picture, as everywhere: x and y in 0..1.

export const COLOURS = ["#ffd166", "#4cc9f0", "#ff8fab", "#b8e986", "#c8a2ff", "#ff9f68"];
const FONT = '600 {}px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';
const HANDLE = 7; // radius of a corner, in pixels of the screen
const REACH = 20; // how near to a corner a finger has to be

// A place: { kind: "zone" or "line", name, points, rest }, where rest is what else the rules say of it.
export function fromRules(rules) {
  const zones = Object.entries(rules.zones || {}).map(([name, { polygon, ...rest }]) => ({ kind: "zone", name, points: polygon.map((p) => [...p]), rest }));
  const lines = Object.entries(rules.lines || {}).map(([name, { from, to, ...rest }]) => ({ kind: "line", name, points: [[...from], [...to]], rest }));
  return [...zones, ...lines];
}

export function toRules(places, others) {
  const rules = { ...others };
  delete rules.zones;
  delete rules.lines;
  for (const { kind, name, points, rest } of places) {
    const part = (rules[`${kind}s`] ||= {});
    const at = points.map((point) => point.map((value) => Math.round(value * 1e4) / 1e4));
    part[name] = kind === "zone" ? { polygon: at, ...rest } : { from: at[0], to: at[1], ...rest };
  }
  return rules;
}

export const directions = (place) => place.rest.directions || ["forward", "backward"];

const sum = (counts) => Object.values(counts || {}).reduce((a, b) => a + b, 0);

// What a place has counted, in words.
export function counted(place, counts) {
  if (place.kind === "zone") {
    const zone = counts?.zones?.[place.name];
    return `${sum(zone?.inside)} in, ${sum(zone?.visits)} came`;
  }
  const line = counts?.lines?.[place.name];
  return directions(place).map((word) => `${sum(line?.[word])} ${word}`).join(", ");
}

// From parts of the picture to pixels of a canvas, as in a mirror where the picture is one.
export function placer(width, height, mirrored) {
  return ([x, y]) => [(mirrored ? 1 - x : x) * width, y * height];
}

// Everything that is drawn: places, the chosen one with its corners, and what is being drawn just now.
export function paintPlaces(context, width, height, ratio, { places, counts, chosen, draft, cursor, mirrored }) {
  const at = placer(width, height, mirrored);
  context.save();
  context.lineJoin = context.lineCap = "round";
  places.forEach((place, k) => paintPlace(context, place, at, ratio, COLOURS[k % COLOURS.length], k === chosen));
  places.forEach((place, k) => paintTag(context, place, at, width, height, ratio, COLOURS[k % COLOURS.length], counts));
  if (draft) paintDraft(context, draft, cursor, at, ratio, COLOURS[places.length % COLOURS.length]);
  context.restore();
}

function paintPlace(context, place, at, ratio, colour, chosen) {
  const points = place.points.map(at);
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = (chosen ? 3 : 2) * ratio;
  trace(context, points, place.kind === "zone");
  if (place.kind === "zone") {
    context.globalAlpha = chosen ? 0.24 : 0.14;
    context.fill();
    context.globalAlpha = 1;
  }
  context.stroke();
  if (place.kind === "line") paintArrow(context, place.points, at, ratio);
  if (!chosen) return;
  for (const [x, y] of points) dot(context, x, y, HANDLE * ratio, "#0b0f14");
  if (place.kind === "zone") for (const [x, y] of middles(points)) dot(context, x, y, 3.5 * ratio, colour);
}

function trace(context, points, closed) {
  context.beginPath();
  points.forEach(([x, y]) => context.lineTo(x, y));
  if (closed) context.closePath();
}

function dot(context, x, y, radius, fill) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.save();
  context.fillStyle = fill;
  context.fill();
  context.restore();
  context.stroke();
}

// From the middle of the line to where its first direction leads: to its right, as seen along it.
function paintArrow(context, points, at, ratio) {
  const [[x0, y0], [x1, y1]] = points.map(at);
  const mirror = Math.sign((at([1, 0])[0] - at([0, 0])[0])) || 1; // in a mirror the right hand is the left one
  const length = Math.hypot(x1 - x0, y1 - y0) || 1;
  const [u, v] = [(-(y1 - y0) / length) * mirror, ((x1 - x0) / length) * mirror];
  const [mx, my] = [(x0 + x1) / 2, (y0 + y1) / 2], long = 26 * ratio, head = 8 * ratio;
  const [tx, ty] = [mx + u * long, my + v * long];
  context.beginPath();
  context.moveTo(mx, my);
  context.lineTo(tx, ty);
  for (const s of [-1, 1]) {
    context.moveTo(tx, ty);
    context.lineTo(tx - u * head + s * v * head * 0.7, ty - v * head - s * u * head * 0.7);
  }
  context.stroke();
}

function paintTag(context, place, at, width, height, ratio, colour, counts) {
  const size = Math.round(12 * ratio), pad = 6 * ratio, tall = Math.round(20 * ratio);
  context.font = FONT.replace("{}", size);
  context.textBaseline = "middle";
  const text = `${place.name}: ${counted(place, counts)}`;
  const wide = context.measureText(text).width + 2 * pad;
  const points = place.points.map(at);
  const top = points.reduce((a, b) => (b[1] < a[1] ? b : a));
  const x = Math.min(Math.max(top[0] - wide / 2, pad), Math.max(width - wide - pad, pad));
  const y = Math.min(Math.max(top[1] - tall - 4 * ratio, pad), height - tall - pad);
  context.fillStyle = "rgb(11 15 20 / 82%)";
  context.beginPath();
  context.roundRect(x, y, wide, tall, 5 * ratio);
  context.fill();
  context.fillStyle = colour;
  context.fillText(text, x + pad, y + tall / 2 + 0.5 * ratio);
}

function paintDraft(context, draft, cursor, at, ratio, colour) {
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = 2 * ratio;
  const points = [...draft.points, ...(cursor ? [cursor] : [])].map(at);
  context.setLineDash([6 * ratio, 5 * ratio]);
  trace(context, points, draft.kind === "zone" && points.length > 2);
  context.stroke();
  context.setLineDash([]);
  draft.points.map(at).forEach(([x, y], k) => dot(context, x, y, (k ? 4 : HANDLE) * ratio, k ? colour : "#0b0f14"));
  if (!cursor) return;
  const [x, y] = at(cursor), arm = 12 * ratio;
  context.beginPath();
  context.moveTo(x - arm, y);
  context.lineTo(x + arm, y);
  context.moveTo(x, y - arm);
  context.lineTo(x, y + arm);
  context.stroke();
}

export function middles(points) {
  return points.map(([x, y], k) => {
    const [u, v] = points[(k + 1) % points.length];
    return [(x + u) / 2, (y + v) / 2];
  });
}

const distance = ([x, y], [u, v]) => Math.hypot(x - u, y - v);

// The corner under a point of the screen; places and point in pixels of the screen.
export function nearest(points, point) {
  const distances = points.map((one) => distance(one, point));
  const best = distances.indexOf(Math.min(...distances));
  return best >= 0 && distances[best] <= REACH ? best : -1;
}

// The place under a point, the last drawn where several lie; all in pixels of the screen.
export function placeAt(places, at, point) {
  for (let k = places.length - 1; k >= 0; k--) {
    const points = places[k].points.map(at);
    if (places[k].kind === "zone" ? inside(points, point) : besides(points, point) <= REACH / 1.5) return k;
  }
  return -1;
}

function inside(points, [x, y]) {
  let found = false;
  points.forEach(([x0, y0], k) => {
    const [x1, y1] = points[(k + 1) % points.length];
    if (y0 > y !== y1 > y && x < x0 + ((y - y0) / (y1 - y0)) * (x1 - x0)) found = !found;
  });
  return found;
}

function besides([a, b], point) {
  const along = [b[0] - a[0], b[1] - a[1]], length = along[0] ** 2 + along[1] ** 2 || 1;
  const share = ((point[0] - a[0]) * along[0] + (point[1] - a[1]) * along[1]) / length;
  const near = Math.min(1, Math.max(0, share));
  return distance([a[0] + near * along[0], a[1] + near * along[1]], point);
}
