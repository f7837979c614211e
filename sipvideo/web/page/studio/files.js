// Results as files, with all edits in them, and work of other programs taken in.

import { save } from "/page/controls.js";
import { postForBlob, put, sendFile } from "/page/studio/api.js";

const KINDS = [["json", "YouTube-VIS JSON"], ["lines", "JSON lines"], ["csv", "CSV"], ["parquet", "Parquet"], ["mots", "MOTS"], ["png", "label maps"], ["pictures", "pictures"], ["video", "video"]];
const FORMATS = [["", "none"], ["ytvis", "YouTube-VIS"], ["coco", "COCO"], ["mots", "MOTS"], ["davis", "DAVIS label maps"], ["cvat", "CVAT 1.1"], ["labelme", "LabelMe"], ["yolo", "YOLO"], ["fiftyone", "FiftyOne"]];

export class Files {
  constructor(run, panel, studio) {
    Object.assign(this, { run, panel, studio });
    panel.innerHTML = `<div class="film changes" hidden><h2>Where is the film?</h2><p>What the run was made from is not where it was.</p>
      <form><label class="field">File or folder of the server<input name="source" spellcheck="false"></label><button class="main">Point to it</button></form></div>
      <h2>Take it away</h2><p>The results with all edits, as a zip.</p>
      <form class="export"><div class="kinds"></div><label class="field">For another program<select name="format"></select></label><button class="main">Export</button></form>
      <div class="changes"><h2>Take in</h2><p>Work done in another program goes on here: its file becomes edits.</p><label class="button">Import a file<input type="file" class="unseen"></label></div>`;
    const form = panel.querySelector(".export");
    panel.querySelector(".film").hidden = run.info.video === "source";
    panel.querySelector(".film form").onsubmit = (event) => {
      event.preventDefault();
      this.point(event.target.elements.source.value.trim());
    };
    panel.querySelector(".kinds").append(...KINDS.map(([kind, name]) => {
      const label = document.createElement("label");
      label.append(Object.assign(document.createElement("input"), { type: "checkbox", value: kind, checked: kind === "json" }), ` ${name}`);
      return label;
    }));
    form.elements.format.append(...FORMATS.map(([format, name]) => new Option(name, format)));
    form.onsubmit = (event) => {
      event.preventDefault();
      this.export([...form.querySelectorAll(":checked[type=checkbox]")].map((box) => box.value), form.elements.format.value || null, form.querySelector("button"));
    };
    panel.querySelector("[type=file]").onchange = ({ target }) => this.import(target);
  }

  async export(kinds, format, button) {
    button.disabled = true;
    this.studio.say("Writing the files…");
    try {
      save(await postForBlob(`${this.run.path}/export`, { kinds, format }), `${this.run.info.name}.zip`);
      this.studio.say("Exported.");
    } catch (error) {
      this.studio.say(error.message, "problem");
    }
    button.disabled = false;
  }

  async point(source) {
    try {
      await put(`${this.run.path}/source`, { source });
      location.reload();
    } catch (error) {
      this.studio.say(error.message, "problem");
    }
  }

  async import(input) {
    const [file] = input.files;
    input.value = "";
    if (!file) return;
    try {
      const done = await this.run.change(() => sendFile(`${this.run.path}/import?base=${this.run.revision}&name=${encodeURIComponent(file.name)}`, file));
      this.studio.say(done.edits.length ? `Taken in: ${done.edits.length} edits. One undo takes all of them back.` : done.text);
    } catch (error) {
      this.studio.say(error.message, "problem");
    }
  }
}
