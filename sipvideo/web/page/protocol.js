// Binary messages: uint32 little endian (length of the header), header (JSON), the rest. See docs/api.md.

export function unpack(buffer) {
  const size = new DataView(buffer).getUint32(0, true);
  const text = new TextDecoder().decode(new Uint8Array(buffer, 4, size));
  return { header: JSON.parse(text), rest: new Uint8Array(buffer, 4 + size) };
}

export function pack(header, bytes) {
  const text = new TextEncoder().encode(JSON.stringify(header));
  const message = new Uint8Array(4 + text.length + bytes.byteLength);
  new DataView(message.buffer).setUint32(0, text.length, true);
  message.set(text, 4);
  message.set(new Uint8Array(bytes), 4 + text.length);
  return message;
}

// Run lengths (LEB128: outside, inside, outside, ...) to one byte per pixel of a window.
export function decodeMask(bytes, width, height) {
  const mask = new Uint8Array(width * height);
  let place = 0, value = 0, shift = 0, inside = false;
  for (const byte of bytes) {
    value += (byte & 127) * 2 ** shift;
    shift += 7;
    if (byte > 127) continue;
    if (inside) mask.fill(1, place, place + value);
    place += value;
    value = shift = 0;
    inside = !inside;
  }
  return mask;
}

// The objects of a message with their masks, and what comes after the masks (the picture, if there is one).
export function decodeObjects(header, rest) {
  let place = 0;
  const objects = header.objects.map((object) => {
    const [x0, y0, x1, y1] = object.window;
    const mask = decodeMask(rest.subarray(place, place + object.bytes), x1 - x0, y1 - y0);
    place += object.bytes;
    return { ...object, carried: header.carried, mask, path: outline(mask, x1 - x0, y1 - y0, x0, y0) };
  });
  return { objects, picture: rest.subarray(place) };
}

// Follows the border of a mask, holes too, with the inside on the right; gives a smooth closed path in frame pixels.
export function outline(mask, width, height, left, top) {
  const path = new Path2D();
  const at = (x, y) => x >= 0 && y >= 0 && x < width && y < height && mask[y * width + x];
  const begun = new Uint8Array(width * height); // top borders that a path has taken
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!mask[y * width + x] || begun[y * width + x] || at(x, y - 1)) continue;
      addCurve(path, follow(at, begun, width, x, y), left, top);
    }
  }
  return path;
}

const DX = [1, 0, -1, 0], DY = [0, 1, 0, -1]; // east, south, west, north
const LEFT = [[0, -1], [0, 0], [-1, 0], [-1, -1]], RIGHT = [[0, 0], [-1, 0], [-1, -1], [0, -1]];

function follow(at, begun, width, x, y) {
  const points = [], startX = x, startY = y;
  let direction = 0;
  do {
    if (direction === 0) begun[y * width + x] = 1;
    points.push([x + DX[direction] / 2, y + DY[direction] / 2]);
    x += DX[direction];
    y += DY[direction];
    if (at(x + LEFT[direction][0], y + LEFT[direction][1])) direction = (direction + 3) % 4;
    else if (!at(x + RIGHT[direction][0], y + RIGHT[direction][1])) direction = (direction + 1) % 4;
  } while (x !== startX || y !== startY || direction !== 0);
  return points;
}

function addCurve(path, points, left, top) {
  const n = points.length;
  if (n < 12) return; // specks
  // The stairs of the pixel grid, averaged away.
  const smooth = points.map((point, k) => [0, 1].map((axis) => {
    const near = (d) => points[(k + d + n) % n][axis];
    return (near(-2) + 2 * near(-1) + 3 * point[axis] + 2 * near(1) + near(2)) / 9 + (axis ? top : left);
  })).filter((_, k) => k % 2 === 0);
  const m = smooth.length;
  const middle = (a, b) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
  path.moveTo(...middle(smooth[m - 1], smooth[0]));
  for (let k = 0; k < m; k++) {
    path.quadraticCurveTo(...smooth[k], ...middle(smooth[k], smooth[(k + 1) % m]));
  }
  path.closePath();
}
