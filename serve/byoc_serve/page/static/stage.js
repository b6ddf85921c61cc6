/** The image on the page. */

// The longest side of canvases: phones refuse larger ones, and no screen shows more. The file itself is sent unchanged.
const LONGEST_SIDE = 2048;

/** The size of a canvas for an image of this size. */
export function fit(width, height, longest = LONGEST_SIDE) {
  const scale = Math.min(1, longest / Math.max(width, height));
  return [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
}

/** An image in its EXIF orientation, as on the server; null if the browser cannot read it. */
export async function decode(file) {
  try {
    return await createImageBitmap(file);
  } catch {
    return null;
  }
}

/** Show an image of this size, or an empty frame if bitmap is null. */
export function showImage({ frame, image }, bitmap, width, height, name) {
  [image.width, image.height] = fit(width, height);
  frame.style.setProperty("--width", width);
  frame.style.setProperty("--height", height);
  if (bitmap) image.getContext("2d").drawImage(bitmap, 0, 0, image.width, image.height);
  image.setAttribute("aria-label", bitmap ? `The image ${name}` : `${name}: this browser cannot show it`);
}

/** A JPEG file of what a bitmap or video shows, of at most so many pixels on its longer side. */
export async function toJpeg(name, source, width, height, longest = Infinity) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = fit(width, height, longest);
  canvas.getContext("2d").drawImage(source, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
  return new File([blob], name, { type: blob.type });
}
