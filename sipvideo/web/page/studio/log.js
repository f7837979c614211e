// Who did what, and when: the newest first.

import { told } from "/page/studio/words.js";

const SHOWN = 300;

export class Log {
  constructor(run, { list, none, author }, onplace) {
    Object.assign(this, { run, list, none, onplace });
    for (const name of ["change", "log"]) run.addEventListener(name, () => this.build());
    author.value = run.author = localStorage.getItem("sipvideo.author") ?? run.info.author ?? "";
    author.onchange = () => {
      run.author = author.value.trim();
      localStorage.setItem("sipvideo.author", run.author);
    };
    run.readLog().catch(() => {});
  }

  build() {
    if (this.list.closest("section").hidden) return; // nobody looks
    const undone = new Set();
    for (const line of this.run.lines) {
      if (line.op === "undo") undone.add(line.of);
      if (line.op === "redo") undone.delete(line.of);
    }
    const lines = this.run.lines.filter(({ op }) => op !== "begin");
    this.none.hidden = lines.length > 0;
    this.list.replaceChildren(...lines.slice(-SHOWN).reverse().map((line) => this.row(line, undone.has(line.n))));
  }

  row(line, undone) {
    const item = document.createElement("li"), button = document.createElement("button");
    const part = (name, text) => button.appendChild(Object.assign(document.createElement(name), { textContent: text }));
    part("b", line.author || "somebody");
    part("span", new Date(line.time).toLocaleString([], { dateStyle: "short", timeStyle: "medium" }));
    part("p", told(line, this.run)).classList.toggle("undone", undone);
    const place = line.frame ?? line.first ?? line.frames?.[0]?.[0] ?? line.from?.frame;
    button.type = "button";
    button.onclick = () => place !== undefined && this.onplace(place);
    item.append(button);
    return item;
  }
}
