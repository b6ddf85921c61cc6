/** The options that the model offers. */

const PAUSE = 300; // ms without a change, after which the image is sent again

export class Options {
  /**
   * Handlers:
   * changed(): `query` has changed.
   * settled(): `query` has not changed for a while.
   */
  constructor(elements, handlers) {
    this.elements = elements;
    this.handlers = handlers;
    this.offered = {};
    this.own = null; // the slider's value for the model's own threshold
    this.query = "";
    const { threshold, tile, side, tta } = elements;
    for (const control of [threshold, side]) control.addEventListener("input", () => this.change());
    for (const control of [tile, tta]) control.addEventListener("change", () => this.change());
    side.addEventListener("change", () => side.reportValidity());
  }

  /** offered: the JSON Schema of each option, by its name. Choices are kept. */
  offer(offered) {
    const { options, cuts, tiles, views } = this.elements;
    this.offered = offered;
    cuts.hidden = !offered.threshold;
    tiles.hidden = !offered.tile;
    views.hidden = !offered.tta;
    options.hidden = cuts.hidden && tiles.hidden && views.hidden;
    if (offered.threshold) this.offerThreshold(offered.threshold);
    if (offered.tile) this.offerTiles(offered.tile);
    this.update();
  }

  offerThreshold({ default: own }) {
    const { threshold } = this.elements;
    if (this.own === null) {
      threshold.value = own;
      this.own = threshold.value; // rounded by the slider
    }
  }

  offerTiles({ anyOf }) {
    const { side } = this.elements;
    const { minimum, maximum } = anyOf.find(({ type }) => type === "integer");
    Object.assign(side, { min: minimum, max: maximum });
  }

  change() {
    const before = this.query;
    this.update();
    if (this.query === before) return;
    this.handlers.changed();
    clearTimeout(this.pause);
    this.pause = setTimeout(() => this.handlers.settled(), PAUSE);
  }

  /** A side that is being typed counts once it is valid. */
  update() {
    const { tile, side } = this.elements;
    side.hidden = tile.value !== "size";
    if (this.own !== null) this.showThreshold();
    if (side.hidden || side.checkValidity()) this.query = this.write();
  }

  showThreshold() {
    const { threshold, cut } = this.elements;
    const isOwn = threshold.value === this.own;
    cut.value = isOwn ? `${this.offered.threshold.default}, the model's own` : threshold.value;
    threshold.setAttribute("aria-valuetext", cut.value);
    threshold.style.setProperty("--filled", `${100 * threshold.value}%`);
  }

  /** The options that differ from their defaults, as a query string. */
  write() {
    const { threshold, tile, side, tta } = this.elements;
    const chosen = new URLSearchParams();
    if (this.offered.threshold && threshold.value !== this.own) chosen.set("threshold", threshold.value);
    if (this.offered.tile && tile.value !== "none") chosen.set("tile", tile.value === "size" ? side.value : tile.value);
    if (this.offered.tta && tta.value !== "none") chosen.set("tta", tta.value);
    return chosen.toString();
  }
}
