/** The classes of a picture as bars, the best first. */

import { asPercent } from "./words.js";

const FIRST = 10; // bars shown before one asks for more

export class BarView {
  constructor(elements) {
    this.elements = elements;
    this.all = false;
    elements.more.addEventListener("click", () => {
      this.all = !this.all;
      this.list();
    });
  }

  /** answer: [{label, score, present?}], best first */
  show(answer) {
    this.answer = answer;
    this.list();
    this.elements.scores.hidden = false;
  }

  hide() {
    this.elements.scores.hidden = true;
  }

  list() {
    const { bars, more } = this.elements;
    const shown = this.all ? this.answer : this.answer.slice(0, FIRST);
    bars.replaceChildren(...shown.map(row));
    more.hidden = this.answer.length <= FIRST;
    more.textContent = this.all ? `Show the first ${FIRST}` : `Show all ${this.answer.length}`;
  }
}

/** The best class in words, or all that are present. */
export function summary(answer) {
  const best = "present" in answer[0] ? answer.filter(({ present }) => present) : answer.slice(0, 1);
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
