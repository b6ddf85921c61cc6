/** A colour for each class. */

const GOLDEN_ANGLE = 137.508; // degrees: neighbours differ however many there are
const FIRST_HUE = 250;
const CHROMA = 0.17;
const LIGHTNESSES = [0.62, 0.7, 0.84]; // so that the hues that come near each other differ, too

/** The colour of a class by its index: red, green and blue, 0–255. */
export function classColour(index) {
  const hue = ((FIRST_HUE + index * GOLDEN_ANGLE) * Math.PI) / 180;
  return fromOklab(LIGHTNESSES[index % LIGHTNESSES.length], CHROMA * Math.cos(hue), CHROMA * Math.sin(hue));
}

export const asCss = (rgb) => `rgb(${rgb.join(" ")})`;

/** Source: Björn Ottosson, "A perceptual color space for image processing", 2020. What sRGB lacks is cut off. */
function fromOklab(lightness, a, b) {
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ].map(toSrgb);
}

function toSrgb(linear) {
  const encoded = linear <= 0.0031308 ? 12.92 * linear : 1.055 * linear ** (1 / 2.4) - 0.055;
  return Math.round(255 * Math.min(1, Math.max(0, encoded)));
}
