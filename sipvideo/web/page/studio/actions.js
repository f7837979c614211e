// What keys and buttons do, as methods of the studio; commands.js says which.

import { exactClock } from "/page/studio/words.js";

const element = (id) => document.getElementById(id);

export const ACTIONS = {
  play() { this.player.toggle(); },
  step([frames, second]) {
    const { player, run } = this;
    if (!second) return player.step(frames);
    const target = run.frameAt(Math.max(0, run.time(player.wanted) + frames));
    player.step((target === player.wanted ? player.wanted + frames : target) - player.wanted);
  },
  ends(last) { this.player.seek(last ? this.run.count - 1 : 0); },
  speed(step) { this.player.faster(step); },
  lane([step, more]) { this.timeline.walk(step, more); },
  pick([number, more]) {
    const object = this.picture.objects[number - 1];
    if (object) this.selection.choose(object.id, more || Boolean(this.pending));
  },
  zoom(factor) { this.timeline.zoom(factor); },
  whole() {
    this.timeline.look(0, this.run.count);
    this.picture.move(1, 0, 0);
  },
  ghosts() {
    this.picture.ghosts = !this.picture.ghosts;
    this.picture.paint();
    this.update();
  },
  tags() {
    this.picture.labels = !this.picture.labels;
    this.picture.paint();
    this.update();
  },
  next(back) { this.doubts.next(back ? -1 : 1); },
  narrow() { this.doubts.narrow(); },
  turn() {
    const { doubt } = this.doubts;
    if (doubt) this.player.seek(this.player.wanted === doubt.last ? doubt.first : doubt.last);
    else this.say("No doubt is open: N opens the next one.");
  },
  accept() { this.doubts.accept(); },
  mend() { this.doubts.mend(); },
  async join() {
    const two = this.two("join", "Join with which one? Choose it, or press its number.");
    if (two && (await this.commit([{ op: "join", into: two[0], from: two[1] }]))) this.selection.set([two[0]]);
  },
  async swap() {
    const two = this.two("swap", "Swap with which one? Choose it, or press its number.");
    if (two) await this.commit([{ op: "swap", a: two[0], b: two[1], frame: this.player.wanted }]);
  },
  async cut() {
    const id = this.one();
    if (id !== undefined) await this.commit([{ op: "cut", id, frame: this.player.wanted }]);
  },
  async relabel() {
    const id = this.one();
    if (id === undefined) return;
    const label = await this.label(`Class of ${id}`, this.run.tracks.get(id)?.label), [first, last] = this.timeline.range ?? [];
    if (label !== null) await this.commit([{ op: "relabel", id, label, ...(this.timeline.range ? { first, last } : {}) }]);
  },
  async delete(all) {
    const id = this.one(), track = this.run.tracks.get(id);
    if (!track) return;
    const here = track.spans.find(([first, last]) => first <= this.player.wanted && this.player.wanted <= last);
    const piece = all ? [track.spans[0][0], track.spans.at(-1)[1]] : this.timeline.range ?? here;
    if (!piece) return this.say(`${id} is not in sight at this frame: go to the piece that is to be deleted, or mark a range (I).`);
    if (await this.commit([{ op: "delete", id, first: piece[0], last: piece[1] }])) this.mark(null);
  },
  range() {
    if (this.timeline.range) return this.mark(null);
    const here = this.player.wanted;
    if (this.begun === undefined) this.begun = here;
    else this.mark([Math.min(this.begun, here), Math.max(this.begun, here)]);
    this.say(this.timeline.range ? `Marked: ${this.timeline.range.map((frame) => exactClock(this.run.time(frame))).join(" to ")}.` : "The range begins here. Go to its end, and press I again.");
    this.update();
  },
  mark(range) {
    this.timeline.range = range;
    this.begun = undefined;
    this.timeline.paintSoon();
    this.update();
  },
  size(factor) { this.tools.resize(factor); },
  brush() { this.tools.use("brush"); },
  eraser() { this.tools.use("eraser"); },
  polygon() { this.tools.use("polygon"); },
  refine() { this.tools.use("refine"); },
  create() { this.tools.use("create"); },
  forward() { this.carry(1); },
  backward() { this.carry(-1); },
  carry(direction) {
    const id = this.one(), { range } = this.timeline, frame = this.player.wanted;
    if (id !== undefined) this.propagate({ frame, id, direction, until: range ? range[direction > 0 ? 1 : 0] : null });
  },
  async propagate({ frame, id, direction, until = null }) {
    try {
      this.say(`Carrying the mask of ${id} ${direction > 0 ? "forward" : "backward"}…`);
      const done = await this.tasks.start("propagate", { frame, id, direction, until });
      this.say(done?.detail || (done ? "Done." : "Cancelled, nothing was changed."));
      return done;
    } catch (error) {
      this.say(error.message, "problem");
      return null;
    }
  },
  undo() { this.back("undo"); },
  redo() { this.back("redo"); },
  async back(way) {
    try {
      this.say((await this.run[way]()).text);
    } catch (error) {
      this.say(error.message, "problem");
    }
  },
  escape() {
    this.pending = null;
    if (this.tools.name) this.tools.use(null);
    else if (this.timeline.range || this.begun !== undefined) this.mark(null);
    else this.selection.set([]);
    this.say("");
  },
  help() { element("help").showModal(); },
};
