/** Where the picture is seen. */

// Canvases have no longer side than this: phones refuse large ones, and no screen shows more. What is sent stays whole.
const LONGEST_SIDE = 2048;

/** The size of a canvas for a picture of this size. */
export function fit(width, height, longest = LONGEST_SIDE) {
  const scale = Math.min(1, longest / Math.max(width, height));
  return [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
}

/** A picture turned upright, as the server turns it; null where the browser cannot read it. */
export async function decode(file) {
  try {
    return await createImageBitmap(file);
  } catch {
    return null;
  }
}

/** Show a picture of this size, or an empty frame where bitmap is null. */
export function showPicture({ frame, picture }, bitmap, width, height, name) {
  [picture.width, picture.height] = fit(width, height);
  frame.style.setProperty("--width", width);
  frame.style.setProperty("--height", height);
  if (bitmap) picture.getContext("2d").drawImage(bitmap, 0, 0, picture.width, picture.height);
  picture.setAttribute("aria-label", bitmap ? `The picture ${name}` : `${name}: this browser cannot show it`);
}

/** A JPEG file of what a bitmap or video shows, of at most so many pixels on its longer side. */
export async function toJpeg(name, source, width, height, longest = Infinity) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = fit(width, height, longest);
  canvas.getContext("2d").drawImage(source, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
  return new File([blob], name, { type: blob.type });
}
