// Closes the loop: what the edits changed in figures, and a model that learns from them.

import { get } from "/page/studio/api.js";

const SCORES = [["hota", "HOTA"], ["det_a", "DetA"], ["ass_a", "AssA"], ["idf1", "IDF1"], ["id_switches", "identity switches"]];

export class Learning {
  constructor(run, panel, studio) {
    Object.assign(this, { run, panel, studio });
    panel.innerHTML = `<h2>Score before and after</h2><p>The run against its edits, or against annotations.</p>
      <form class="score"><label class="field">Annotations<input name="truth" placeholder="the edits are the truth" spellcheck="false"></label><button class="main">Score</button></form><div id="scores"></div>
      <div class="changes"><h2>Train on my corrections</h2><p>Corrected frames weigh more. A last part of the film is held out; the model is measured there before it is offered.</p>
      <form class="train"><label class="field">Steps<input name="steps" type="number" min="1" placeholder="as the recipe says"></label><label class="field">Must stay good on<input name="kept" placeholder="annotated pictures, COCO JSON" spellcheck="false"></label><button class="main">Train</button></form></div><div id="learnt"></div>`;
    panel.querySelector(".score").onsubmit = (event) => this.submit(event, (form) => this.score(form.elements.truth.value.trim() || null));
    panel.querySelector(".train").onsubmit = (event) => this.submit(event, (form) => this.train({ steps: Number(form.elements.steps.value) || null, kept: form.elements.kept.value.trim() || null }));
  }

  // When the panel opens: the training that was, or is, under way.
  async open() {
    if (this.opened) return;
    this.opened = true;
    const task = await get(`${this.run.path}/learn`).catch(() => null);
    if (!task) return;
    if (task.state === "done") this.showModel(task.result);
    else if (["waiting", "running"].includes(task.state)) this.await(this.studio.tasks.follow(task), (done) => this.showModel(done.result));
  }

  async submit(event, work) {
    event.preventDefault();
    const button = event.target.querySelector("button");
    button.disabled = true;
    await work(event.target);
    button.disabled = false;
  }

  score(truth) {
    return this.await(this.studio.tasks.start("score", { truth }), ({ result }) => {
      const rows = SCORES.map(([key, name]) => [name, result.before[key], result.after[key]]);
      this.table(this.panel.querySelector("#scores"), result.truth === "edits" ? "edits as truth" : "annotations", rows);
      this.studio.say(`HOTA ${result.before.hota} before, ${result.after.hota} after.`);
    });
  }

  train(wish) {
    return this.await(this.studio.tasks.start("learn", wish), ({ result }) => this.showModel(result));
  }

  async await(task, shown) {
    try {
      const done = await task;
      if (done) shown(done);
      else this.studio.say("Cancelled. The next time it goes on from there.");
    } catch (error) {
      this.studio.say(error.message, "problem");
    }
  }

  showModel({ weights, better, held_out: heldOut, kept }) {
    const place = this.panel.querySelector("#learnt"), rows = [];
    for (const [figures, name] of [[heldOut, "held out"], [kept, "kept"]]) {
      for (const key of Object.keys(figures?.before ?? {}).filter((key) => key.endsWith("_ap"))) rows.push([`${key.replace("_ap", " AP")}, ${name}`, figures.before[key], figures.after[key]]);
    }
    this.studio.say(better ? "Trained: better on the part that was held out." : "Trained: not better on the part that was held out.");
    this.table(place, better ? "better" : "not better", rows);
    const about = document.createElement("p"), code = document.createElement("code");
    about.textContent = better ? "It is better on the part that was held out. Run anew with it: " : "It is not better on the part that was held out. Its weights, all the same: ";
    code.textContent = `sipvideo video FILM --weights ${weights}`;
    about.append(code);
    place.append(about);
  }

  table(place, title, rows) {
    const table = document.createElement("table");
    table.className = "figures-table";
    for (const cells of [[title, "before", "after"], ...rows]) {
      const row = table.insertRow();
      cells.forEach((cell, k) => {
        const one = document.createElement(k && cells !== rows ? "td" : "th");
        one.textContent = typeof cell === "number" && !cells[0].includes("switches") ? cell.toFixed(3) : cell;
        row.append(one);
      });
    }
    place.replaceChildren(table);
  }
}
