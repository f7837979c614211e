// A class, found by typing the beginning of its name.

const SHOWN = 12;

export class LabelPicker {
  constructor(dialog, input, list, title) {
    Object.assign(this, { dialog, input, list, title });
    input.oninput = () => this.build();
    input.onkeydown = (event) => this.key(event);
    dialog.querySelector("form").onsubmit = () => (this.taken = this.fitting[this.place]?.[1] ?? null);
    dialog.onclose = () => this.done?.(this.taken);
  }

  // A promise of the label (a number), null where the person thinks better of it. The proposal stands first.
  ask(title, classes, proposal) {
    this.title.textContent = title;
    this.classes = Object.entries(classes).map(([label, name]) => [String(name).replaceAll("_", " "), Number(label)]);
    this.proposal = proposal ?? this.before;
    this.input.value = "";
    this.taken = null;
    this.build();
    this.dialog.showModal();
    this.input.focus();
    return new Promise((done) => {
      this.done = (label) => {
        this.before = label ?? this.before;
        done(label);
      };
    });
  }

  build() {
    const typed = this.input.value.trim().toLowerCase(), rank = ([name, label]) => {
      if (!typed) return label === this.proposal ? 0 : 1;
      const lower = name.toLowerCase();
      return lower.startsWith(typed) ? 0 : lower.split(" ").some((word) => word.startsWith(typed)) ? 1 : lower.includes(typed) ? 2 : 9;
    };
    this.fitting = this.classes.filter((one) => rank(one) < 9).sort((a, b) => rank(a) - rank(b)).slice(0, SHOWN);
    this.place = 0;
    this.list.replaceChildren(...this.fitting.map(([name], k) => {
      const item = Object.assign(document.createElement("li"), { textContent: name, id: `label-${k}` });
      item.setAttribute("role", "option");
      item.onclick = () => {
        this.taken = this.fitting[k][1];
        this.dialog.close();
      };
      return item;
    }));
    this.mark();
  }

  mark() {
    [...this.list.children].forEach((item, k) => item.setAttribute("aria-selected", String(k === this.place)));
    this.input.setAttribute("aria-activedescendant", `label-${this.place}`);
    this.list.children[this.place]?.scrollIntoView({ block: "nearest" });
  }

  key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    this.place = Math.min(this.fitting.length - 1, Math.max(0, this.place + step));
    this.mark();
  }
}
