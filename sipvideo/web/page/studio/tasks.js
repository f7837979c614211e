// Work of the server that takes seconds: how far it is, and how it is cancelled.

import { post } from "/page/studio/api.js";
import { told } from "/page/studio/words.js";

export class Tasks {
  constructor(run, { box, cancelButton }) {
    Object.assign(this, { run, box });
    this.bar = box.querySelector("progress");
    this.waiting = new Map(); // of tasks of this window: { done, failed }
    cancelButton.onclick = () => this.cancel();
    run.addEventListener("task", ({ detail }) => this.hear(detail));
  }

  // A promise of the line that tells what it did, or null where it was cancelled.
  async propagate(wish) {
    const { task } = await post(`${this.run.path}/propagate`, { base: this.run.revision, ...wish });
    return this.follow(task);
  }

  follow(task) {
    this.newest = task;
    this.box.hidden = false;
    this.bar.removeAttribute("value");
    return new Promise((done, failed) => this.waiting.set(task, { done, failed })).finally(() => {
      this.waiting.delete(task);
      this.box.hidden = this.waiting.size === 0;
    });
  }

  hear(news) {
    const waiting = this.waiting.get(news.task);
    if (!waiting) return;
    if (news.total) this.bar.value = news.done / news.total;
    if (news.state === "done") waiting.done(news.detail || (news.edits ?? []).map((line) => told(line, this.run)).join(". ") || "done");
    if (news.state === "cancelled") waiting.done(null);
    if (news.state === "failed") waiting.failed(new Error(news.detail));
  }

  async cancel() {
    if (this.newest) await post(`${this.run.path}/tasks/${this.newest}/cancel`, {}).catch(() => {});
  }
}
