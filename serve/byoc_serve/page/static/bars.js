/** The classes of an image as bars, the most probable first. */

import { asPercent } from "./format.js";

const FIRST = 10; // bars shown at first

export class BarView {
  constructor(elements) {
    this.elements = elements;
    this.all = false;
    elements.more.addEventListener("click", () => {
      this.all = !this.all;
      this.list();
    });
  }

  /** prediction: [{label, score, present?}], most probable first */
  show(prediction) {
    this.prediction = prediction;
    this.list();
    this.elements.scores.hidden = false;
  }

  hide() {
    this.elements.scores.hidden = true;
  }

  list() {
    const { bars, more } = this.elements;
    const shown = this.all ? this.prediction : this.prediction.slice(0, FIRST);
    bars.replaceChildren(...shown.map(row));
    more.hidden = this.prediction.length <= FIRST;
    more.textContent = this.all ? `Show the first ${FIRST}` : `Show all ${this.prediction.length}`;
  }
}

/** The most probable class in words, or all that are present. */
export function summary(prediction) {
  const best = "present" in prediction[0] ? prediction.filter(({ present }) => present) : prediction.slice(0, 1);
  return best.map(({ label, score }) => `${label} ${asPercent(score)}`).join(", ") || "none of the classes";
}

function row({ label, score, present }, index) {
  const row = document.createElement("li");
  row.append(span("name", label));
  if (present !== undefined) row.append(span("mark", present ? "present" : "absent"));
  row.append(span("number", asPercent(score)));
  row.classList.toggle("chosen", present ?? index === 0);
  row.style.setProperty("--share", score);
  return row;
}

const span = (className, textContent) => Object.assign(document.createElement("span"), { className, textContent });
