// What edits, times and identities are called.

export const clock = (seconds) => {
  const whole = Math.floor(seconds), parts = [Math.floor(whole / 60) % 60, whole % 60].map((value) => String(value).padStart(2, "0"));
  const hours = Math.floor(whole / 3600);
  return `${hours ? `${hours}:` : ""}${hours ? parts[0] : Number(parts[0])}:${parts[1]}`;
};

// With hundredths, so that neighbouring frames differ.
export const exactClock = (seconds) => {
  const hundredths = Math.floor(seconds * 100 + 0.05); // times are of single precision
  return `${clock(hundredths / 100)}.${String(hundredths % 100).padStart(2, "0")}`;
};

export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.…?!)]$/.test(text) ? "" : ".");

const number = (identity) => (typeof identity === "object" && identity !== null ? identity.id : identity);

// One line about one line of the log.
export function told(line, run) {
  const at = (frame) => exactClock(run.time(frame));
  const from = (first, last) => (first === undefined || first === null ? "" : first === last ? ` at ${at(first)}` : ` from ${at(first)} to ${at(last ?? run.count - 1)}`);
  const id = number(line.id);
  switch (line.op) {
    case "join": return `joined ${number(line.from)} into ${number(line.into)}`;
    case "cut": return `cut ${id} at ${at(line.frame)}, from there it is ${number(line.new)}`;
    case "swap": return `swapped ${number(line.a)} and ${number(line.b)} from ${at(line.frame)} on`;
    case "relabel": return `${id} is a ${typeof line.label === "number" ? run.labelName(line.label) : line.label}${from(line.first, line.last)}`;
    case "delete": return `deleted ${id}${from(line.first, line.last)}`;
    case "mask": return line.mask ? `mended the mask of ${id} at ${at(line.frame)}` : `removed ${id} at ${at(line.frame)}`;
    case "masks": return `carried the mask of ${id} through ${line.frames.length} frames`;
    case "create": return `new object ${id} at ${at(line.frame)}`;
    case "accept": {
      const [kind, ...rest] = String(line.doubt).split("-"), ids = rest.slice(0, -2).join(", ");
      return `all is well: ${kind.replaceAll("_", " ")} ${ids}${rest.length > 2 ? ` at ${at(Number(rest.at(-2)))}` : ""}`;
    }
    case "undo":
    case "redo": {
      const meant = run.lines.find((other) => other.n === line.of);
      return `${line.op === "undo" ? "undone" : "done again"}: ${meant ? told(meant, run) : `line ${line.of}`}`;
    }
    default: return line.op;
  }
}

// What a proposal would do.
export function proposed(remedy, run) {
  const at = (frame) => exactClock(run.time(frame)), id = number(remedy.id);
  switch (remedy.op) {
    case "join": return `join ${number(remedy.from)} into ${number(remedy.into)}`;
    case "cut": return `cut ${id} at ${at(remedy.frame)}`;
    case "swap": return `swap ${number(remedy.a)} and ${number(remedy.b)} from ${at(remedy.frame)} on`;
    case "relabel": return `make ${id} a ${typeof remedy.label === "number" ? run.labelName(remedy.label) : remedy.label}`;
    case "delete": return `delete ${id} from ${at(remedy.first)} to ${at(remedy.last)}`;
    case "propagate": return `carry the mask of ${id} ${remedy.direction < 0 ? "backward" : "forward"} from ${at(remedy.frame)}`;
    default: return remedy.op;
  }
}

// The colour of an identity and of a class: hues by the golden angle, so that neighbours differ.
export const identityColour = (id) => `oklch(${[0.72, 0.64, 0.82][id % 3]} 0.14 ${(25 + 137.50776 * id) % 360})`;
export const classColour = (label) => `oklch(0.74 0.13 ${(205 + 137.50776 * label) % 360})`;
