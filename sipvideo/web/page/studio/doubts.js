// What is most likely wrong, worst first: each with why, and what one key would do about it.

import { get } from "/page/studio/api.js";
import { exactClock, proposed } from "/page/studio/words.js";

const CALM = 1500; // milliseconds after the last edit before the list is asked for anew
const IDENTITIES = ["swap", "jump", "return", "change", "twin", "short"];
const SHOWN = 200; // rows; who has seen these gets the next

// What the list can be narrowed to.
export const ABOUT = {
  all: () => true,
  identities: ({ kind }) => IDENTITIES.includes(kind),
  "classes and masks": ({ kind }) => !IDENTITIES.includes(kind),
};

export class Doubts extends EventTarget {
  // studio: commit(edits), propagate(wish), say(text, kind), show(doubt)
  constructor(run, studio, { list, count, none, about }) {
    super();
    Object.assign(this, { run, studio, list, count, none, about });
    about.replaceChildren(...Object.keys(ABOUT).map((name) => new Option(name)));
    about.onchange = () => this.build();
    this.all = [];
    this.current = null; // the key of the one that is open
    this.settled = new Set(); // here, before the server's next list says so
    run.addEventListener("change", () => this.later());
  }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.read().catch(() => {}), CALM);
  }

  async read() {
    const { revision } = this.run, answer = await get(`${this.run.path}/doubts`);
    if (revision !== this.run.revision) return this.later(); // of another state than what is shown
    this.settled.clear();
    this.all = answer.doubts ?? answer;
    if (!this.doubt) this.current = null;
    this.build();
    this.dispatchEvent(new Event("change"));
  }

  get open() {
    return this.all.filter((doubt) => !this.settled.has(doubt.key) && ABOUT[this.about.value](doubt));
  }

  get doubt() {
    return this.open.find((doubt) => doubt.key === this.current) ?? null;
  }

  build() {
    const { open } = this;
    this.count.textContent = open.length;
    this.count.hidden = !open.length;
    this.none.hidden = open.length > 0;
    this.list.replaceChildren(...open.slice(0, SHOWN).map((doubt) => this.row(doubt)));
  }

  row(doubt) {
    const item = document.createElement("li"), button = document.createElement("button");
    const part = (name, text, kind = "") => button.append(Object.assign(document.createElement(name), { textContent: text, className: kind }));
    part("b", `${doubt.kind.replaceAll("_", " ")} · ${doubt.ids.join(", ")}`);
    part("span", exactClock(this.run.time(doubt.first)));
    part("p", doubt.why);
    part("p", doubt.remedy ? `M: ${proposed(doubt.remedy, this.run)}` : "No proposal: mend it by hand, or A if all is well.", "remedy");
    button.type = "button";
    button.dataset.key = doubt.key;
    if (doubt.key === this.current) button.setAttribute("aria-current", "true");
    button.onclick = () => this.choose(doubt.key);
    item.append(button);
    return item;
  }

  choose(key) {
    this.current = key;
    for (const button of this.list.querySelectorAll("button")) {
      const chosen = button.dataset.key === key;
      chosen ? button.setAttribute("aria-current", "true") : button.removeAttribute("aria-current");
      if (chosen) button.scrollIntoView({ block: "nearest" });
    }
    if (this.doubt) this.studio.show(this.doubt);
  }

  narrow() {
    this.about.selectedIndex = (this.about.selectedIndex + 1) % this.about.length;
    this.build();
    this.studio.say(`Doubts about ${this.about.value}: ${this.open.length}`);
  }

  // The next one in the list, or the one before; from the top where none is open.
  next(step = 1) {
    const { open } = this, place = open.findIndex((doubt) => doubt.key === this.current);
    const next = open[place < 0 ? 0 : Math.min(open.length - 1, Math.max(0, place + step))];
    if (!next) return this.studio.say("No doubts are left.");
    this.choose(next.key);
  }

  // Answered: the row goes, the next one opens. What could not be written stays.
  async answer(work) {
    const { doubt, open } = this;
    if (!doubt) return this.next();
    const following = open[open.indexOf(doubt) + 1] ?? open[open.indexOf(doubt) - 1];
    const done = await work(doubt);
    if (!done) return;
    this.settled.add(doubt.key);
    this.current = null;
    this.build();
    if (following) this.choose(following.key);
    this.dispatchEvent(new Event("change"));
  }

  accept() {
    return this.answer((doubt) => this.studio.commit([{ op: "accept", doubt: doubt.key }]));
  }

  mend() {
    return this.answer((doubt) => {
      if (!doubt.remedy) return this.studio.say("This one has no proposal: mend it by hand, then A.", "problem");
      const { remedy } = doubt;
      return remedy.op === "propagate" ? this.studio.propagate(remedy) : this.studio.commit([remedy].flat());
    });
  }
}
