/** The server behind this page. Addresses are relative, so that it works behind a proxy's prefix too. */

const INVOCATIONS = new URL("invocations", document.baseURI).href;
const DESCRIPTION = new URL("openapi.json", document.baseURI).href;
const PING = new URL("ping", document.baseURI).href;
export const ACCEPT = "application/json";

/** Why there is no prediction, in the server's own words if there are any. */
export class ServerError extends Error {
  /** status: of HTTP, or 0 without a response; id: of the entry in the server's log, for an internal error. */
  constructor(message, status = 0, id = "") {
    super(message);
    this.status = status;
    this.id = id;
  }

  /** Whether the same request may succeed later. */
  get isTemporary() {
    return this.status === 0 || this.status === 408 || this.status >= 500;
  }
}

/** {state: "ready", "loading", "failed" or "away", reason} */
export async function health() {
  try {
    const response = await fetch(PING, { cache: "no-store" });
    if (response.ok) return { state: "ready" };
    if (response.status === 503) return { state: "loading" };
    return { state: "failed", reason: (await serverError(response)).message };
  } catch {
    return { state: "away" };
  }
}

/** The options that the model offers: the JSON Schema of each, by its name; none without a description. */
export async function options() {
  try {
    const { paths } = await (await fetch(DESCRIPTION)).json();
    const { parameters } = paths["/invocations"].post;
    return Object.fromEntries(parameters.filter((one) => one.in === "query").map(({ name, schema }) => [name, schema]));
  } catch {
    return {}; // a proxy may forward nothing else: predictions work without it
  }
}

/** The address for images. query: the options, as a query string without its question mark; may be empty. */
export const address = (query) => (query ? `${INVOCATIONS}?${query}` : INVOCATIONS);

/**
 * The model's prediction for an image, and the milliseconds until it arrived.
 *
 * query: as `address` takes it.
 * Throws ServerError, or what an aborted fetch throws.
 */
export async function predict(file, query, signal) {
  await checkReadable(file);
  const headers = { Accept: ACCEPT, "Content-Type": contentType(file) };
  const started = performance.now();
  const response = await send(address(query), { method: "POST", headers, body: file, signal });
  if (!response.ok) throw await serverError(response);
  const prediction = await response.json();
  return { prediction, milliseconds: performance.now() - started };
}

/** For curl too; the server detects the format from the content. */
export const contentType = (file) => file.type || "application/x-image";

/** Folders can be dropped too, and files vanish; fetch would report a network error. */
async function checkReadable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    throw new ServerError(`${file.name} cannot be read. Is it a folder, or has it changed?`);
  }
}

async function send(url, request) {
  try {
    return await fetch(url, request);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("The server does not respond. Is it running, and is the network available?");
  }
}

async function serverError(response) {
  const text = await response.text();
  try {
    const { error, id } = JSON.parse(text);
    return new ServerError(error, response.status, id);
  } catch {
    return new ServerError(response.statusText || "The response is not the server's own.", response.status); // a proxy's
  }
}
