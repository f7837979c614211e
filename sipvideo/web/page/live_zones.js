// The zones over the live picture: whose they are, and where what is drawn goes.

import { Zones } from "/page/zones.js";

const STORED = "sipvideo.zones.";
const SCOPES = {
  shared: "For everybody who watches this source, and for its events, from now on.",
  own: "For you alone, in this browser: the server's owner decides about this source's events (--zones with the downloaded file, or --allow-zones).",
  webcam: "For you alone, in this browser.",
};

export class LiveZones {
  constructor(stage, card, classes) {
    this.stage = stage;
    this.card = card;
    this.feed = null;
    this.editable = false;
    this.editor = new Zones({
      canvas: stage.overlay,
      panel: card,
      classes,
      repaint: () => stage.paint(),
      onchange: (rules) => this.send(rules),
    });
    stage.zones = this.editor;
    this.back = Object.assign(document.createElement("button"), { type: "button", textContent: "Back to the server's zones", hidden: true, className: "button" });
    this.back.onclick = () => this.forget();
    card.append(this.back);
  }

  // A feed, and the name under which this browser keeps its own zones.
  follow(feed, name) {
    this.feed = feed;
    this.name = name;
    this.server = {};
    this.editable = false;
    this.editor.counts = {};
    this.editor.setRules(this.stored() || {});
    this.scope();
    feed.oncounts = ({ zones, lines }) => this.feed === feed && this.editor.setCounts({ zones, lines });
    feed.onzones = (message) => this.feed === feed && this.take(message);
  }

  leave() {
    this.feed = null;
    this.editor.counts = {};
    this.editor.setRules({});
    this.open(false);
  }

  open(drawing) {
    if (this.editor.active === drawing && this.card.hidden !== drawing) return;
    this.editor.activate(drawing);
    this.show();
  }

  // Counts are worth seeing also while nobody draws.
  show() {
    this.card.hidden = !this.editor.active && !this.editor.places.length;
    // While somebody draws, the list comes first.
    this.card.classList.toggle("drawing", this.editor.active);
  }

  // What the server says of its own zones; null: there are none, as for a webcam.
  take(message) {
    this.server = message?.rules || {};
    this.editable = Boolean(message?.editable);
    const own = this.editable ? null : this.stored();
    if (own) this.feed.tryZones(own).then((problem) => this.editor.list.problem(problem));
    else this.editor.setRules(this.server);
    this.scope();
    this.show();
  }

  async send(rules) {
    this.show();
    if (this.editable) return this.put(rules);
    const none = !rules.zones && !rules.lines && !this.server.zones && !this.server.lines;
    if (none) localStorage.removeItem(STORED + this.name);
    else localStorage.setItem(STORED + this.name, JSON.stringify(rules));
    this.scope();
    return this.feed?.tryZones(rules);
  }

  async put(rules) {
    try {
      const address = `/api/sources/${encodeURIComponent(this.feed.key)}/zones`;
      const answer = await fetch(address, { method: "PUT", headers: { "content-type": "application/json" }, body: JSON.stringify(rules) });
      return answer.ok ? "" : (await answer.json()).detail;
    } catch {
      return "The server does not answer: the zones are not kept yet";
    }
  }

  forget() {
    localStorage.removeItem(STORED + this.name);
    this.feed?.tryZones({});
    this.editor.setRules(this.server);
    this.scope();
    this.show();
  }

  stored() {
    try {
      return JSON.parse(localStorage.getItem(STORED + this.name));
    } catch {
      return null;
    }
  }

  scope() {
    const webcam = this.feed && !this.feed.key;
    this.editor.list.scope.textContent = webcam ? SCOPES.webcam : this.editable ? SCOPES.shared : SCOPES.own;
    this.back.hidden = webcam || this.editable || !this.stored();
  }
}
