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

  async await(task, shown, cancelled = "Cancelled. The next time it goes on from there.") {
    try {
      const done = await task;
      if (done) shown(done);
      else this.studio.say(cancelled);
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
    about.textContent = better ? "It is better on the part that was held out. Its weights: " : "It is not better on the part that was held out. Its weights, all the same: ";
    code.textContent = weights;
    about.append(code);
    place.append(about);
    if (better) place.append(this.offer());
  }

  // The run anew with what was learnt, and then both side by side.
  offer() {
    const form = document.createElement("form");
    form.className = "anew changes";
    form.innerHTML = `<label class="field check"><span><input type="checkbox" name="edits"> take my edits over: objects are found again by where they were</span></label><button class="main">Run anew with it</button><p role="status"></p>`;
    form.onsubmit = (event) => this.submit(event, () => this.await(this.studio.tasks.start("anew", { edits: form.elements.edits.checked }), ({ result }) => {
      const [found, of] = result.edits, link = document.createElement("a");
      link.href = `/studio?run=${this.run.path.slice(1)}&beside=${encodeURIComponent(result.run)}`;
      link.textContent = "Look at both side by side";
      form.querySelector("p").replaceChildren(of ? `${found} of ${of} edits were found again. ` : "Made without edits. ", link);
      this.studio.say(`${result.run} is among the runs now.`);
    }, "Cancelled. Nothing of it stays."));
    return form;
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
