// Which identities have a lane, in which order, and what a lane looks like.

import { classColour, identityColour } from "/page/studio/words.js";

export const LANE = 24; // pixels of height
const ORDERS = {
  first: (a, b) => a.spans[0]?.[0] - b.spans[0]?.[0] || a.id - b.id,
  length: (a, b) => b.frames - a.frames,
  shortest: (a, b) => a.frames - b.frames,
  score: (a, b) => a.score - b.score,
  id: (a, b) => a.id - b.id,
};

export const lengthOf = (track, run) => (track.spans.length ? run.time(track.spans.at(-1)[1]) - run.time(track.spans[0][0]) : 0);

// The lanes that a filter leaves: { label, seconds, score, order }, chosen ones always among them.
export function lanes(run, filter, selection) {
  const fits = (track) =>
    (filter.label === "" || String(track.label) === filter.label)
    && lengthOf(track, run) >= filter.seconds && track.score >= filter.score && track.score <= filter.most;
  return [...run.tracks.values()].filter((track) => selection.has(track.id) || fits(track)).sort(ORDERS[filter.order]);
}

const decoded = new WeakMap(); // of a track: its scores per bin

function thickness(track) {
  if (!decoded.has(track)) decoded.set(track, Uint8Array.from(atob(track.thickness || ""), (letter) => letter.charCodeAt(0)));
  return decoded.get(track);
}

// One lane: pieces where the identity is in sight, as high as its score; x(frame) says where a frame begins.
export function paintLane(context, track, top, view, x, width) {
  const scores = thickness(track), [begin, step] = track.bins;
  const middle = top + LANE / 2, most = LANE - 8;
  context.fillStyle = classColour(track.label);
  context.beginPath();
  for (const [first, last] of track.spans) {
    if (last + 1 < view.first || first > view.last) continue;
    const left = Math.max(0, x(first)), right = Math.min(width, Math.max(x(last + 1), x(first) + 1));
    // As many pieces as bins, but never more than pixels.
    const pace = Math.max((x(begin + step) - x(begin)), 1);
    for (let from = left; from < right;) {
      const frame = Math.max(first, view.first + (from / width) * (view.last - view.first));
      const bin = Math.min(scores.length - 1, Math.max(0, Math.floor((frame - begin) / step + 1e-6)));
      const end = Math.min(right, Math.max(from + 1, pace > 1 ? x(begin + (bin + 1) * step) : from + 1));
      const high = scores.length ? Math.max(2, (scores[bin] / 255) * most) : most;
      context.rect(from, middle - high / 2, end - from, high);
      from = end;
    }
  }
  context.fill();
  // A thin line through gaps says that it is the same one.
  if (track.spans.length > 1) context.fillRect(x(track.spans[0][0]), middle - 0.5, x(track.spans.at(-1)[1] + 1) - x(track.spans[0][0]), 1);
}

// The headings of the lanes in sight: real buttons, so that keys and screen readers reach them.
export class Headings {
  constructor(list, onpress) {
    this.list = list;
    this.rows = [];
    this.onpress = onpress;
  }

  show(tracks, first, total, run, selection) {
    while (this.rows.length < tracks.length) {
      const row = document.createElement("button");
      row.type = "button";
      row.setAttribute("role", "option");
      row.tabIndex = -1;
      row.innerHTML = '<i></i><b></b><span></span>';
      row.onclick = (event) => this.onpress(Number(row.dataset.id), event);
      this.list.append(row);
      this.rows.push(row);
    }
    this.rows.forEach((row, k) => {
      const track = tracks[k];
      row.hidden = !track;
      if (!track) return;
      row.style.top = `${(first + k) * LANE}px`;
      row.dataset.id = track.id;
      row.firstChild.style.background = identityColour(track.id);
      row.children[1].textContent = track.id;
      row.children[2].textContent = run.labelName(track.label);
      row.setAttribute("aria-selected", String(selection.has(track.id)));
      row.setAttribute("aria-posinset", first + k + 1);
      row.setAttribute("aria-setsize", total);
      row.setAttribute("aria-label", `${run.labelName(track.label)} ${track.id}, ${track.frames} frames, score ${track.score.toFixed(2)}`);
    });
  }
}
