/** The user's camera. Browsers allow it only on localhost and over TLS. */

import { toJpeg } from "./stage.js";

export const available = () => Boolean(navigator.mediaDevices?.getUserMedia);

const REASONS = {
  NotAllowedError: "The camera was not allowed. The browser's settings for this page can change that.",
  NotFoundError: "No camera was found.",
  NotReadableError: "The camera is in use by another program.",
};

export class Camera {
  /**
   * Handlers:
   * opened(): the camera is on.
   * taken(file): an image was taken, and the camera is off.
   * seen(file): one image after another, each when the handler is done with the one before; a rejection ends it.
   * closed(): the camera is off.
   * failed(error)
   */
  constructor(elements, handlers) {
    this.elements = elements;
    this.handlers = handlers;
    this.stream = null;
    this.watching = false;
    elements.camera.addEventListener("click", () => this.open());
    elements.take.addEventListener("click", () => this.take());
    elements.live.addEventListener("click", () => (this.watching ? this.close() : this.watch()));
    elements.close.addEventListener("click", () => this.close());
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.close());
  }

  async open() {
    const { video, sources, shutter, take } = this.elements;
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch (error) {
      this.handlers.failed(new Error(REASONS[error.name] ?? `The camera does not work: ${error.message}`));
      return;
    }
    this.handlers.opened();
    sources.hidden = true;
    video.hidden = shutter.hidden = false;
    take.focus();
    video.srcObject = this.stream;
    // Not by the attribute `autoplay`: browsers stop such a video while it is not visible, as when predictions are shown.
    video.play().catch(() => {}); // closed before it began
  }

  async take() {
    const file = await this.capture();
    this.close();
    this.handlers.taken(file);
  }

  async watch() {
    const { take, close, live, status } = this.elements;
    this.watching = take.hidden = close.hidden = true;
    live.textContent = "Stop";
    status.setAttribute("aria-live", "off"); // a screen reader would say nothing else
    try {
      while (this.watching) await this.handlers.seen(await this.capture());
    } catch (problem) {
      if (!this.watching) return;
      this.close();
      this.handlers.failed(problem);
    }
  }

  /** Also if it is closed already. */
  close() {
    if (!this.stream) return;
    const { video, sources, shutter, take, close, live, status, camera } = this.elements;
    const hadFocus = shutter.contains(document.activeElement);
    this.stream.getTracks().forEach((track) => track.stop());
    this.stream = video.srcObject = null;
    this.watching = sources.hidden = take.hidden = close.hidden = false;
    video.hidden = shutter.hidden = true;
    live.textContent = "Watch live";
    status.setAttribute("aria-live", "polite");
    if (hadFocus) camera.focus();
    this.handlers.closed();
  }

  /** The current image, in the camera's own size. */
  capture() {
    const { video } = this.elements;
    return toJpeg("camera.jpg", video, video.videoWidth, video.videoHeight);
  }
}
