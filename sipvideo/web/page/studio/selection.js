// The identities that are chosen, in the order in which they were.

export class Selection extends EventTarget {
  constructor() {
    super();
    this.ids = [];
  }

  has(id) {
    return this.ids.includes(id);
  }

  set(ids) {
    this.ids = [...new Set(ids)];
    this.dispatchEvent(new Event("change"));
  }

  // One alone, or, with more, one besides the others.
  choose(id, more = false) {
    if (id === null) return more || this.set([]);
    if (!more) return this.set([id]);
    this.set(this.has(id) ? this.ids.filter((other) => other !== id) : [...this.ids, id]);
  }
}
