// Everything that a key does; buttons do the same by their data-do.

// [keys, name, what the list of keys says, whether it changes the run]
export const COMMANDS = [
  [[" "], "play", "play, pause"],
  [["ArrowLeft", "ArrowRight"], "step", "a frame back, on; with shift a second (Page Up and Page Down, too, while a tool has the arrows)"],
  [["Home", "End"], "ends", "first, last frame"],
  [[",", "."], "speed", "slower, faster"],
  [["ArrowUp", "ArrowDown"], "lane", "lane above, below; with shift one more"],
  [["1…9"], "pick", "choose the object with this number; with shift one more"],
  [["-", "+"], "zoom", "timeline: more time, less time"],
  [["0"], "whole", "the whole film, the whole picture"],
  [["G"], "ghosts", "outlines of the frames before and after"],
  [["T"], "tags", "names on, off"],
  [["N"], "next", "next doubt; with shift the one before"],
  [["K"], "narrow", "doubts about everything, identities, or classes and masks"],
  [["V"], "turn", "end of the doubt, and back to its beginning"],
  [["A"], "accept", "the doubt is wrong: all is well", true],
  [["M"], "mend", "mend it as proposed", true],
  [["J"], "join", "join the two that are chosen (or this one and the next that you choose)", true],
  [["C"], "cut", "cut here: from this frame on it is another one", true],
  [["X"], "swap", "swap the two that are chosen, from here on", true],
  [["L"], "relabel", "another class", true],
  [["Delete"], "delete", "delete it in the marked range, else the piece at this frame; with shift all of it", true],
  [["I"], "range", "mark a range: begin, end, none", true],
  [["B"], "brush", "brush", true],
  [["E"], "eraser", "eraser", true],
  [["[", "]"], "size", "smaller, larger brush", true],
  [["P"], "polygon", "polygon", true],
  [["R"], "refine", "click to refine", true],
  [["O"], "create", "new object", true],
  [["F"], "forward", "carry this mask forward", true],
  [["D"], "backward", "carry this mask backward", true],
  [["Z"], "undo", "undo", true],
  [["Y"], "redo", "do again (also shift Z)", true],
  [["Escape"], "escape", "end the tool, choose nothing"],
  [["?"], "help", "this list"],
];
const SHOWN = { " ": "space", ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Delete: "Del" };
const CHANGES = new Set(COMMANDS.filter((command) => command[3]).map((command) => command[1]));
const FIELDS = "select, textarea, input:not([type=range], [type=checkbox])";

// From a key to [name, argument].
export function commandOf(event) {
  const { key, shiftKey } = event;
  const digit = /^(?:Digit|Numpad)([1-9])$/.exec(event.code || "");
  if (digit) return ["pick", [Number(digit[1]), shiftKey]];
  const way = { ArrowLeft: ["step", -1], ArrowRight: ["step", 1], PageUp: ["step", -1], PageDown: ["step", 1], ArrowUp: ["lane", -1], ArrowDown: ["lane", 1], Home: ["ends", 0], End: ["ends", 1], ",": ["speed", -1], ".": ["speed", 1], "-": ["zoom", 0.7], "+": ["zoom", 1.4], "=": ["zoom", 1.4], "[": ["size", 0.8], "]": ["size", 1.25] }[key];
  if (way) return [way[0], way[0] === "step" || way[0] === "lane" ? [way[1], shiftKey] : way[1]];
  if (key === "Backspace") return ["delete", shiftKey];
  const letter = key.length === 1 ? key.toUpperCase() : key;
  if (letter === "Z" && shiftKey) return ["redo"];
  const found = COMMANDS.find(([keys]) => keys.length === 1 && keys[0] === letter);
  return found ? [found[1], shiftKey] : null;
}

export class Commands {
  // studio has a method per command name, `tools`, `run`; listKeys goes into `list`.
  constructor(studio, list) {
    this.studio = studio;
    addEventListener("keydown", (event) => this.key(event));
    document.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-do]");
      if (button) this.do(button.dataset.do, button.dataset.with ? JSON.parse(button.dataset.with) : undefined);
    });
    for (const [keys, , about] of COMMANDS) {
      const term = document.createElement("dt"), description = document.createElement("dd");
      for (const key of keys) term.append(Object.assign(document.createElement("kbd"), { textContent: SHOWN[key] ?? key }), " ");
      description.textContent = about;
      list.append(term, description);
    }
  }

  key(event) {
    const { studio } = this;
    if (!studio.run || document.querySelector("dialog[open]") || event.target.matches(FIELDS)) return;
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") {
      event.preventDefault();
      return this.do(event.shiftKey ? "redo" : "undo");
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    // A button that has the focus is pressed by space and Enter; a slider moves by arrows.
    if ([" ", "Enter"].includes(event.key) && event.target.closest("button, a, summary, label") && !event.target.closest("[role=option]")) return;
    if (event.target.matches("input[type=range], [role=tab]") && event.key.startsWith("Arrow")) return;
    if (studio.tools.name && studio.tools.key(event)) return event.preventDefault();
    const command = commandOf(event);
    if (!command) return;
    event.preventDefault();
    this.do(...command);
  }

  do(name, argument) {
    if (CHANGES.has(name) && !this.studio.run.editable) return this.studio.say("This run is shown for reading only.", "problem");
    this.studio[name](argument);
  }
}
