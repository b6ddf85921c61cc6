/** A mask over its image, with a switch for each class. */

import { asCss, classColour } from "./colours.js";
import { BACKGROUND } from "./palette.js";
import { paintRuns } from "./rle.js";
import { fit } from "./stage.js";
import { asPercent } from "./format.js";

const FEW = 4; // classes; with more there are buttons to show all or none
const NO_CLASS = 255;

/**
 * elements: by their ids.
 * Classes stay shown or hidden from image to image, by their names.
 */
export class MaskView {
  constructor(elements) {
    this.elements = elements;
    this.shown = new Map();
    this.rows = [];
    elements.opacity.addEventListener("input", () => this.setOpacity());
    elements.all.addEventListener("click", () => this.showEvery(true));
    elements.none.addEventListener("click", () => this.showEvery(false));
    elements.frame.addEventListener("pointermove", (event) => this.pointAt(event));
    elements.frame.addEventListener("pointerleave", () => this.pointAt(null));
    this.setOpacity();
  }

  /** prediction: {size: [H, W], classes: [{label, value, share, rle}]} */
  show(prediction) {
    const { mask, masks, every } = this.elements;
    this.prediction = prediction;
    this.labels = labelsOf(prediction);
    [mask.width, mask.height] = fit(prediction.size[1], prediction.size[0]);
    mask.setAttribute("aria-label", `The mask: ${summary(prediction)}`);
    prediction.classes.forEach(({ label }, index) => {
      if (!this.shown.has(label)) this.shown.set(label, !isBackground(label, index, prediction.classes.length));
    });
    this.list();
    this.paint();
    every.hidden = prediction.classes.length <= FEW;
    mask.hidden = masks.hidden = false;
  }

  hide() {
    const { mask, masks, under } = this.elements;
    mask.hidden = masks.hidden = under.hidden = true;
    this.prediction = null;
  }

  /** Rows are kept while the classes are the same, so that a camera's next image does not move the focus. */
  list() {
    const { classes } = this.prediction;
    if (classes.some(({ label }, index) => this.rows[index]?.dataset.label !== label) || this.rows.length > classes.length) {
      this.rows = classes.map(({ label }, index) => this.row(label, index));
      this.elements.classes.replaceChildren(...this.rows);
    }
    classes.forEach(({ share }, index) => {
      this.rows[index].querySelector(".number").textContent = asPercent(share);
    });
  }

  row(label, index) {
    const row = document.createElement("li");
    const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: this.shown.get(label) });
    box.addEventListener("change", () => {
      this.shown.set(label, box.checked);
      this.paint();
    });
    const name = Object.assign(document.createElement("span"), { className: "name", textContent: label });
    const number = Object.assign(document.createElement("span"), { className: "number" });
    const line = document.createElement("label");
    line.append(box, name, number);
    row.append(line);
    row.dataset.label = label;
    row.style.setProperty("--colour", asCss(classColour(index)));
    return row;
  }

  showEvery(shown) {
    for (const { label } of this.prediction.classes) this.shown.set(label, shown);
    for (const row of this.rows) row.querySelector("input").checked = shown;
    this.paint();
  }

  paint() {
    const { mask } = this.elements;
    const colours = this.palette();
    const image = new ImageData(mask.width, mask.height);
    const pixels = new Uint32Array(image.data.buffer);
    const [height, width] = this.prediction.size;
    for (let y = 0, at = 0; y < mask.height; y++) {
      const row = scaled(y, mask.height, height);
      for (let x = 0; x < mask.width; x++, at++) {
        pixels[at] = colours[this.labels[scaled(x, mask.width, width) * height + row]];
      }
    }
    mask.getContext("2d").putImageData(image, 0, 0);
  }

  /** The colour of each class as ImageData has it; hidden classes are transparent. */
  palette() {
    const colours = new Uint32Array(256);
    this.prediction.classes.forEach(({ label }, index) => {
      const [red, green, blue] = classColour(index);
      if (this.shown.get(label)) colours[index] = (255 << 24) | (blue << 16) | (green << 8) | red;
    });
    return colours;
  }

  setOpacity() {
    const { opacity, percent, mask } = this.elements;
    percent.value = `${opacity.value}%`;
    opacity.setAttribute("aria-valuetext", percent.value);
    opacity.style.setProperty("--filled", percent.value);
    mask.style.opacity = opacity.value / 100;
  }

  /** Name the class below the pointer. */
  pointAt(event) {
    const { under } = this.elements;
    const entry = event && this.prediction?.classes[this.labelAt(event)];
    under.hidden = !entry;
    if (entry) under.textContent = entry.label;
  }

  labelAt({ clientX, clientY }) {
    const box = this.elements.mask.getBoundingClientRect();
    const [height, width] = this.prediction.size;
    const x = Math.floor(((clientX - box.left) / box.width) * width);
    const y = Math.floor(((clientY - box.top) / box.height) * height);
    return x < 0 || y < 0 || x >= width || y >= height ? NO_CLASS : this.labels[x * height + y];
  }
}

/** The classes in the image in words, the largest first. */
export function summary({ classes }) {
  const found = classes.filter(({ share }) => share > 0).sort((one, other) => other.share - one.share);
  return found.map(({ label, share }) => `${label} ${asPercent(share)}`).join(", ");
}

/** The class of each pixel, Uint8Array, column after column. */
function labelsOf({ size: [height, width], classes }) {
  const labels = new Uint8Array(height * width).fill(NO_CLASS);
  classes.forEach(({ rle }, index) => paintRuns(labels, rle, index));
  return labels;
}

/** Of two classes the first; of more, those with such a name. */
const isBackground = (label, index, count) => (count === 2 && index === 0) || BACKGROUND.includes(label.toLowerCase());

const scaled = (at, size, full) => (size === full ? at : Math.floor(((at + 0.5) * full) / size));
