/** A colour for each class: the one that the server draws it with. */

import { COLOURS } from "./palette.js";

const DIGITS = 6; // of a colour
const CHANNELS = [0, 2, 4];

/** The colour of a class by its index: red, green and blue, 0–255. */
export function classColour(index) {
  const colour = COLOURS.slice(index * DIGITS, (index + 1) * DIGITS);
  return CHANNELS.map((at) => Number.parseInt(colour.slice(at, at + 2), 16));
}

export const asCss = (rgb) => `rgb(${rgb.join(" ")})`;
