/** The page: pictures in, answers out. The other modules know how things are done, this one when. */

import { BarView, summary as barsInWords } from "./bars.js";
import { available as cameraAvailable, Camera } from "./camera.js";
import { copy, curlCommand } from "./curl.js";
import { MaskView, summary as maskInWords } from "./mask.js";
import { Options } from "./options.js";
import { ask, contentType, health, options, Refusal } from "./server.js";
import { decode, showPicture, toJpeg } from "./stage.js";
import { asBytes, asDuration, asSize } from "./words.js";

const PAUSE = 500; // ms between two looks at a server that is not ready
const SMALLER = 2048; // pixels on the longer side of the copy that can be sent where the file is too large
const HEALTH = {
  ready: "Ready",
  loading: "Loading the model…",
  failed: "The model cannot be served",
  away: "The server does not answer",
};

class Page {
  constructor(elements) {
    this.elements = elements;
    this.masks = new MaskView(elements);
    this.bars = new BarView(elements);
    this.options = new Options(elements, { changed: () => this.showCommand(), settled: () => this.askAgain() });
    this.camera = new Camera(elements, {
      opened: () => this.makeRoom(),
      taken: (file) => this.open(file, { unsaved: true }),
      seen: (file) => this.glance(file),
      closed: () => this.stage(),
      failed: (problem) => this.fail(problem),
    });
    this.picture = null; // {file, bitmap, note}
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
    again.addEventListener("click", () => this.ask());
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

  /** Look at the server until it is ready. */
  async watch() {
    for (;;) {
      const { state, reason } = await health();
      const isNews = this.elements.health.dataset.state !== state;
      if (isNews) this.showHealth(state);
      if (isNews && state === "failed") this.fail(new Refusal(reason, 500));
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
   * Put a picture on the stage and ask the model about it.
   *
   * unsaved: whether it lies in no file of the user's, where curl would find it.
   * note: what was done to it.
   */
  async open(file, { unsaved = false, note = "" } = {}) {
    if (!file || !this.ready) return;
    this.camera.close();
    const { signal } = this.startOver();
    const bitmap = await decode(file);
    if (signal.aborted) return;
    this.setPicture({ file, bitmap, note }, unsaved);
    this.elements.mask.hidden = this.elements.under.hidden = true;
    this.stage();
    await this.ask();
  }

  async ask() {
    const { stage, error } = this.elements;
    const { signal } = this.startOver();
    const { file } = this.picture;
    error.hidden = true;
    stage.setAttribute("aria-busy", "true");
    this.say(`Sending ${file.name}, ${asBytes(file.size)}…`);
    try {
      const answered = await ask(file, this.options.query, signal);
      if (!signal.aborted) this.show(answered);
    } catch (problem) {
      if (!signal.aborted) this.fail(problem);
    } finally {
      if (!signal.aborted) stage.removeAttribute("aria-busy");
    }
  }

  /** With other options; a camera that is on is asked with its next picture. */
  askAgain() {
    if (this.picture && this.ready && !this.camera.stream) this.ask();
  }

  /** Ask about a picture of a camera that goes on; it is shown together with its answer. */
  async glance(file) {
    const { signal } = this.startOver();
    const [bitmap, answered] = await Promise.all([decode(file), ask(file, this.options.query, signal)]);
    if (signal.aborted) return;
    this.setPicture({ file, bitmap, note: "" }, true);
    this.stage();
    this.show(answered);
  }

  /** Forget the question that is out, if any. */
  startOver() {
    this.request.abort();
    this.request = new AbortController();
    return this.request;
  }

  /** Only when asked: what is sent is otherwise the file as it is. */
  async sendSmaller() {
    const { bitmap, file } = this.picture;
    const name = `${file.name.replace(/\.[^.]*$/, "")}-small.jpg`;
    const copy = await toJpeg(name, bitmap, bitmap.width, bitmap.height, SMALLER);
    this.open(copy, { unsaved: true, note: "a smaller copy" });
  }

  setPicture(picture, unsaved) {
    this.picture?.bitmap?.close();
    this.picture = picture;
    this.showCommand();
    this.offerToSave(unsaved ? picture.file : null);
  }

  /** Show the picture, or the hint where there is none to be seen. */
  stage() {
    const { hint, frame, video } = this.elements;
    const { bitmap, file } = this.picture ?? {};
    if (bitmap) showPicture(this.elements, bitmap, bitmap.width, bitmap.height, file.name);
    hint.hidden = Boolean(bitmap);
    frame.hidden = !bitmap;
    video.hidden = true;
  }

  /** An empty frame, for the mask of a picture that this browser cannot read, such as TIFF. */
  stageEmpty([height, width]) {
    const { hint, frame } = this.elements;
    showPicture(this.elements, null, width, height, this.picture.file.name);
    hint.hidden = true;
    frame.hidden = false;
  }

  /** The stage is the camera's. */
  makeRoom() {
    const { hint, frame, error, stage } = this.elements;
    this.startOver();
    stage.removeAttribute("aria-busy");
    hint.hidden = frame.hidden = error.hidden = true;
    this.say("The camera is on.");
  }

  /** A list is of classes, anything else a mask. */
  show({ answer, milliseconds }) {
    const isMask = !Array.isArray(answer);
    const { bitmap, file, note } = this.picture;
    if (isMask && !bitmap) this.stageEmpty(answer.size);
    (isMask ? this.bars : this.masks).hide();
    (isMask ? this.masks : this.bars).show(answer);
    const size = bitmap ? [bitmap.width, bitmap.height] : isMask && [answer.size[1], answer.size[0]];
    const facts = [file.name, note, size && asSize(...size), asBytes(file.size), "answered in "];
    const found = isMask ? maskInWords(answer) : barsInWords(answer);
    this.say(facts.filter(Boolean).join(" · "), asDuration(milliseconds), found);
  }

  fail(problem) {
    const { error, reason, code, again, smaller } = this.elements;
    const { file, bitmap } = this.picture ?? {};
    const facts = [file?.name, problem.status && `HTTP ${problem.status}`, problem.id && `${problem.id} in the log`];
    this.masks.hide();
    this.bars.hide();
    this.elements.status.replaceChildren();
    reason.textContent = problem.message;
    code.textContent = facts.filter(Boolean).join(" · ");
    again.hidden = !(problem.passes && file);
    smaller.hidden = !(problem.status === 413 && bitmap);
    error.hidden = false;
    if (problem.passes && this.ready) this.watch();
  }

  showCommand() {
    const { curl, copied } = this.elements;
    const { file } = this.picture ?? {};
    curl.textContent = curlCommand(file?.name ?? "picture.jpg", file ? contentType(file) : "image/jpeg", this.options.query);
    copied.textContent = "";
  }

  offerToSave(unsaved) {
    const { save } = this.elements;
    URL.revokeObjectURL(save.href);
    save.hidden = !unsaved;
    if (unsaved) Object.assign(save, { href: URL.createObjectURL(unsaved), download: unsaved.name, textContent: `Save ${unsaved.name}` });
  }

  /** aside: what only those who do not see it need to be told. */
  say(text, emphasis = "", aside = "") {
    const strong = Object.assign(document.createElement("b"), { textContent: emphasis });
    const unseen = Object.assign(document.createElement("span"), { className: "unseen", textContent: aside && `: ${aside}` });
    this.elements.status.replaceChildren(text, strong, unseen);
  }
}

const elements = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));
new Page(elements).watch();
