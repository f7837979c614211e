// A second run beside the first one, at the same moment: pictures and masks alone, whatever the first one does.

import { Picture } from "/page/studio/picture.js";
import { Player } from "/page/studio/player.js";
import { Selection } from "/page/studio/selection.js";

export class Beside {
  // figure: with a stage and a caption; caption: of the first run.
  constructor(run, studio, figure, caption) {
    Object.assign(this, { run, studio });
    const [video, still, overlay] = figure.querySelector(".stage").children, [name, close] = figure.querySelectorAll("a");
    document.body.classList.add("compared");
    figure.hidden = caption.hidden = false;
    caption.textContent = studio.run.info.name;
    Object.assign(name, { textContent: run.info.name, href: `/studio?run=${run.path.slice(1)}` });
    close.href = `/studio?run=${studio.run.path.slice(1)}`;
    this.player = new Player(run, video, still, false);
    this.picture = new Picture(run, this.player, new Selection(), overlay, figure.querySelector(".stage"));
    this.picture.numbered = false;
    const look = ["opacity", "labels", "zoom"], { picture, player } = studio;
    const follow = () => {
      for (const key of look) this.picture[key] = picture[key];
      this.picture.move(picture.zoom.scale, picture.zoom.x, picture.zoom.y);
      const frame = run.frameAt(studio.run.time(player.frame));
      if (frame !== this.player.wanted || this.player.seeking === undefined) this.player.seek(frame);
    };
    picture.addEventListener("paint", follow);
    follow();
    run.listen();
  }
}
