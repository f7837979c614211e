// Work of the server that takes seconds or minutes: how far it is, and how it is cancelled.

import { post } from "/page/studio/api.js";

export class Tasks {
  constructor(run, { box, cancelButton }) {
    Object.assign(this, { run, box });
    this.bar = box.querySelector("progress");
    this.about = box.querySelector("span");
    this.waiting = new Map(); // of tasks of this window: { done, failed }
    cancelButton.onclick = () => this.cancel();
    run.addEventListener("task", ({ detail }) => this.hear(detail));
  }

  // A promise of the task when it is done, or of null where it was cancelled.
  async start(name, wish) {
    const author = this.run.author ? { author: this.run.author } : {};
    return this.follow(await post(`${this.run.path}/${name}`, { ...wish, ...author }));
  }

  follow(task) {
    this.newest = task.task;
    this.box.hidden = false;
    this.bar.removeAttribute("value");
    const ended = new Promise((done, failed) => this.waiting.set(task.task, { done, failed }));
    this.hear(task); // it may have ended already
    return ended.finally(() => {
      this.waiting.delete(task.task);
      this.box.hidden = this.waiting.size === 0;
    });
  }

  hear(news) {
    const waiting = this.waiting.get(news.task);
    if (!waiting) return;
    if (news.total) this.bar.value = news.done / news.total;
    this.about.textContent = news.detail || news.kind;
    if (news.state === "done") waiting.done(news);
    if (news.state === "cancelled") waiting.done(null);
    if (news.state === "failed") waiting.failed(new Error(news.detail));
  }

  async cancel() {
    if (this.newest !== undefined) await post(`${this.run.path}/tasks/${this.newest}/cancel`, {}).catch(() => {});
  }
}
