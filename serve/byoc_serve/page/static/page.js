/** The page: images in, predictions out. This module decides when things are done, the others know how. */

import { BarView, summary as barsInWords } from "./bars.js";
import { available as cameraAvailable, Camera } from "./camera.js";
import { copy, curlCommand } from "./curl.js";
import { MaskView, summary as maskInWords } from "./mask.js";
import { Options } from "./options.js";
import { contentType, health, options, predict, ServerError } from "./server.js";
import { decode, showImage, toJpeg } from "./stage.js";
import { asBytes, asDuration, asSize } from "./format.js";

const PAUSE = 500; // ms between two health checks of a server that is not ready
const SMALLER = 2048; // pixels on the longer side of the copy that can be sent if the file is too large
const HEALTH = {
  ready: "Ready",
  loading: "Loading the model…",
  failed: "The model cannot be served",
  away: "The server does not respond",
};

class Page {
  constructor(elements) {
    this.elements = elements;
    this.masks = new MaskView(elements);
    this.bars = new BarView(elements);
    this.options = new Options(elements, { changed: () => this.showCommand(), settled: () => this.predictAgain() });
    this.camera = new Camera(elements, {
      opened: () => this.makeRoom(),
      taken: (file) => this.open(file, { unsaved: true }),
      seen: (file) => this.glance(file),
      closed: () => this.stage(),
      failed: (problem) => this.fail(problem),
    });
    this.image = null; // {file, bitmap, note}
    this.request = new AbortController();
    this.ready = false;
    this.showCommand();
    this.listen();
  }

  listen() {
    const { hint, file, snap, camera, snapshot, again, smaller, copy: copyButton, copied, curl } = this.elements;
    for (const input of [file, snap]) {
      input.addEventListener("change", () => {
        this.open(input.files[0], { unsaved: input === snap });
        input.value = ""; // so that the same file can be chosen again
      });
    }
    hint.addEventListener("click", () => file.click());
    again.addEventListener("click", () => this.predict());
    smaller.addEventListener("click", () => this.sendSmaller());
    copyButton.addEventListener("click", async () => {
      await copy(curl);
      copied.textContent = "Copied";
    });
    document.addEventListener("paste", (event) => this.open(event.clipboardData.files[0], { unsaved: true }));
    this.listenToDrops();
    camera.hidden = !cameraAvailable();
    snapshot.hidden = cameraAvailable() || !matchMedia("(pointer: coarse)").matches;
  }

  listenToDrops() {
    const { stage } = this.elements;
    document.addEventListener("dragover", (event) => {
      event.preventDefault();
      stage.dataset.dragging = "";
    });
    document.addEventListener("dragleave", (event) => event.relatedTarget ?? delete stage.dataset.dragging);
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      delete stage.dataset.dragging;
      this.open(event.dataTransfer.files[0]);
    });
  }

  /** Check the server until it is ready. */
  async watch() {
    for (;;) {
      const { state, reason } = await health();
      const isNews = this.elements.health.dataset.state !== state;
      if (isNews) this.showHealth(state);
      if (isNews && state === "failed") this.fail(new ServerError(reason, 500));
      if (state === "ready") return this.options.offer(await options());
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
  }

  showHealth(state) {
    const { health: sign, file, snap, camera } = this.elements;
    this.ready = state === "ready";
    for (const control of [file, snap, camera]) control.disabled = !this.ready;
    sign.dataset.state = state;
    sign.textContent = HEALTH[state];
  }

  /**
   * Show an image and send it to the model.
   *
   * unsaved: whether it is not a file of the user's, which curl would find.
   * note: what was done to it.
   */
  async open(file, { unsaved = false, note = "" } = {}) {
    if (!file || !this.ready) return;
    this.camera.close();
    const { signal } = this.startOver();
    const bitmap = await decode(file);
    if (signal.aborted) return;
    this.setImage({ file, bitmap, note }, unsaved);
    this.elements.mask.hidden = this.elements.under.hidden = true;
    this.stage();
    await this.predict();
  }

  async predict() {
    const { stage, error } = this.elements;
    const { signal } = this.startOver();
    const { file } = this.image;
    error.hidden = true;
    stage.setAttribute("aria-busy", "true");
    this.say(`Sending ${file.name}, ${asBytes(file.size)}…`);
    try {
      const response = await predict(file, this.options.query, signal);
      if (!signal.aborted) this.show(response);
    } catch (problem) {
      if (!signal.aborted) this.fail(problem);
    } finally {
      if (!signal.aborted) stage.removeAttribute("aria-busy");
    }
  }

  /** With other options; a running camera uses them with its next image. */
  predictAgain() {
    if (this.image && this.ready && !this.camera.stream) this.predict();
  }

  /** Send an image of a running camera; it is shown together with its prediction. */
  async glance(file) {
    const { signal } = this.startOver();
    const [bitmap, response] = await Promise.all([decode(file), predict(file, this.options.query, signal)]);
    if (signal.aborted) return;
    this.setImage({ file, bitmap, note: "" }, true);
    this.stage();
    this.show(response);
  }

  /** Abort the running request, if any. */
  startOver() {
    this.request.abort();
    this.request = new AbortController();
    return this.request;
  }

  /** Only when the user asks for it: otherwise the file is sent unchanged. */
  async sendSmaller() {
    const { bitmap, file } = this.image;
    const name = `${file.name.replace(/\.[^.]*$/, "")}-small.jpg`;
    const copy = await toJpeg(name, bitmap, bitmap.width, bitmap.height, SMALLER);
    this.open(copy, { unsaved: true, note: "a smaller copy" });
  }

  setImage(image, unsaved) {
    this.image?.bitmap?.close();
    this.image = image;
    this.showCommand();
    this.offerToSave(unsaved ? image.file : null);
  }

  /** Show the image, or the hint if there is none. */
  stage() {
    const { hint, frame, video } = this.elements;
    const { bitmap, file } = this.image ?? {};
    if (bitmap) showImage(this.elements, bitmap, bitmap.width, bitmap.height, file.name);
    hint.hidden = Boolean(bitmap);
    frame.hidden = !bitmap;
    video.hidden = true;
  }

  /** An empty frame, for the mask of an image that this browser cannot read, such as TIFF. */
  stageEmpty([height, width]) {
    const { hint, frame } = this.elements;
    showImage(this.elements, null, width, height, this.image.file.name);
    hint.hidden = true;
    frame.hidden = false;
  }

  /** Clear the stage for the camera. */
  makeRoom() {
    const { hint, frame, error, stage } = this.elements;
    this.startOver();
    stage.removeAttribute("aria-busy");
    hint.hidden = frame.hidden = error.hidden = true;
    this.say("The camera is on.");
  }

  /** prediction: a list is of classes, anything else a mask. */
  show({ prediction, milliseconds }) {
    const isMask = !Array.isArray(prediction);
    const { bitmap, file, note } = this.image;
    if (isMask && !bitmap) this.stageEmpty(prediction.size);
    (isMask ? this.bars : this.masks).hide();
    (isMask ? this.masks : this.bars).show(prediction);
    const size = bitmap ? [bitmap.width, bitmap.height] : isMask && [prediction.size[1], prediction.size[0]];
    const details = [file.name, note, size && asSize(...size), asBytes(file.size), "predicted in "];
    const found = isMask ? maskInWords(prediction) : barsInWords(prediction);
    this.say(details.filter(Boolean).join(" · "), asDuration(milliseconds), found);
  }

  fail(problem) {
    const { error, reason, code, again, smaller } = this.elements;
    const { file, bitmap } = this.image ?? {};
    const details = [file?.name, problem.status && `HTTP ${problem.status}`, problem.id && `${problem.id} in the log`];
    this.masks.hide();
    this.bars.hide();
    this.elements.status.replaceChildren();
    reason.textContent = problem.message;
    code.textContent = details.filter(Boolean).join(" · ");
    again.hidden = !(problem.isTemporary && file);
    smaller.hidden = !(problem.status === 413 && bitmap);
    error.hidden = false;
    if (problem.isTemporary && this.ready) this.watch();
  }

  showCommand() {
    const { curl, copied } = this.elements;
    const { file } = this.image ?? {};
    curl.textContent = curlCommand(file?.name ?? "image.jpg", file ? contentType(file) : "image/jpeg", this.options.query);
    copied.textContent = "";
  }

  offerToSave(unsaved) {
    const { save } = this.elements;
    URL.revokeObjectURL(save.href);
    save.hidden = !unsaved;
    if (unsaved) Object.assign(save, { href: URL.createObjectURL(unsaved), download: unsaved.name, textContent: `Save ${unsaved.name}` });
  }

  /** aside: for screen readers only. */
  say(text, emphasis = "", aside = "") {
    const strong = Object.assign(document.createElement("b"), { textContent: emphasis });
    const unseen = Object.assign(document.createElement("span"), { className: "unseen", textContent: aside && `: ${aside}` });
    this.elements.status.replaceChildren(text, strong, unseen);
  }
}

const elements = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));
new Page(elements).watch();
