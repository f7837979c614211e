// Mouse, fingers and pen over the picture: choosing, drawing with a tool, looking closer.

const TAP = 8; // pixels that a finger may move in a tap

export class StageInput {
  constructor(picture, tools, selection) {
    Object.assign(this, { picture, tools, selection });
    this.several = false; // on screens without shift
    this.pointers = new Map();
    const { canvas } = picture;
    canvas.onpointerdown = (event) => this.down(event);
    canvas.onpointermove = (event) => this.move(event);
    canvas.onpointerup = (event) => this.up(event);
    canvas.onpointercancel = (event) => this.cancel(event);
    canvas.ondblclick = () => tools.finish();
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      picture.zoomAt(Math.exp(-event.deltaY * (event.deltaMode ? 0.1 : 0.003)), event.clientX, event.clientY);
    }, { passive: false });
  }

  down(event) {
    if (event.button > 1) return;
    this.picture.canvas.focus({ preventScroll: true });
    this.picture.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (this.pointers.size > 1) {
      this.tools.drop();
      this.begun = null;
      this.pinch = this.spread();
    } else {
      this.begun = { x: event.clientX, y: event.clientY, drawing: Boolean(this.tools.name) && event.button === 0, zoom: { ...this.picture.zoom } };
      if (this.begun.drawing) this.tools.down(event);
    }
  }

  spread() {
    const [a, b] = [...this.pointers.values()];
    return { apart: Math.max(20, Math.hypot(a.x - b.x, a.y - b.y)), x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
  }

  move(event) {
    if (this.tools.name && !this.pinch) this.tools.move(event);
    if (!this.pointers.has(event.pointerId)) return;
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (this.pinch && this.pointers.size > 1) {
      const now = this.spread();
      this.picture.zoomAt(now.apart / this.pinch.apart, now.x, now.y);
      this.pan(now.x - this.pinch.x, now.y - this.pinch.y, this.picture.zoom);
      this.pinch = now;
    } else if (this.begun && !this.begun.drawing && this.picture.zoom.scale > 1) this.pan(event.clientX - this.begun.x, event.clientY - this.begun.y, this.begun.zoom);
  }

  pan(dx, dy, { scale, x, y }) {
    const { clientWidth, clientHeight } = this.picture.canvas;
    this.picture.move(scale, x - dx / clientWidth / scale, y - dy / clientHeight / scale);
  }

  up(event) {
    const { begun } = this;
    this.cancel(event, true);
    if (!begun) return;
    if (begun.drawing) this.tools.up();
    else if (Math.hypot(event.clientX - begun.x, event.clientY - begun.y) < TAP) {
      this.selection.choose(this.picture.at(this.picture.point(event)), event.shiftKey || event.ctrlKey || event.metaKey || this.several);
    }
  }

  cancel(event, ended = false) {
    this.pointers.delete(event.pointerId);
    if (!this.pointers.size) this.pinch = null;
    this.begun = null;
    if (!ended) this.tools.drop();
  }
}
