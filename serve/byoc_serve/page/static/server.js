/** The server behind this page. Addresses are relative, so that it works behind a proxy's prefix too. */

const INVOCATIONS = new URL("invocations", document.baseURI).href;
const DESCRIPTION = new URL("openapi.json", document.baseURI).href;
const PING = new URL("ping", document.baseURI).href;
export const ACCEPT = "application/json";

/** Why there is no answer, in the server's own words where it said any. */
export class Refusal extends Error {
  /** status: of HTTP, or 0 where nothing came; id: of the entry in the server's log, for a bug of its own. */
  constructor(message, status = 0, id = "") {
    super(message);
    this.status = status;
    this.id = id;
  }

  /** Whether the same request may be answered another time. */
  get passes() {
    return this.status === 0 || this.status === 408 || this.status >= 500;
  }
}

/** {state: "ready", "loading", "failed" or "away", reason} */
export async function health() {
  try {
    const response = await fetch(PING, { cache: "no-store" });
    if (response.ok) return { state: "ready" };
    if (response.status === 503) return { state: "loading" };
    return { state: "failed", reason: (await refusal(response)).message };
  } catch {
    return { state: "away" };
  }
}

/** The options of a request that the model knows: the JSON Schema of each, by its name. Of no description, none. */
export async function options() {
  try {
    const { paths } = await (await fetch(DESCRIPTION)).json();
    const { parameters } = paths["/invocations"].post;
    return Object.fromEntries(parameters.filter((one) => one.in === "query").map(({ name, schema }) => [name, schema]));
  } catch {
    return {}; // a proxy that passes on nothing else: pictures are answered all the same
  }
}

/** Where pictures are sent. query: the options, as a query string without its question mark; may be empty. */
export const address = (query) => (query ? `${INVOCATIONS}?${query}` : INVOCATIONS);

/**
 * What the model says of a picture, and the milliseconds from here and back.
 *
 * query: as `address` takes it.
 * Throws Refusal, or what an aborted fetch throws.
 */
export async function ask(file, query, signal) {
  await checkReadable(file);
  const headers = { Accept: ACCEPT, "Content-Type": contentType(file) };
  const started = performance.now();
  const response = await send(address(query), { method: "POST", headers, body: file, signal });
  if (!response.ok) throw await refusal(response);
  const answer = await response.json();
  return { answer, milliseconds: performance.now() - started };
}

/** What curl must say too; the server looks at the bytes themselves. */
export const contentType = (file) => file.type || "application/x-image";

/** Folders can be dropped as well, and files vanish; fetch would say that the network failed. */
async function checkReadable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    throw new Refusal(`${file.name} cannot be read. Is it a folder, or has it changed?`);
  }
}

async function send(url, request) {
  try {
    return await fetch(url, request);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("The server does not answer. Is it running, and is the network there?");
  }
}

async function refusal(response) {
  const text = await response.text();
  try {
    const { error, id } = JSON.parse(text);
    return new Refusal(error, response.status, id);
  } catch {
    return new Refusal(response.statusText || "The answer is not the server's own.", response.status); // a proxy's
  }
}
